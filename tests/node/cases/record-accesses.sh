# The recorder of tests/traces records the memory accesses of a workload that the kernel sees, second by second
# suites: bookworm
# timeout: 600
. /payload/lib.sh
load_into_rootfs
# The traces have 150 seconds: WASP_NODE_RECORD_SECONDS=150.
seconds=${RECORD_SECONDS:-20}
for pattern in idle half-idle bursty periodic growing scanning; do
    chroot "$rootfs" /bin/test-load mib=32 hot=6 pattern=$pattern seconds="$seconds" requests=10 pages=40 \
        record=/tmp/$pattern report=/tmp/$pattern.times &
done
wait
for pattern in idle half-idle bursty periodic growing scanning; do
    is "$(wc -l <"$rootfs/tmp/$pattern")" "$seconds" "$pattern is recorded"
    sed "s/^/# trace $pattern /" "$rootfs/tmp/$pattern"
done
# An idle program does not access its memory; one that serves requests uses the hot part.
accessed() { awk 'NR > 5 { for (i = 2; i <= NF; i++) sum += $i } END { print sum + 0 }' "$rootfs/tmp/$1"; }
check "the idle one accesses less than the half-idle one" more_than "$(accessed half-idle)" "$(accessed idle)"
