# The agent reports programs and settings that contradict it, and creates no swap that would prevent the kubelet's start
# suites: bookworm
. /payload/lib.sh
kubelet() { mkdir -p /etc/kubernetes; printf '%s\n' 'apiVersion: kubelet.config.k8s.io/v1beta1' 'kind: KubeletConfiguration' "$@" >/etc/kubernetes/kubelet.conf; }
at_scope() { local id unit scope child bundle slice; of "$1"; [[ $(<"$scope/memory.swap.max") == "$2" ]]; }
says() { agent_status | grep -qE "$1"; }

configure '[swap]' 'size = "200Mi"'
kubelet
status=0
said=$(wasp-agent provision 2>&1) || status=$?
is "$status" 69 "provision refuses where the kubelet would not start"
like "$said" 'failSwapOn is true \(the default\); set it to false in /etc/kubernetes/kubelet.conf' "and names file, key and value"
is "$(meminfo_bytes SwapTotal)" 0 "no swap is on"
systemctl start wasp-swap
check "the unit does not keep the kubelet from starting" systemctl -q is-active wasp-swap
like "$(systemctl show -P StatusText wasp-swap)" 'failSwapOn' "and says why in its status"

kubelet 'failSwapOn: false' 'evictionHard:' '  memory.available: 200Mi'
configure '[swap]' 'size = "200Mi"' '[kernel]' 'align-watermarks = false'
systemctl restart wasp-swap
is $((($(meminfo_bytes SwapTotal) + 4096) >> 20)) 200 "with failSwapOn: false there is swap"
start_apiserver
start_agent
eventually 10 "swap that is reached too late is said" says 'the kubelet evicts below 200.0 MiB .*, the kernel swaps only below'
before="$(</proc/sys/vm/watermark_scale_factor) $(</proc/sys/vm/min_free_kbytes)"
configure '[swap]' 'size = "200Mi"' '[kernel]' 'align-watermarks = true' 'swappiness = 90'
systemctl restart wasp-swap
note "watermark_scale_factor and min_free_kbytes: $before → $(</proc/sys/vm/watermark_scale_factor) $(</proc/sys/vm/min_free_kbytes)"
low_bytes() { awk '$1 == "low" { pages += $2 } END { print pages * 4096 }' /proc/zoneinfo; }
check "the kernel now swaps before the kubelet evicts" more_than "$(low_bytes)" "$(mib 211)"
is "$(</proc/sys/vm/min_free_kbytes)" 217600 "and no allocator gets below its threshold"
is "$(</proc/sys/vm/swappiness)" 90 "swappiness is as configured"
systemctl reload wasp-agent
eventually 10 "it is no longer said" bash -c '! systemctl show -P StatusText wasp-agent | grep -q "kubelet evicts"'

pod one --request 100Mi --limit 300Mi
eventually 5 "the agent grants" has_limit one "$(grant 100)"
kubelet 'failSwapOn: false' 'memorySwap:' '  swapBehavior: LimitedSwap'
configure 'grants = "agent"' '[swap]' 'size = "200Mi"' '[kernel]' 'align-watermarks = true' 'swappiness = 90'
systemctl reload wasp-agent
eventually 10 "a kubelet that grants too is reported" says 'swapBehavior is LimitedSwap \(/etc/kubernetes/kubelet.conf\)'
of one
echo 4096 >"$scope/memory.swap.max"
eventually 10 "and its limits count: they are repaired" at_scope one "$(page "$(grant 100)")"
kubelet 'failSwapOn: false'
systemctl reload wasp-agent
eventually 10 "when it does not, the agent grants again" has_limit one "$(grant 100)"

mkdir -p /run/containers/oci/hooks.d
touch /run/containers/oci/hooks.d/swap-for-burstable.json
systemctl reload wasp-agent
eventually 10 "the DaemonSet's hook is named" says 'swap-for-burstable.json'
rm /run/containers/oci/hooks.d/swap-for-burstable.json
systemctl set-property --runtime -- -.slice ManagedOOMSwap=kill
systemctl restart wasp-agent
eventually 10 "systemd-oomd among the pods is named" says 'systemd-oomd kills in -.slice'

wasp-agent deprovision 2>/dev/null
is "$(</proc/sys/vm/watermark_scale_factor) $(</proc/sys/vm/min_free_kbytes)" "$before" "deprovision puts the kernel's settings back"
is "$(</proc/sys/vm/swappiness)" 60 "all of them"
