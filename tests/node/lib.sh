# shellcheck shell=bash
# Functions that the cases share; sourced in the guest. Output is TAP-like: `ok N - sentence
# (time)`.
# After a failed sentence the case continues; a failed command outside of one ends it.
# shellcheck disable=SC2034 # `of` sets more than each of its callers uses
# STARTS and other variables of the caller of `run`.
[[ ! -e /payload/settings ]] || . /payload/settings
set -euo pipefail

runtime=${TEST_RUNTIME:-crun}
cgroups=/sys/fs/cgroup
state=/run/test-kubelet
config=/etc/wasp-agent/config.d/90-case.toml
failures=$TAP_FAILURES number=$TAP_NUMBER # of earlier boots
uptime_ms() { # the clock may be set by the case
    local up
    read -r up _ </proc/uptime
    echo $((10#${up/./} * 10))
}
last_report=$(uptime_ms) # each sentence shows the time since the one before it
exec {never}<> <(:) # for a pause that starts no process

exec {case_output}>&1 # for a case that ends while the output of a command is discarded
trap 'leave $?' EXIT
leave() {
    local status=$1
    trap - EXIT
    exec 1>&"$case_output" 2>&1
    if ((status == 77)); then exit 77; fi
    if ((status || failures)); then
        ((failures)) || echo "not ok - the case ends early, with status $status"
        diagnose || true
        echo "1..$number # $failures failed"
        exit 1
    fi
    echo "1..$number"
}

# skip REASON: this case cannot run here.
skip() {
    echo "# SKIP: $*"
    exit 77
}

# pause SECONDS
pause() { read -rt "$1" -u "$never" || true; }

now_ms() { echo $((${EPOCHREALTIME/[.,]/} / 1000)); }

note() { echo "# $*"; }

report() { # ok|not ok, sentence
    local now
    now=$(uptime_ms)
    number=$((number + 1))
    echo "$1 $number - $2 [+$((now - last_report)) ms]"
    last_report=$now
    [[ $1 == ok ]] || failures=$((failures + 1))
}

# check SENTENCE COMMAND...: the command succeeds.
check() {
    local sentence=$1 output
    shift
    if output=$("$@" 2>&1); then
        report ok "$sentence"
    else
        report "not ok" "$sentence"
        printf '# %s\n' "\$ $*" "${output//$'\n'/$'\n'# }"
    fi
}

# is ACTUAL EXPECTED SENTENCE
is() {
    if [[ $1 == "$2" ]]; then
        report ok "$3"
    else
        report "not ok" "$3"
        printf '# got      %s\n# expected %s\n' "$1" "$2"
    fi
}

# like ACTUAL REGEX SENTENCE
like() {
    if [[ $1 =~ $2 ]]; then
        report ok "$3"
    else
        report "not ok" "$3"
        printf '# got      %s\n# expected to match %s\n' "$1" "$2"
    fi
}

# rest SINCE_MS [LEAST_MS]: a pause before the next try of what began then: as long as the try took, so that
# tries leave half of the CPU to what they wait for, but at least LEAST_MS (50).
rest() {
    local ms=$((${EPOCHREALTIME/[.,]/} / 1000 - $1)) least=${2:-50}
    ((ms >= least)) || ms=$least
    ((ms <= 2000)) || ms=2000
    pause "$((ms / 1000)).$(printf %03d $((ms % 1000)))"
}

# eventually SECONDS SENTENCE COMMAND...: the command succeeds within this time; reports when it did. A
# long wait has fewer tries: the pause grows to a tenth of the time.
eventually() {
    local limit=$(($1 * ${PATIENCE:-1})) sentence=$2 start took try
    shift 2
    start=$(now_ms)
    while true; do
        try=$((${EPOCHREALTIME/[.,]/} / 1000))
        if "$@" >/dev/null 2>&1; then
            took=$(($(now_ms) - start))
            report ok "$sentence ($took ms)"
            return
        fi
        took=$((${EPOCHREALTIME/[.,]/} / 1000 - start))
        if ((took > limit * 1000)); then break; fi
        rest $try $((took > 500 ? took / 10 : 50))
    done
    report "not ok" "$sentence (not in $limit s)"
    printf '# %s\n' "\$ $*"
    "$@" 2>&1 | sed 's/^/# /' || true
}

# throughout SECONDS SENTENCE COMMAND...: the command succeeds every time.
throughout() {
    local sentence=$2 end try
    end=$(($(now_ms) + $1 * 1000))
    shift 2
    while (($(now_ms) < end)); do
        try=$((${EPOCHREALTIME/[.,]/} / 1000))
        if ! "$@" >/dev/null 2>&1; then
            report "not ok" "$sentence"
            "$@" 2>&1 | sed 's/^/# /' || true
            return
        fi
        pause 0.15
        rest $try
    done
    report ok "$sentence"
}

# --- the node

# swap_on [SIZE [FILE]]
swap_on() {
    local size=${1:-512M} file=${2:-/var/lib/swapfile}
    fallocate -l "$size" "$file"
    chmod 600 "$file"
    mkswap -q "$file"
    swapon "$file"
}

meminfo_bytes() { awk -v key="$1:" '$1 == key { printf "%d", $2 * 1024 }' /proc/meminfo; }

mib() { echo $(($1 * 1024 * 1024)); }

# page BYTES: the limit that the kernel keeps, in whole pages.
page() { echo $(($1 / 4096 * 4096)); }

# grant MEBIBYTES: the grant of LimitedSwap for a container with this request, in bytes: request /
# RAM * swap, in doubles, truncated.
grant() {
    awk -v request="$(mib "$1")" -v ram="$(meminfo_bytes MemTotal)" -v swap="$(meminfo_bytes SwapTotal)" \
        'BEGIN { printf "%d", int(request / ram * swap) }'
}

# --- boots: only with the header `# boot: cold`. $BOOT is 1, 2, 3 ...

# reboot_node: a clean reboot. The case ends here, and runs again on the next boot.
reboot_node() {
    leave_for_next_boot reboot
    exit 79 # node-run reboots; a `systemctl reboot` here would stop this very script
}

# power_cut: the node is gone immediately, and the case runs again on the next boot. The host kills QEMU
# some 50 ms after the request. No code of the guest runs, so that dirty data in its RAM is lost, in
# every cache and file system. (sysrq b loses it too, but still runs the kernel.) Data that its
# kernel had passed to the disk stays, flushed or not: the disk's own cache loses nothing.
power_cut() {
    leave_for_next_boot power-cut
    while true; do pause 1; done
}

leave_for_next_boot() { # reboot|power-cut
    if [[ -z $COLD ]]; then
        note "the node can't go: the case lacks the header '# boot: cold'"
        exit 1
    fi
    # The journal ends with the boot.
    ((failures == TAP_FAILURES)) || diagnose || true
    trap - EXIT
    echo "$1 $number $failures" >/dev/virtio-ports/node.rc
}

# --- services

start_apiserver() {
    command -v test-apiserver >/dev/null || skip "no test-apiserver in the payload"
    mkdir -p /var/lib/test-apiserver /var/lib/kubelet
    ln -sf /var/lib/test-apiserver/node-a.kubeconfig /var/lib/kubelet/kubeconfig
    local start
    start=$(now_ms)
    systemctl start test-apiserver
    until apiserver_answers; do
        if (($(now_ms) - start > 90000)); then
            note "the API server does not answer"
            return 1
        fi
        pause 0.1
    done
    note "the API server answers after $(($(now_ms) - start)) ms"
}

apiserver_answers() {
    [[ -s /var/lib/test-apiserver/node-a.kubeconfig ]] && (: </dev/tcp/127.0.0.1/6443) 2>/dev/null
}

# As the kubelet does: issues a new certificate and points the symlink to it. The server rejects
# older ones.
rotate_certificate() {
    test-apiserver --data /var/lib/test-apiserver rotate --node node-a --revoke-older >/dev/null
}

# The agent's service is Type=notify: the agent has made its first pass when this returns.
start_agent() {
    [[ -x /usr/bin/wasp-agent ]] || skip "no wasp-agent in the payload"
    local start
    start=$(now_ms)
    systemctl start wasp-agent
    note "the agent is ready after $(($(now_ms) - start)) ms"
}

agent_status() { systemctl show -P StatusText wasp-agent; }
# status_says REGEX: STATUS matches. The agent changes it at most once a second, so wait for it.
status_says() {
    local status
    status=$(agent_status)
    [[ $status =~ $1 ]] || { echo "STATUS $status"; return 1; }
}
agent_pid() { systemctl show -P MainPID wasp-agent; }
agent_journal() { journalctl -q -u wasp-agent -o cat "$@"; }

# configure TOML...: one line each.
configure() {
    mkdir -p "${config%/*}"
    printf '%s\n' "$@" >"$config"
}

# transaction RPM_ARGUMENT...: as on RHEL, where files of systemd's package call the helper
# afterwards. The package's dependencies are installed, but not as RPMs.
transaction() { rpm --nodeps "$@" && /usr/lib/systemd/systemd-update-helper system-reload-restart; }

# --- pods

# pod NAME [ARGUMENT...]: see `test-kubelet run --help`. A sandbox costs another second.
pod() { pod_with_sandbox "$@" --no-sandbox; }
pod_with_sandbox() {
    command -v test-kubelet >/dev/null || skip "no test-kubelet in the payload"
    test-kubelet run "$@" --runtime "$runtime"
}

# load_into_rootfs [PROGRAM]: copies a program to where containers find it; without an argument
# test-load, which measures its own requests.
rootfs=/var/lib/test-kubelet/rootfs
load_into_rootfs() {
    local program library
    program=$(command -v "${1:-test-load}") || skip "no ${1:-test-load} in the payload"
    cp "$program" "$rootfs/bin"
    for library in $(ldd "$program" | grep -o '/[^ ]*'); do
        mkdir -p "$rootfs${library%/*}"
        cp "$library" "$rootfs$library"
    done
    mkdir -p "$rootfs/proc"
    mountpoint -q "$rootfs/proc" || mount -t proc proc "$rootfs/proc"
}

# thrash MIB: the command of a container that, once /tmp/go exists, uses this memory at random without
# end. It needs little CPU for a page. Needs `load_into_rootfs test-kubelet`.
thrash() { echo "while ! [ -e /tmp/go ]; do sleep 1; done; exec test-kubelet thrash allocate $1 --again /tmp/pages"; }

# of POD[/CONTAINER]: sets id, unit, scope, child (empty if the runtime creates none), bundle (the
# directory of config.json) and slice.
of() {
    local container=main
    [[ $1 != */* ]] || container=${1#*/}
    # shellcheck disable=SC1090
    . "$state/${1%%/*}/$container.env"
}

# read_limit CGROUP: sets limit, to `gone` without the cgroup; starts no process. With `set -e`, bash
# would exit at a `$(<FILE)` of a cgroup that is gone.
read_limit() { { read -r limit <"$1/memory.swap.max"; } 2>/dev/null || limit=gone; }

# swap_max POD[/CONTAINER]: the limits at the scope, at the child, and in systemd.
swap_max() {
    local id unit scope child bundle slice limit
    of "$1"
    read_limit "$scope"
    printf 'scope=%s' "$limit"
    [[ -z $child ]] || { read_limit "$child" && printf ' child=%s' "$limit"; }
    printf ' property=%s\n' "$(systemctl show -P MemorySwapMax "$unit")"
}

# has_limit POD[/CONTAINER] BYTES: every level and systemd have this limit.
has_limit() {
    local id unit scope child bundle slice want property
    of "$1"
    want=$(page "$2")
    if limit_holds "$1" "$want"; then
        property=$(systemctl show -P MemorySwapMax "$unit")
        [[ $property == "$2" || $property == "$want" ]] && return
    fi
    echo "$1: $(swap_max "$1"), expected $2 ($want in pages)"
    return 1
}

# limit_holds POD[/CONTAINER] BYTES: as has_limit, but only in the kernel; starts no process.
limit_holds() {
    local id unit scope child bundle slice limit level
    of "$1"
    for level in "$scope" ${child:+"$child"}; do
        read_limit "$level"
        [[ $limit == "$2" ]] || return
    done
}

# swap_used, memory_used POD[/CONTAINER]: bytes
swap_used() { local id unit scope child bundle slice; of "$1"; cat "$scope/memory.swap.current"; }
memory_used() { local id unit scope child bundle slice; of "$1"; cat "$scope/memory.current"; }

# oom_kills POD: OOM kills in the pod, including containers that are gone.
oom_kills() { local id unit scope child bundle slice; of "$1"; awk '$1 == "oom_kill" { print $2 }' "$slice/memory.events"; }

# cgroup_is POD[/CONTAINER] 'KEY VALUE': a line of its cgroup.events; starts no process.
cgroup_is() {
    local id unit scope child bundle slice events=''
    of "$1"
    { read -rd '' events <"$scope/cgroup.events"; } 2>/dev/null || true
    [[ $events == *"$2"* ]]
}

# lives POD[/CONTAINER]: its cgroup contains a process.
lives() { cgroup_is "$1" 'populated 1'; }
dead() { ! lives "$1" 2>/dev/null; }

more_than() { (($1 > $2)); }

# drift POD LEVEL VALUE: overwrites the limit; prints how long it stayed wrong.
drift() { test-kubelet drift "$1" --level "$2" --write "$3"; }

diagnose() {
    echo "--- diagnosis"
    systemctl --no-pager -l -n 0 status wasp-agent 2>&1 | head -n 20
    journalctl -q -u wasp-swap -o short-monotonic --no-pager | tail -n 20
    journalctl -q -u wasp-agent -o short-monotonic --no-pager | tail -n "${DIAGNOSE_LINES:-60}"
    journalctl -q -u test-apiserver -o short-monotonic --no-pager | tail -n 8
    test-kubelet ps
    journalctl -q -k -p warning --no-pager -o cat | grep -E 'oom|Killed|segfault' | tail -n 10
    grep -E 'MemTotal|SwapTotal|SwapFree' /proc/meminfo
} 2>&1
