# While pods thrash, the kubelet answers and the agent evicts: their working sets stay in RAM
# suites: bookworm
# timeout: 500
. /payload/lib.sh
swap_on 1G
# The API server is elsewhere on a real node: it is not to be slowed down.
mkdir -p /run/systemd/system/test-apiserver.service.d
printf '%s\n' '[Service]' 'Slice=apiserver.slice' 'MemoryMin=120M' 'CPUWeight=1000' >/run/systemd/system/test-apiserver.service.d/slice.conf
systemctl daemon-reload
systemctl set-property --runtime apiserver.slice MemoryMin=120M MemorySwapMax=0 CPUWeight=1000
start_apiserver

# A stand-in for the kubelet: each second it reads 150 MB of file pages in random order, which are in its
# cache. It runs as kubelet.service.
work=/var/lib/test-kubelet/work
mkdir -p "${work%/*}"
test-kubelet thrash heartbeat $work --mib 150 --every-ms 1 --rounds 1 >/dev/null
printf '%s\n' '[Service]' 'Slice=system.slice' 'StandardOutput=truncate:/run/beats' \
    "ExecStart=/payload/bin/test-kubelet thrash heartbeat $work --mib 150 --rounds 9999" >/run/systemd/system/kubelet.service
systemctl daemon-reload
beats() { grep -c round_ms /run/beats; }
# The longest of the last N rounds, and of the time that the present one has taken.
faults() { awk '{ print $12 }' "/proc/$(agent_pid)/stat"; }
says() { agent_journal --since "@$since" | grep -qE "$1"; }
# at PATTERN: ms since boot of the first line that the agent has logged since the phase began
at() { agent_journal --since "@$since" -o short-monotonic | grep -m 1 -E "$1" | sed -E 's/^\[ *([0-9]+)\.([0-9]{3}).*/\1\2/'; }
reserve() { systemctl show -P MemoryMin "$1"; }

# phase NAME: two pods thrash until the agent has asked for an eviction, and for 20 s; sets beat_count, the rounds of the
# stand-in in those 20 s, major_faults of the agent from start to end, and asked_after, ms from the signal to the request.
phase() {
    local name=$1 before count signal pod id unit scope child bundle slice
    since=$(date +%s)
    systemctl start kubelet
    eventually 60 "$name: the stand-in kubelet works" bash -c '(($(grep -c round_ms /run/beats) >= 4))'
    start_agent
    for pod in "$name-one" "$name-two"; do
        pod "$pod" --request 300Mi --limit 900Mi --command \
            "until [ -e /tmp/go ]; do sleep 1; done; tr '\\0' x </dev/zero | dd bs=760M iflag=fullblock of=/dev/null"
    done
    for pod in "$name-one" "$name-two"; do
        of "$pod"
        : >"/proc/$(head -n 1 "${child:-$scope}/cgroup.procs")/root/tmp/go"
    done
    before=$(faults)
    eventually 100 "$name: swap hurts" says 'swap traffic: [0-9]+ pages/s in|pressure: '
    count=$(beats)
    pause 20
    beat_count=$(($(beats) - count))
    eventually 60 "$name: the agent asks for an eviction" says 'evicted|has accepted|asking the API server to evict'
    major_faults=$(($(faults) - before))
    signal=$(at 'swap traffic: [0-9]+ pages/s in|pressure: ')
    asked_after=$(($(at 'asking the API server to evict') - signal))
    note "$name: $beat_count rounds of the stand-in in 20 s, the last $(tail -n 3 /run/beats | tr '\n' ' ');" \
        "the agent: $major_faults major faults, asked $asked_after ms after the signal, RSS $(awk '$1 == "VmRSS:" { print $2 }' "/proc/$(agent_pid)/status") kB," \
        "locked $(awk '$1 == "VmLck:" { print $2 }' "/proc/$(agent_pid)/status") kB; the stand-in's file cache $(awk '$1 == "file" { print int($2 / 1048576) }' $cgroups/system.slice/kubelet.service/memory.stat) MiB"
    note "$(agent_journal --since "@$since" -o short-monotonic | grep -E 'swap traffic|pressure|evict' | head -n 8)"
    test-kubelet stop "$name-one" >/dev/null 2>&1 || true
    test-kubelet stop "$name-two" >/dev/null 2>&1 || true
    systemctl stop wasp-agent kubelet
}

signals=('[eviction]' 'average-window-seconds = 5' 'max-average-swap-in-pages-per-second = 100' 'max-average-swap-out-pages-per-second = 100')

mkdir -p /run/systemd/system/wasp-agent.service.d
printf '%s\n' '[Service]' 'LimitMEMLOCK=0' >/run/systemd/system/wasp-agent.service.d/unlocked.conf
systemctl daemon-reload
configure "${signals[@]}" '[protection]' 'working-set-percent = 0'
phase without
without=$beat_count
like "$(agent_journal)" 'cannot lock the agent.s memory' "an agent that cannot lock its memory reports it"
is "$(reserve system.slice)" 0 "no memory is kept"

rm /run/systemd/system/wasp-agent.service.d/unlocked.conf
systemctl daemon-reload
configure "${signals[@]}" '[protection]' 'working-set-percent = 25'
phase with
check "with its working set kept, the stand-in goes on working ($beat_count rounds in 20 s, $without without)" more_than "$beat_count" $((without + 5))
check "and the agent reads nearly nothing from the disk" more_than 100 "$major_faults"
kept=$(reserve kubelet.service)
check "the kubelet keeps what it uses: $((kept >> 20)) MiB" more_than "$kept" "$(mib 150)"
agent=$(reserve wasp-agent.service)
is "$(reserve system.slice)" $((kept + agent)) "its slice has the sum"
is "$(<$cgroups/system.slice/memory.min)" $((kept + agent)) "for the kernel too"
check "unprotect" wasp-agent unprotect
is "$(reserve kubelet.service) $(reserve system.slice) $(reserve wasp-agent.service)" "0 0 33554432" "puts back what was there"
