# Pods of all kinds on a node with swap: the grant of each, and the time until it applied
. /payload/lib.sh
swap_on 1G
start_apiserver
start_agent
pod web --request 100Mi --limit 300Mi
pod database --request 300Mi
pod mixed --sidecar proxy,request=20Mi --container main,request=150Mi,limit=200Mi
pod batch
pod exact --request 64Mi --limit 64Mi --cpu 100m --cpu-limit 100m
pod equal --request 64Mi --limit 64Mi
pod critical --request 64Mi --priority-class system-node-critical
pod static --request 64Mi --static
pod legacy --kubelet old
pod_with_sandbox last --request 50Mi
eventually 10 "the last pod has its grant" has_limit last "$(grant 50)"

echo
echo "== wasp-agent plan"
wasp-agent plan
echo
echo "== memory.swap.max in the kernel: scope / crun's own cgroup"
test-kubelet ps
echo
for value in 0 max; do
    echo "the web container's limit was changed to $value and repaired after $(drift web child $value) ms"
done
echo
echo "== wasp-agent suspend: a pod of each QoS class"
pod suspended --request 100Mi --limit 300Mi --hog 40
pod suspended-exact --request 64Mi --limit 64Mi --cpu 100m --cpu-limit 100m --hog 40
pod suspended-batch --hog 40
eventually 20 "the first has its grant" has_limit suspended "$(grant 100)"
for name in suspended suspended-exact suspended-batch; do
    wasp-agent suspend "default/$name" || true
done
wasp-agent suspended
for name in suspended suspended-exact suspended-batch; do
    begun=$(now_ms)
    wasp-agent resume "default/$name" || true
    echo "after $(($(now_ms) - begun)) ms: $(memory_used "$name") bytes in RAM, $(swap_used "$name") in swap"
done
echo
agent_status
[[ -z ${DEMO_VERBOSE:-} ]] || diagnose
