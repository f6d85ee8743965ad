# A half-idle pod answers as fast while reclaim takes its cold memory as without reclaim
# suites: bookworm
# waits: mostly
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
# percentiles FILE FIRST LINES: of these seconds, p50 and p99 of a request, and p99 of the time for which one was
# blocked: neither on the CPU nor waiting for it.
percentiles() {
    tail -n "+$2" "$1" | head -n "$3" | tr ' ' '\n' | grep / | awk -F/ '
        function at(list, percent) { return list[int((n * percent + 99) / 100)] }
        { all[++n] = $1; blocked[n] = $2 }
        END { sort(all, n); sort(blocked, n); print at(all, 50), at(all, 99), at(blocked, 99) }
        function sort(list, n,    i, j, value) {
            for (i = 2; i <= n; i++) { value = list[i]; for (j = i - 1; j > 0 && list[j] > value; j--) list[j + 1] = list[j]; list[j + 1] = value }
        }'
}
seconds=50
declare -A blocked wall p50
phase() { # NAME: what both pods took in so many seconds from now on
    local pod
    local -A first
    pause 3
    for pod in part exempt; do
        first[$pod]=$(($(wc -l <"${file[$pod]}") + 1))
    done
    for pod in part exempt; do
        eventually $((seconds + 60)) "$1: $pod goes on" has_lines $((first[$pod] + seconds - 1)) "${file[$pod]}"
        read -r "p50[$pod $1]" "wall[$pod $1]" "blocked[$pod $1]" < <(percentiles "${file[$pod]}" "${first[$pod]}" "$seconds")
        note "$1 $pod: p50 ${p50[$pod $1]}, p99 ${wall[$pod $1]}, blocked p99 ${blocked[$pod $1]} us"
    done
    note "$1: $(($(<"$(slice_of part)/memory.swap.current") >> 20)) of 64 MiB in swap; $(grep some "$(slice_of part)/memory.pressure")"
}
eventually 120 "the pods run" has_lines 40 "${file[exempt]}"
for round in 1 2 3 4; do
    mode off
    systemctl reload wasp-agent
    phase "off $round"
    mode on
    systemctl reload wasp-agent
    phase "on $round"
done
check "most of the cold memory of one has left" more_than "$(<"$(slice_of part)/memory.swap.current")" $((36 << 20))
is "$(<"$(slice_of exempt)/memory.swap.current")" 0 "and nothing of the other"
# A request's time is what half of them take without reclaim, and the time for which it was blocked: the CPU's own
# part differs by more than the reclaim on a busy machine.
base=$(for round in 1 2 3 4; do echo "${p50[part off $round]}"; done | sort -n | sed -n 2p)
ratios() { # ARRAY ADDED POD: per round, of a thousand
    local round
    local -n times=$1
    for round in 1 2 3 4; do
        echo $(((${times[$3 on $round]} + $2) * 1000 / (${times[$3 off $round]} + $2)))
    done | sort -n
}
for pod in part exempt; do
    note "$pod: on/off, in thousandths: of blocked p99 $(ratios blocked "$base" $pod | xargs), of the whole p99 $(ratios wall 0 $pod | xargs)"
done
median=$(ratios blocked "$base" part | sed -n '2,3p' | awk '{ sum += $1 } END { print int(sum / 2) }')
check "with reclaim its p99 is within 1.1 times, in the median of four pairs" bash -c "(($median <= 1100))"
