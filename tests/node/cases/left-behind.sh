# Memory that outlives a container stays within its pod's grants
# suites: bookworm
# timeout: 400
. /payload/lib.sh
swap_on 512M
start_apiserver
start_agent

slice_file() { local id unit scope child bundle slice; of "$1"; cat "$slice/$2"; }
slice_unit() { local id unit scope child bundle slice; of "$1"; echo "${slice##*/}"; }
slice_has_limit() {
    [[ $(slice_file "$1" memory.swap.max) == $(page "$2") ]] &&
        [[ $(systemctl show -P MemorySwapMax "$(slice_unit "$1")") == "$2" ]]
}
most=0
within() { # POD BYTES: a slice is never above its limit, and remembers the most it has held
    local used
    used=$(slice_file "$1" memory.swap.current)
    ((used <= most)) || most=$used
    ((used <= $2))
}

# Resources that a pod's containers share: namespaces of the sandbox, and an emptyDir with medium
# Memory.
mkdir -p /run/memory-dir
mount -t tmpfs -o size=1G tmpfs /run/memory-dir
# Each start leaves 60 MiB in a separate file, of which at most 40 MiB fit into RAM.
fill='n=$(/bin/busybox ls /run | /bin/busybox wc -l)
/bin/busybox tr "\0" x </dev/zero | /bin/busybox head -c 62914560 >/run/$n
exec sleep 100000'
pod_with_sandbox keeper --request 100Mi --limit 120Mi --command "$fill" \
    --annotation test-kubelet/memory-dir=/run/memory-dir
pod other --request 50Mi
pod besteffort
namespace() { local id unit scope child bundle slice; of "$1"; readlink "/proc/$(head -n 1 "${child:-$scope}/cgroup.procs")/ns/$2"; }
is "$(namespace keeper ipc)" "$(namespace keeper/POD ipc)" "a container joins its sandbox's IPC namespace"
is "$(namespace keeper net)" "$(namespace keeper/POD net)" "and its network namespace"

want=$(grant 100)
eventually 20 "the pod's slice may hold what its container may" slice_has_limit keeper "$want"
eventually 20 "a pod that gets no swap has none in its slice" slice_has_limit besteffort 0
systemctl daemon-reload
eventually 5 "a daemon-reload changes nothing" slice_has_limit keeper "$want"
of keeper
echo max >"$slice/memory.swap.max"
eventually 5 "a changed limit of a slice is restored" slice_has_limit keeper "$want"

for round in 1 2 3 4; do
    full() { (($(find /run/memory-dir -size +59M | wc -l) >= round)); }
    # At its memory limit with its swap full, a pod on a busy machine can take minutes to be killed. Then
    # the restart ends it.
    for ((waited = 0; waited < 60; ++waited)); do
        if full || dead keeper; then break; fi
        pause 1
    done
    note "start $round: $(full && echo written || echo not written) after $waited s or more"
    for _ in 1 2 3 4 5; do within keeper "$(page "$want")" || break; pause 0.2; done
    test-kubelet restart keeper || break
done
within keeper "$(page "$want")" || true
check "the slice was never above the pod's grant" test "$most" -le "$(page "$want")"
note "$(find /run/memory-dir -type f | wc -l) files of $(du -sm /run/memory-dir | cut -f1) MiB; the most in swap was $most bytes of $want"
check "something was left behind in swap" more_than "$most" 10000000
wasp-agent plan >/tmp/plan
like "$(cat /tmp/plan)" 'keeper +\(pod\).* outside its containers' "plan shows what belongs to no container"
like "$(cat /tmp/plan)" 'Every limit is right' "every limit is right, the slices' too"
like "$(wasp-agent explain keeper)" 'All of the pod.*outside its containers' "explain shows it"
eventually 5 "STATUS counts it" status_says 'MiB used'

test-kubelet resize other --request 80Mi
eventually 10 "a grant that grows finds room in its pod's slice" slice_has_limit other "$(grant 80)"
eventually 10 "and stands" has_limit other "$(grant 80)"
unit=$(slice_unit other)
test-kubelet stop other
gone() { [[ -z $(find /run/systemd -path "*$unit*" 2>/dev/null) ]]; }
eventually 10 "nothing is left of a pod's slice that is gone" gone
is "$(agent_journal -p err)" "" "the agent has met no error"
