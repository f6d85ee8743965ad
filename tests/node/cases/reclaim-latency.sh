# Reclaim takes the cold memory of a half-idle pod, whose requests do not wait
# suites: bookworm
# bench: yes
# timeout: 1100
. /payload/lib.sh
swap_on 2G
load_into_rootfs
mount -t tmpfs tmpfs "$rootfs/tmp"
start_apiserver
mode() {
    configure '[eviction]' 'mode = "observe"' '[reclaim]' "mode = \"$1\"" 'pods = "burstable"' 'floor = "4Mi"' 'start-delay-seconds = 0'
}
mode off
start_agent
load() { # POD [ARGUMENT...]: 64 MiB, of which 16 MiB serve ten requests a second
    local name=$1
    shift
    pod "$name" --request 200Mi --limit 400Mi "$@" \
        --command "exec test-load times=/tmp/$name seconds=5000 pattern=half-idle mib=64 hot=16 requests=10 pages=256"
}
# Both run all the time; reclaim leaves one of them alone.
load part
load exempt --annotation wasp-agent.kubevirt.io/reclaim=false
pod_file() { local id unit scope child bundle slice; of "$1"; echo "/proc/$(head -n 1 "${child:-$scope}/cgroup.procs")/root/tmp/$1"; }
slice_of() { local id unit scope child bundle slice; of "$1"; echo "$slice"; }
has_lines() { (($(wc -l <"$2") >= $1)); }
declare -A file=([part]=$(pod_file part) [exempt]=$(pod_file exempt))
# percentiles FILE FIRST LAST: of the requests of these seconds: how many, p50 and p99 of what one took, and p99 of the
# time for which it was blocked: neither on the CPU nor waiting for it; in microseconds
percentiles() {
    local all blocked count
    all=$(sed -n "$2,$3p" "$1" | tr ' ' '\n' | grep /)
    count=$(wc -l <<<"$all")
    blocked=$(cut -d/ -f2 <<<"$all" | sort -n)
    all=$(cut -d/ -f1 <<<"$all" | sort -n)
    at() { sed -n "$(((count * $1 + 99) / 100))p"; }
    echo "$count $(at 50 <<<"$all") $(at 99 <<<"$all") $(at 99 <<<"$blocked")"
}
seconds=40
phase() { # MODE ROUND: so many seconds of both
    local pod from what
    systemctl reload wasp-agent
    pause 3
    from=$(($(wc -l <"${file[exempt]}") + 1))
    eventually $((seconds + 90)) "$1 $2: they go on" has_lines $((from + seconds)) "${file[exempt]}"
    for pod in part exempt; do
        read -r _ "what[50]" "what[99]" "what[0]" < <(percentiles "${file[$pod]}" "$from" $((from + seconds - 1)))
        note "$1 $2, $pod: p50 ${what[50]}, p99 ${what[99]}, blocked p99 ${what[0]} us"
    done
    note "$1 $2: $(($(<"$(slice_of part)/memory.swap.current") >> 20)) of 64 MiB in swap; $(grep some "$(slice_of part)/memory.pressure")"
}
eventually 120 "the pods run" has_lines 40 "${file[exempt]}"
phase off 0
first=$(wc -l <"${file[exempt]}")
for round in 1 2 3 4; do
    mode on
    phase on $round
    mode off
    phase off $round
done
check "most of the cold memory of one has left" more_than "$(<"$(slice_of part)/memory.swap.current")" $((36 << 20))
is "$(<"$(slice_of exempt)/memory.swap.current")" 0 "and nothing of the other"
# Of all seconds since reclaim began: what it took too much of comes back in later phases. A request's time is what half
# of them take, and the time for which it was blocked: the CPU's own part differs more than that on a busy machine.
last=$(wc -l <"${file[exempt]}")
read -r count p50 p99_exempt blocked_exempt < <(percentiles "${file[exempt]}" "$first" "$last")
read -r _ _ p99_part blocked_part < <(percentiles "${file[part]}" "$first" "$last")
note "$count requests; exempt: p50 $p50, p99 $p99_exempt, blocked p99 $blocked_exempt us; part: p99 $p99_part, blocked p99 $blocked_part us"
ratio=$(((p50 + blocked_part) * 1000 / (p50 + blocked_exempt)))
note "p99 is $ratio thousandths, of the whole time $((p99_part * 1000 / p99_exempt))"
# The goal of docs/reclaim.md
check "the p99 of its requests is at most 1.1 times that of the other" more_than 1101 "$ratio"
