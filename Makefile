# make demo   shows the agent on a real node, in a VM
# make test   runs every check and every test; make test-quick those that need no VM
# make rpm    builds the package; make deploy KUBECONFIG=... rolls it out; make cluster-up gives a shell on a node
# make bench  measures the agent; make bench-hook measures the time that the hook adds to a container's start,
#             make bench-fleet the load of AGENTS (1000) on one API server, make bench-density how many pods
#             a node in a VM can run with and without swap: REPEATS (5), SEED, ARMS, JOBS (1): VMs in parallel,
#             PAUSE (10): the least number of seconds between two pods;
#             make bench-latency how reclaim delays the requests of a pod
# make test-faults  kills the agent and injects errors at every failpoint; FAULT_SECONDS, FAULT_SEED for its storm
# make soak   churns a node in a VM for MINUTES (30) and looks for leaks; SEED=N repeats the same random choices,
#             RECLAIM=off leaves proactive reclaim out
# make fuzz   feeds every parser with malformed input, FUZZ_SECONDS (60) for each kind
#
# PROFILE=dev|release selects the build that `demo`, `test-node` and `install` use.
PROFILE ?= dev
DESTDIR ?=
PREFIX ?= /usr
SYSCONFDIR ?= /etc
CARGO ?= cargo
SHELL := /bin/bash

target := $(or $(CARGO_TARGET_DIR),target)
bin := $(target)/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))
export WASP_NODE_BIN ?= $(abspath $(bin))

.PHONY: all build build-release demo soak bench bench-hook bench-fleet bench-density bench-latency fuzz test test-quick check fmt lint deny test-unit \
	test-node test-node-cases test-node-faults test-host-faults test-faults install rpm srpm check-rpm check-reproducible deploy cluster-up deps deps-build msrv clean

all: build

build: deps-build
	$(CARGO) build --locked --workspace --profile $(PROFILE)

# Makes the node's image while cargo builds.
demo: deps
	@tests/node/image bookworm >/dev/null & image=$$!; \
	  $(MAKE) --no-print-directory build && wait $$image
	@tests/node/run --demo

# Every check and every test, in phases (tests/phases). The node runs the shipped build: release.
test: deps
	@tests/phases test

# Everything that needs neither a VM nor the release build.
test-quick: deps
	@tests/phases quick

check: deps fmt lint deny

fmt:
	$(CARGO) fmt --all --check

# The only debug build, which clippy, unit, process and fault tests share. `cargo clippy` would
# compile every dependency again, as metadata only. So this does the same as clippy: its driver
# compiles the workspace's crates, and reports the lints. The release build checks the
# code without failpoints.
debug := RUSTC_WORKSPACE_WRAPPER=clippy-driver CLIPPY_ARGS=-D__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__ $(CARGO)
tested := --locked --workspace --features wasp-agent/failpoints
# All targets together: without the tests, dependencies have fewer features, and would be compiled
# again.
lint: deps-build
	$(debug) build $(tested) --all-targets

# The advisories come from a database on the network, which not every builder can reach. This reads
# every crate of the lock file, including those of other platforms, so it fetches them first. CI installs
# cargo-deny itself, without optimization: that compiles in a fifth of the time, and checks in
# seconds.
deny:
	@if [ "$(INSTALL_DENY)" = yes ] && ! $(CARGO) deny --version >/dev/null 2>&1; then \
	  CARGO_PROFILE_DEV_DEBUG=false $(CARGO) install --locked --debug cargo-deny || exit; fi; \
	 if $(CARGO) deny --version >/dev/null 2>&1; then $(CARGO) fetch --locked --quiet; $(CARGO) deny --locked --offline check bans licenses sources; \
	 elif [ "$$CI" = true ]; then echo "cargo-deny is not installed: cargo install --locked cargo-deny" >&2; exit 1; \
	 else echo "SKIPPED, loudly: cargo-deny is not installed (cargo install --locked cargo-deny)" >&2; fi

# All suites but `faults`, which mostly waits, and runs in parallel with them in `make test`.
suites := $(filter-out faults,$(sort $(notdir $(basename $(wildcard tests/*.rs tests/*/tests/*.rs)) $(patsubst %/main.rs,%,$(wildcard tests/*/main.rs)))))
test-unit: lint
	$(debug) test $(tested) --lib --bins $(addprefix --test ,$(suites))
	$(debug) test $(tested) --doc

# The only build that ships: without failpoints. It must give no warning. The VM also runs
# test-kubelet often enough to make its optimization worthwhile; test-apiserver comes from the debug
# build.
build-release: deps-build
	@mkdir -p $(target)
	@$(CARGO) build --locked --release -p wasp-agent -p test-kubelet 2>&1 | tee $(target)/build-release.log; exit $${PIPESTATUS[0]}
	@if grep 'generated [0-9]* warning' $(target)/build-release.log; then exit 1; fi

# In memory, like /proc, /sys and /run.
bench: deps-build
	$(CARGO) build --locked --release -p wasp-agent
	TMPDIR=/dev/shm $(CARGO) run --locked --profile bench -p wasp-agent --example bench-agent

bench-hook: deps-build
	$(CARGO) build --locked --release -p wasp-agent
	$(CARGO) run --locked --profile bench -p wasp-agent --example bench-hook

# Each agent has two connections, each with a descriptor at either end. Without the system's CAs,
# which every client would read.
AGENTS ?= 1000
bench-fleet: deps-build
	ulimit -n $$(ulimit -Hn) && SSL_CERT_FILE=/dev/null \
	  $(CARGO) run --locked --profile bench -p wasp-agent --example bench-fleet -- $(AGENTS)

# RESUME=1 keeps the repeats of earlier runs, and adds to them.
bench-density: deps
	$(CARGO) build --locked --release -p wasp-agent -p test-kubelet -p test-load
	$(CARGO) build --locked -p test-apiserver
	$(if $(RESUME),,rm -rf target/density)
	PROFILE=release tests/node/run --suite bookworm --density $(if $(JOBS),-j $(JOBS))
	$(CARGO) run --locked -p wasp-agent --example bench-density -- target/density target/density.json target/density.svg

bench-latency: deps
	$(CARGO) build --locked --release -p wasp-agent -p test-kubelet -p test-load
	$(CARGO) build --locked -p test-apiserver
	PROFILE=release tests/node/run --suite bookworm --keep-log reclaim-latency

# The release build, as in `test`.
soak: deps
	@$(MAKE) --no-print-directory build PROFILE=release
	PROFILE=release tests/node/run --soak

# Not part of `test`, which has tests/fuzz.rs: it takes minutes to build, and then the given time.
FUZZ_SECONDS ?= 60
fuzz: deps-build
	fuzz/run $(FUZZ_SECONDS)

# NODE=... selects cases: options and cases of tests/node/run.
NODE ?=
test-node: build
	tests/node/run $(NODE)

# Like test-node, with the existing binaries.
test-node-cases:
	tests/node/run $(NODE)

# Tests an agent with failpoints, on a simulated host and in the VM.
test-faults: test-host-faults
	@$(MAKE) --no-print-directory test-node-faults

test-host-faults: lint
	$(debug) test $(tested) --test faults

test-node-faults:
	WASP_NODE_BIN=$(abspath $(target)/debug) tests/node/run --suite bookworm faults-kill faults-suspend

# The tools for compiling, on Debian, Fedora and RHEL; installs them if it can.
deps-build:
	@tests/node/deps build

# Also the tools for the node's VM and the other tests, on Debian.
deps:
	@tests/node/deps node

# The oldest compiler that Cargo.toml supports.
msrv := $(shell sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
msrv: deps-build
	@if timeout 300 rustup toolchain install --profile minimal $(msrv) >$(target)/msrv.log 2>&1; then \
	  rustup run $(msrv) cargo check --locked --workspace --exclude test-apiserver --exclude test-kubelet --target-dir $(target)/msrv; \
	else cat $(target)/msrv.log >&2; echo "SKIPPED, loudly: Rust $(msrv) cannot be had here" >&2; fi

# The only list of installed files. Builds nothing.
share := $(DESTDIR)$(PREFIX)/share
install:
	install -D -m 0755 $(bin)/wasp-agent $(DESTDIR)$(PREFIX)/bin/wasp-agent
	install -D -m 0755 $(bin)/wasp-hook $(DESTDIR)$(PREFIX)/bin/wasp-hook
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/lib/systemd/system systemd/wasp-agent.service systemd/wasp-swap.service
	install -D -m 0644 packaging/wasp-agent.preset $(DESTDIR)$(PREFIX)/lib/systemd/system-preset/80-wasp-agent.preset
	install -D -m 0644 packaging/wasp-agent.tmpfiles $(DESTDIR)$(PREFIX)/lib/tmpfiles.d/wasp-agent.conf
	install -D -m 0644 packaging/wasp-agent.catalog $(DESTDIR)$(PREFIX)/lib/systemd/catalog/wasp-agent.catalog
	install -D -m 0644 packaging/wasp-agent.toml $(DESTDIR)$(SYSCONFDIR)/wasp-agent/wasp-agent.toml
	install -d -m 0755 $(DESTDIR)$(SYSCONFDIR)/wasp-agent/config.d
	install -D -m 0644 packaging/wasp-agent.sysconfig $(DESTDIR)$(SYSCONFDIR)/sysconfig/wasp-agent
	install -d -m 0700 $(DESTDIR)/var/lib/wasp-agent
	install -D -m 0644 -t $(share)/man/man5 packaging/man/wasp-agent.toml.5
	install -D -m 0644 -t $(share)/man/man8 packaging/man/wasp-agent.8 packaging/man/wasp-hook.8
	install -D -m 0644 packaging/completions/wasp-agent.bash $(share)/bash-completion/completions/wasp-agent
	install -D -m 0644 packaging/completions/wasp-agent.fish $(share)/fish/vendor_completions.d/wasp-agent.fish
	install -D -m 0644 packaging/completions/_wasp-agent $(share)/zsh/site-functions/_wasp-agent
	install -D -m 0644 -t $(share)/licenses/wasp-agent LICENSE packaging/LICENSE.dependencies
	install -D -m 0644 -t $(share)/doc/wasp-agent README.md CHANGELOG.md CONTRIBUTING.md SECURITY.md packaging/wasp-agent.cdx.json packaging/alerts/wasp-agent.rules.yaml packaging/dashboards/wasp-agent.json
	install -D -m 0644 -t $(share)/doc/wasp-agent/docs $(wildcard docs/*.md) docs/status.schema.json
	install -D -m 0644 -t $(share)/doc/wasp-agent/docs/runbooks $(wildcard docs/runbooks/*.md)

# Asks the cluster of KUBECONFIG for its version and for the versions of HyperConverged that it
# serves, renders the manifests for them, applies them and waits. ROLLOUT has options of `wasp-agent
# manifests`.
deploy: export KUBECONFIG := $(KUBECONFIG)
deploy:
	@test -n "$(KUBECONFIG)" -a -n "$(ROLLOUT)" || { \
	  echo "usage: make deploy KUBECONFIG=FILE ROLLOUT='--overcommit-percent 150 --install ...'" >&2; exit 1; }
	$(CARGO) build --locked -p wasp-agent --profile $(PROFILE)
	version=$$(oc get clusterversion/version -o 'jsonpath={.status.desired.version}') && \
	  served=$$(oc get crd/hyperconvergeds.hco.kubevirt.io --ignore-not-found -o 'jsonpath={range .spec.versions[?(@.served==true)]}{.name} {end}') && \
	  rm -rf target/deploy && \
	  $(bin)/wasp-agent manifests --openshift "$$version" $${served:+--hyperconverged "$$served"} $(ROLLOUT) --out target/deploy
	sh target/deploy/apply.sh

# A node in a VM, and a shell in it.
cluster-up: build
	tests/node/run --shell

# Below target/rpm. `rpm` builds without a network from the vendored sources of `srpm`.
rpm: deps
	packaging/build binary

srpm: deps
	packaging/build source

# Checks the package of the existing release build: the properties that every node relies on
# (packaging/check-payload), rpmlint, and that packing twice gives the same bytes.
check-rpm: deps
	packaging/check $(bin)

# Two builds from scratch, in directories of different names, compared byte for byte.
check-reproducible: deps
	packaging/check reproducible

clean:
	$(CARGO) clean
