# Without an agent, kubelet and runtime leave the limits that the agent expects
. /payload/lib.sh
swap_on

for runtime in crun runc; do
    start=$(now_ms)
    pod_with_sandbox burstable-$runtime --request 100Mi --limit 200Mi --no-api
    note "a pod of one container and its sandbox takes $(($(now_ms) - start)) ms with $runtime"
    pod old-$runtime --request 100Mi --kubelet old --no-api
done

of burstable-crun
is "$(<"$child/memory.swap.max")" 0 "crun: the container's own cgroup may not swap"
is "$(<"$child/memory.max")" "$(mib 200)" "crun: the memory limit is the container's"
is "$(<"/proc/$(head -n 1 "$child/cgroup.procs")/oom_score_adj")" \
    "$(awk -v ram="$(meminfo_bytes MemTotal)" 'BEGIN { print 1000 - int(1000 * 104857600 / ram) }')" \
    "its oom_score_adj carries the request"
is "$(<"$slice/memory.max")" "$(mib 200)" "the pod slice's memory.max is the sum of its containers' limits"
like "$slice" '/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod[0-9a-f_]{36}.slice$' "the slice is named as the kubelet names it"
of burstable-crun/POD
is "$(<"$scope/memory.swap.max")" max "crun: the sandbox may swap without bound"
of old-crun
is "$(<"$child/memory.swap.max")" max "crun, old kubelet: with no memory limit, a container may swap without bound"
of burstable-runc
is "$child" "" "runc makes no child cgroup"
is "$(<"$scope/memory.swap.max")" 0 "runc: the container may not swap"
of old-runc
is "$(<"$scope/memory.swap.max")" max "runc, old kubelet: with no memory limit, a container may swap without bound"
for name in burstable-crun burstable-runc; do note "$name $(swap_max $name)"; done


pod old-limited --request 100Mi --limit 200Mi --kubelet old --no-api
before=$(swap_max old-limited)
systemctl daemon-reload
note "runc, old kubelet, memory limit: $before; after daemon-reload: $(swap_max old-limited)"

check "a container restarts under a new id" test-kubelet restart burstable-crun --no-api
check "the new one runs" lives burstable-crun
of burstable-crun
test-kubelet stop burstable-crun --no-api
check "a stopped pod leaves no slice" test ! -e "$slice"
pod inits --init first,request=10Mi --sidecar side,request=20Mi --container main,request=300Mi --no-api
is "$(test-kubelet ps --json | jq -r '[.[] | select(.pod == "inits").container] | join(" ")')" "main side" \
    "init containers are gone when the others run"
