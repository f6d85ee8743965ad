# With zswap, what reclaim takes is compressed in RAM first, up to the pod's share
# suites: bookworm
# waits: mostly
# kernel: iolatency
# timeout: 500
. /payload/lib.sh
enabled=/sys/module/zswap/parameters/enabled
echo Y >$enabled
swap_on 1G
load_into_rootfs
mount -t tmpfs tmpfs "$rootfs/tmp"
start_apiserver
# Without a request, nothing is known to be hot; a MiB/s of the emulated disk would take minutes.
configure '[eviction]' 'mode = "observe"' '[reclaim]' 'mode = "on"' 'pods = "burstable"' 'floor = "4Mi"' \
    'start-delay-seconds = 0' 'write-budget = "64Mi"' 'zswap-max-percent = 10' 'zswap-writeback = "on"'
start_agent
for fill in half random; do
    pod $fill --request 200Mi --limit 400Mi \
        --command "exec test-load report=/tmp/$fill seconds=5000 mib=48 pattern=idle fill=$fill"
done
slice_of() { local id unit scope child bundle slice; of "$1"; echo "$slice"; }
of_pod() { cat "$(slice_of "$1")/$2"; }
stat_of() { awk -v key="$2" '$1 == key { print $2 }' "$(slice_of "$1")/memory.stat"; }
gave_back() { (($(of_pod "$1" memory.swap.current) > 38 << 20)); }
for fill in half random; do eventually 300 "the idle pod '$fill' gives back 80 % of its memory" gave_back $fill; done
share=$(($(grant 200) / 10 / 4096 * 4096))
for fill in half random; do
    is "$(of_pod $fill memory.zswap.max)" "$share" "$fill: a tenth of its grant may be compressed pages"
    check "$fill: its compressed pages stay within that" more_than $((share + (1 << 20))) "$(of_pod $fill memory.zswap.current)"
    note "$fill: $(($(of_pod $fill memory.swap.current) >> 20)) MiB in swap, $(($(stat_of $fill zswapped) >> 10)) KiB of them as" \
        "$(($(of_pod $fill memory.zswap.current) >> 10)) KiB in RAM; $(stat_of $fill zswpout) pages stored"
done
# Linux 6.1 has no such file.
like "$(wasp-agent status)" 'reclaim.zswap-writeback is set, but this kernel has no memory.zswap.writeback' "status names the setting that this kernel cannot carry out"
check "pages that compress are compressed first" more_than "$(stat_of half zswapped)" "$(stat_of random zswapped)"
is "$(wasp-agent check --json | jq -r '.checks[] | select(.id == "zswap") | .level')" ok "check is content"
echo N >$enabled
is "$(wasp-agent check --json | jq -r '.checks[] | select(.id == "zswap") | .level')" warn "without zswap, check warns of limits without effect"
