# Under swap pressure the agent evicts the pod that thrashes, and only it, and reports that to the cluster
# suites: bookworm
# timeout: 400
. /payload/lib.sh
swap_on 2G
load_into_rootfs test-kubelet
start_apiserver
configure '[eviction]' 'mode = "observe"' 'scheduling-guard = "cordon"' \
    'pressure-transition-seconds = 5' 'average-window-seconds = 10' 'cooldown-seconds = 5' \
    'max-average-swap-in-pages-per-second = 8' 'max-average-swap-out-pages-per-second = 8' \
    '[eviction.pressure]' 'enabled = false'
start_agent
api() { test-apiserver --data /var/lib/test-apiserver "$@"; }
being_evicted() { api get pod "$1" -n default | jq -e '.metadata.deletionTimestamp' >/dev/null; }
condition() { api get node node-a | jq -r '.status.conditions[] | select(.type == "SwapPressure") | "\(.status) \(.reason)"'; }
condition_is() { [[ $(condition) == "$1" ]]; }
unschedulable() { api get node node-a | jq -e '.spec.unschedulable'; }
schedulable() { ! unschedulable; }
# events NAMESPACE KIND: the events' reasons, each once.
events() { api get events -n "$1" | jq -r --arg kind "$2" '(.items // [])[] | select(.involvedObject.kind == $kind) | .reason' | sort -u | paste -sd ' '; }
says() { agent_journal | grep -qE "$1"; }

eventually 15 "the node's condition says that all is well" condition_is "False NoSwapPressure"
pod calm --request 100Mi --limit 300Mi
# Uses 140 MiB, with 100 MiB of memory.
pod greedy --request 80Mi --limit 100Mi --command "$(thrash 140)"
pod other --request 60Mi --limit 300Mi
eventually 5 "the grant stands" has_limit greedy "$(grant 80)"
armed() { ls -l "/proc/$(agent_pid)/fd" | grep -q memory.pressure; }
eventually 20 "the kernel is to tell the agent of stalls, though it has no capability" armed
of greedy
go=/proc/$(head -n 1 "${child:-$scope}/cgroup.procs")/root/tmp/go
start=$(now_ms)
: >"$go"
eventually 120 "swap traffic is noticed" says 'swap traffic: [0-9]+ pages/s in'
note "$(($(now_ms) - start)) ms after the container began; $(agent_journal | grep -E 'swap traffic: ' | head -n 1)"
eventually 60 "observing, it says whom it would evict" says 'would evict default/greedy: swap traffic'
says_first() { [[ $(agent_status) =~ ^(swap pressure|asking to evict) ]]; }
eventually 20 "STATUS begins with it" says_first
eventually 30 "the node's condition says so" condition_is "True SwapTrafficHigh"
check "observing, the node stays open to new pods" schedulable
like "$(events default Pod)" 'WouldEvict' "an event of the pod says whom it would evict"
check "and evicts no pod" bash -c '! test-apiserver --data /var/lib/test-apiserver get pod greedy -n default | jq -e .metadata.deletionTimestamp'

sed -i 's/"observe"/"enforce"/' "$config"
start=$(now_ms)
systemctl reload wasp-agent
eventually 60 "enforcing, it evicts the pod that thrashes" being_evicted greedy
note "$(($(now_ms) - start)) ms after the reload"
eventually 10 "new pods are kept away" unschedulable
like "$(events default Pod)" 'SwapEviction' "an event of the pod says so"
like "$(events default Node)" 'SwapEviction SwapPressure WouldEvict' "and events of the node"
check "with a reason" says 'asking the API server to evict default/greedy: swap traffic: .*thresholds 8 and 8\); it comes first of all pods: .* above'
eventually 20 "and waits for it" bash -c 'systemctl show -P StatusText wasp-agent | grep -q "waiting for the end of pod"'
systemctl restart wasp-agent
throughout 15 "an agent that is started again evicts no other pod" bash -c '! journalctl -q -u wasp-agent -o cat | grep -E "asking the API server to evict default/(calm|other)"'
test-kubelet stop greedy >/dev/null 2>&1 || true
eventually 15 "it sees the pod leave" says 'has left'
eventually 30 "and all is well" bash -c '[[ $(systemctl show -P StatusText wasp-agent) != *"swap pressure:"* ]]'
eventually 20 "the condition is cleared" condition_is "False NoSwapPressure"
eventually 10 "and new pods are welcome" schedulable
check "no other pod has to leave" bash -c 'for pod in calm other; do test-apiserver --data /var/lib/test-apiserver get pod $pod -n default | jq -e ".metadata.deletionTimestamp == null" || exit 1; done'
check "they live" lives calm
systemctl stop wasp-agent
is "$(condition)" "" "an agent that stops takes its condition back"
