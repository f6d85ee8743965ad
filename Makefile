# make demo   see it work on a real node, in a VM
# make test   run every check and every test
# make bench  measure the agent; make bench-hook measures what the hook adds to a container's start
# make fuzz   feed the hook with nonsense, FUZZ_SECONDS (60) for each kind of input
#
# PROFILE=dev|release chooses the build that `demo`, `test-node` and `install` take.
PROFILE ?= dev
DESTDIR ?=
PREFIX ?= /usr
SYSCONFDIR ?= /etc
CARGO ?= cargo

bin := $(or $(CARGO_TARGET_DIR),target)/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))
export WASP_NODE_BIN ?= $(abspath $(bin))

.PHONY: all build demo bench bench-hook fuzz test check deny test-unit test-node install deps clean

all: build

build: deps
	$(CARGO) build --locked --workspace --profile $(PROFILE)

# The image of the node is made while cargo builds.
demo: deps
	@tests/node/image bookworm >/dev/null & image=$$!; \
	  $(MAKE) --no-print-directory build && wait $$image
	@tests/node/run --demo

# The node runs what ships: the release build.
test: check test-unit
	@$(MAKE) --no-print-directory test-node PROFILE=release

check: deps
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	@$(MAKE) --no-print-directory deny

# The advisories come from a database on the network, which not every builder reaches.
deny:
	@if $(CARGO) deny --version >/dev/null 2>&1; then $(CARGO) deny --locked --offline check bans licenses sources; \
	 elif [ "$$CI" = true ]; then echo "cargo-deny is not installed: cargo install --locked cargo-deny" >&2; exit 1; \
	 else echo "SKIPPED, loudly: cargo-deny is not installed (cargo install --locked cargo-deny)" >&2; fi

test-unit: deps
	$(CARGO) test --locked --workspace

bench: deps
	$(CARGO) build --locked --release -p wasp-agent
	$(CARGO) run --locked --release -p wasp-agent --example bench-agent

bench-hook: deps
	$(CARGO) build --locked --release -p wasp-agent
	$(CARGO) run --locked --release -p wasp-agent --example bench-hook

# Not part of `test`: it finds by chance, and takes as long as it is given.
FUZZ_SECONDS ?= 60
fuzz: deps
	fuzz/run $(FUZZ_SECONDS)

test-node: build
	tests/node/run

# What a build and the node's VM need; installs it where it can.
deps:
	@tests/node/deps

# The only list of installed files. Builds nothing.
install:
	install -D -m 0755 $(bin)/wasp-agent $(DESTDIR)$(PREFIX)/bin/wasp-agent
	install -D -m 0755 $(bin)/wasp-hook $(DESTDIR)$(PREFIX)/bin/wasp-hook
	install -D -m 0644 systemd/wasp-agent.service $(DESTDIR)$(PREFIX)/lib/systemd/system/wasp-agent.service
	install -D -m 0644 systemd/wasp-swap.service $(DESTDIR)$(PREFIX)/lib/systemd/system/wasp-swap.service
	install -D -m 0644 packaging/wasp-agent.catalog $(DESTDIR)$(PREFIX)/lib/systemd/catalog/wasp-agent.catalog
	install -D -m 0644 packaging/wasp-agent.toml $(DESTDIR)$(SYSCONFDIR)/wasp-agent/wasp-agent.toml
	install -d -m 0755 $(DESTDIR)$(SYSCONFDIR)/wasp-agent/config.d
	install -D -m 0644 README.md $(DESTDIR)$(PREFIX)/share/doc/wasp-agent/README.md
	install -D -m 0644 packaging/wasp-agent.sysconfig $(DESTDIR)$(SYSCONFDIR)/sysconfig/wasp-agent

clean:
	$(CARGO) clean
