# All other containers get no swap, whatever the runtime left
# suites: bookworm
# timeout: 300
. /payload/lib.sh
swap_on 1G
start_apiserver
start_agent

# zero SENTENCE POD ARGUMENT...
zero() {
    local sentence=$1 name=$2 before
    shift 2
    pod "$name" "$@"
    before=$(swap_max "$name")
    eventually 5 "$sentence" has_limit "$name" 0
    note "at first: $before"
}

for runtime in crun runc; do
    zero "$runtime: a BestEffort container" best-effort-$runtime
    zero "$runtime: a BestEffort container that an old kubelet let swap without bound" best-effort-old-$runtime --kubelet old
done
runtime=crun
zero "a Guaranteed container" guaranteed --request 60Mi --limit 60Mi --cpu 100m --cpu-limit 100m
zero "a Burstable container whose request is its limit" equal --request 60Mi --limit 60Mi
zero "a Burstable container that requests no memory" no-memory --cpu 100m --kubelet old
zero "a container of a system-node-critical pod" node-critical --request 60Mi --priority-class system-node-critical
zero "a container of a system-cluster-critical pod, of priority 2000000000" cluster-critical --request 60Mi --priority-class system-cluster-critical --kubelet old
zero "a container of a static pod, known in the API by its mirror" static --request 60Mi --static --kubelet old
pod liar --request 60Mi --annotation kubernetes.io/config.mirror=abc --annotation kubernetes.io/config.source=file
eventually 5 "a pod is no mirror because its author writes so" has_limit liar "$(grant 60)"

pod_with_sandbox priority --request 60Mi --limit 100Mi --priority 1000000000
eventually 5 "the highest priority that users may give is not critical" has_limit priority "$(grant 60)"
eventually 5 "a sandbox" has_limit priority/POD 0
runtime=runc
pod_with_sandbox sandbox-runc --request 60Mi
eventually 5 "a sandbox under runc" has_limit sandbox-runc/POD 0
