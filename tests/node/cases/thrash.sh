# Under thrash a service whose working set is protected answers, and the agent evicts in time; without protection it does not
# suites: bookworm
# timeout: 600
. /payload/lib.sh
swap_on 2G
# In reality the API server is another machine, so its memory is protected here.
mkdir -p /run/systemd/system/test-apiserver.service.d
printf '%s\n' '[Slice]' 'MemoryMin=200M' >/run/systemd/system/cluster.slice
printf '%s\n' '[Service]' 'Slice=cluster.slice' 'MemoryMin=200M' 'MemorySwapMax=0' >/run/systemd/system/test-apiserver.service.d/slice.conf
systemctl daemon-reload
start_apiserver
# Memory that is never free takes no time to fill.
sysctl -qw vm.nr_hugepages=400
load_into_rootfs test-kubelet
api() { test-apiserver --data /var/lib/test-apiserver "$@"; }
being_evicted() { api get pod "$1" -n default | jq -e '.metadata.deletionTimestamp'; }
eviction=('[eviction]' 'average-window-seconds = 10' 'cooldown-seconds = 5'
    'max-average-swap-in-pages-per-second = 10' 'max-average-swap-out-pages-per-second = 10'
    '[eviction.pressure]' 'enabled = false')
off=/run/systemd/system/wasp-agent.service.d/off.conf
window=40

# major_faults PID: starts no process.
major_faults() {
    local fields
    read -ra fields </proc/"$1"/stat
    faults=${fields[11]}
}
beats_at_least() { mapfile -t all </run/beats && ((${#all[@]} >= $1)); }
# signals: when the agent last asked for the eviction, and when it saw the signal that led to that (else
# the first signal), in microseconds since 1970; 0 for never. If the signal ends before the request,
# the agent asks again at the next one.
signals() {
    journalctl -q -u wasp-agent -o json --since "@$since" | jq -rs '
        [.[] | select(.MESSAGE | type == "string") | {at: (._SOURCE_REALTIME_TIMESTAMP // .__REALTIME_TIMESTAMP | tonumber), said: .MESSAGE}]
        | ([.[] | select(.said | startswith("asking the API server"))][-1].at // 0) as $asked
        | [.[] | select(.said | startswith("swap traffic: ")).at] as $signals
        | "\($asked) \([$signals[] | select(. <= $asked)][-1] // $signals[0] // 0)"'
}
# phase NAME: a pod thrashes while a service runs that reads its 150 MiB and answers once a second. Sets
# for $window seconds: answered and missed (seconds without an answer, beyond the first of a gap),
# p90 and p99 (ms between two answers), agent_faults; and signal_ms (from the start of the pod's work
# to the signal) and post_ms (from there to the API server, to whole seconds), or `none`.
phase() {
    local id unit scope child bundle slice pid round root before go end longest deletion grace signal asked arrived
    # Code that has not run when the pod begins must come from the disk.
    sync
    echo 3 >/proc/sys/vm/drop_caches
    systemd-run -q --unit beat --slice system.slice -p StandardOutput=file:/run/beats \
        test-kubelet thrash heartbeat "/var/tmp/of-$1" --mib 150 --rounds 100000
    eventually 60 "$1: the service answers" beats_at_least 5
    since=$(date +%s)
    start_agent
    pid=$(agent_pid)
    note "$1: MemoryMin $(systemctl show -P MemoryMin beat system.slice wasp-agent | xargs), agent $(grep -E 'VmRSS|RssFile|VmLck' /proc/"$pid"/status | xargs)"
    pod "$1" --request 700Mi --limit 1300Mi --command \
        'while ! [ -e /tmp/go ]; do sleep 1; done; { test-kubelet thrash allocate 300 --again /tmp/1 & } ; exec test-kubelet thrash allocate 300 --again /tmp/2'
    eventually 10 "$1: the grant stands" has_limit "$1" "$(grant 700)"
    of "$1"
    pid=$(agent_pid)
    root=/proc/$(head -n 1 "${child:-$scope}/cgroup.procs")/root/tmp
    major_faults "$pid" && before=$faults
    go=$(now_ms)
    : >"$root/go"
    pause $window
    end=$(now_ms)
    major_faults "$pid" && agent_faults=$((faults - before))
    # The signal needs minutes if the protected services leave the pod enough memory: then it may
    # not come while the case waits. Without protection the request may never arrive.
    if [[ $1 == with ]]; then
        for ((round = 0; round < 60; ++round)); do
            read -r asked signal < <(signals)
            if ((asked != 0)) && being_evicted "$1" >/dev/null; then break; fi
            pause 2
        done
        ((asked == 0)) || eventually 60 "$1: the pod is evicted" being_evicted "$1"
    fi
    echo 1 >"$scope/cgroup.freeze"
    read -r answered missed p90 p99 longest < <(sed 's/[a-z]*_ms=//g' /run/beats | awk -v go="$go" -v end="$end" '
        $1 >= go && $1 <= end { answered++; print $1 - last; if ($2 > longest) longest = $2 }
        $1 <= end { last = $1 }
        END { print end - last; print answered + 0, longest + 0 >"/run/answered" }' | sort -n | awk '
        { gap[NR] = $1; if ($1 >= 2000) missed += int($1 / 1000) - 1 }
        END { getline of <"/run/answered"; split(of, o); print o[1], missed + 0, gap[int(NR * 0.9) + 1], gap[int(NR * 0.99) + 1], o[2] }')
    note "$1: $(grep -E 'VmRSS|RssAnon|RssFile' /proc/"$pid"/status | xargs)"
    read -r asked signal < <(signals)
    signal_ms=none asked_ms=none post_ms=none
    ((signal == 0)) || signal_ms=$((signal / 1000 - go))
    ((asked == 0)) || asked_ms=$(((asked - signal) / 1000))
    read -r deletion grace < <(api get pod "$1" -n default | jq -r '"\(.metadata.deletionTimestamp) \(.metadata.deletionGracePeriodSeconds)"')
    if [[ $deletion != null ]]; then
        arrived=$(($(date -d "$deletion" +%s) - grace))
        post_ms=$((arrived * 1000 + 999 - signal / 1000))
    fi
    note "$1: answered $answered times, missed $missed; between answers p90 $p90 ms, p99 $p99 ms; the longest read $longest ms; the agent took $agent_faults major faults; signal after $signal_ms ms; from there, the agent asks after $asked_ms ms, and the request arrives after $post_ms ms"
    note "$1: file pages of the service read back: $(awk '$1 == "workingset_refault_file" { print $2 }' $cgroups/system.slice/beat.service/memory.stat), of the agent: $(awk '$1 == "workingset_refault_file" { print $2 }' $cgroups/system.slice/wasp-agent.service/memory.stat)"
    systemctl stop beat
    test-kubelet stop "$1" >/dev/null 2>&1 || true
}

# Without: nothing reserved, nothing locked.
mkdir -p "${off%/*}"
printf '%s\n' '[Service]' 'LimitMEMLOCK=0' 'MemoryMin=0' >"$off"
systemctl daemon-reload
configure "${eviction[@]}" '[protection]' 'working-set-percent = 0'
phase without
missed_without=$missed faults_without=$agent_faults
systemctl stop wasp-agent
rm "$off"
systemctl daemon-reload

configure "${eviction[@]}" '[protection]' 'working-set-percent = 20' 'working-set-services = ["wasp-agent.service", "beat.service"]'
phase with
check "protected, the service misses less than half as many heartbeats: $missed of $missed_without" more_than "$missed_without" $((missed * 2))
check "the agent takes hardly any major fault: $agent_faults of $faults_without" more_than "$faults_without" $((agent_faults * 3))
# eviction.sh and worlds.sh evict in any case.
if [[ $asked_ms == none ]]; then
    note "no signal in the time of the case, so there was no request"
else
    like "$post_ms" '^[0-9]{1,4}$|^[12][0-9]{4}$' "its request arrives in less than 30 s"
fi
systemctl stop wasp-agent
check "unprotect" wasp-agent unprotect
is "$(systemctl show -P MemoryMin system.slice)" 0 "takes the reserve back"
