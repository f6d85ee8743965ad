# The agent reclaims memory of an idle pod before the node is short of it, and no process waits for that
# suites: bookworm
# timeout: 1100
. /payload/lib.sh
swap_on 2G
load_into_rootfs
# Reports on a disk would wait for it, which holds reclaim back.
mount -t tmpfs tmpfs "$rootfs/tmp"
start_apiserver
configure '[eviction]' 'mode = "observe"' '[reclaim]' 'mode = "off"' 'pods = "burstable"' 'floor = "4Mi"' \
    'start-delay-seconds = 0'
start_agent
note "kernel $(uname -r); pressure of system.slice $(grep some $cgroups/system.slice/memory.pressure)"

load() { # POD WORKLOAD [ARGUMENT...]: its own memory, and a report a second
    local name=$1 workload=$2
    shift 2
    pod "$name" --request 200Mi --limit 400Mi "$@" --command "exec test-load report=/tmp/$name seconds=5000 $workload"
}
load idle 'mib=96 pattern=idle'
load half 'mib=64 hot=8 pattern=half-idle'
load exempt 'mib=32 pattern=idle' --annotation wasp-agent.kubevirt.io/reclaim=false
pod_file() { # POD: the report, wherever its container's root is
    local id unit scope child bundle slice
    of "$1"
    echo "/proc/$(head -n 1 "${child:-$scope}/cgroup.procs")/root/tmp/$1"
}
slice_of() { local id unit scope child bundle slice; of "$1"; echo "$slice"; }
lines() { wc -l <"$(pod_file "$1")"; }
has_lines() { (($(lines "$1") >= $2)); }
# p99 POD LINES: of this many seconds at the end, the median of each second's p99, in microseconds
p99() { tail -n "$2" "$(pod_file "$1")" | awk '{ print $4 }' | sort -n | awk '{ a[NR] = $1 } END { print a[int((NR + 1) / 2)] }'; }
anon() { awk '$1 == "anon" { print $2 }' "$(slice_of "$1")/memory.stat"; }
waited() { sed -n 's/^some.*total=//p' "$(slice_of "$1")/memory.pressure"; }
refaults() { awk '$1 == "workingset_refault_anon" { print $2 }' "$(slice_of "$1")/memory.stat"; }
swapped() { cat "$(slice_of "$1")/memory.swap.current"; }

has_lines_of_all() { has_lines idle 5 && has_lines half 25 && has_lines exempt 5; }
eventually 120 "the pods run" has_lines_of_all
eventually 20 "their grants stand" has_limit idle "$(grant 200)"
before=$(p99 half 20)
is "$(swapped idle)" 0 "nothing is swapped while reclaim is off"
anon_before=$(anon idle)
waited_before=$(waited idle) waited_half=$(waited half)

sed -i 's/^mode = "off"/mode = "on"/' "$config"
systemctl reload wasp-agent
start=$(now_ms)
gave_back() { (($(anon idle) * 100 <= anon_before * 20)); }
eventually 600 "the idle pod has given back 80 % of its memory" gave_back
took=$(($(now_ms) - start))
waits=$(($(waited idle) - waited_before))
note "$(anon idle) of $anon_before bytes are left after $((took / 1000)) s; its processes waited for $waits us"
check "and it waited at most 0.1 % of the time" bash -c "(($waits * 1000 <= $took * 1000))"
half_gave_back() { (($(swapped half) > 30 << 20)); }
eventually 400 "cold memory of the half-idle pod leaves too" half_gave_back
from=$(lines half) refaults_before=$(refaults half)
enough() { has_lines half $((from + 20)); }
eventually 60 "the half-idle pod goes on" enough
came_back=$(($(refaults half) - refaults_before))
# `make bench-latency` measures what requests take: a time on one emulated CPU proves nothing.
note "half-idle: p99 of a request was $before us, is $(p99 half 20) us; $(swapped half) bytes in swap, waited $(($(waited half) - waited_half)) us; $came_back pages came back"
check "its hot memory of 2048 pages stays in RAM: fewer than 512 pages come back in 20 s" more_than 512 "$came_back"
is "$(swapped exempt)" 0 "the exempt pod keeps all of its memory"
json=$(wasp-agent status --json)
note "$(jq -c '.published.reclaim' <<<"$json")"
note "pressure of system.slice $(grep some $cgroups/system.slice/memory.pressure); signals $(jq -c '[.published.signals[] | {name, ratio}]' <<<"$json")"
is "$(jq -r '.published.reclaim.mode' <<<"$json")" on "status shows the mode"
check "reclaim raises no eviction signal" jq -e '[.published.signals[] | select(.active)] == []' <<<"$json"
like "$(wasp-agent status)" 'Reclaim +on, [0-9]+ pods' "and has a line of it"
like "$(agent_journal)" 'reclaiming cold memory of default/idle' "the journal reports that it began"
check "and has no line for each step" bash -c "(($(agent_journal | grep -c 'reclaiming cold memory of default/idle') <= 3))"
note "the agent: $(awk '{ print "utime " $14 " stime " $15 " ticks" }' "/proc/$(agent_pid)/stat") in $((took / 1000)) s; errors: $(agent_journal | grep -c 'refuses to reclaim' || true)"

systemctl stop wasp-agent
check "the agent stops at once, and nothing is to be undone" bash -c '! systemctl -q is-failed wasp-agent'
