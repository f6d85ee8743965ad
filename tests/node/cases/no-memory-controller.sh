# On a kernel that cannot limit swap, the agent creates none, and no command reports a limit as right
# suites: bookworm
# cmdline: cgroup_disable=memory
# timeout: 300
. /payload/lib.sh
says() { [[ $(agent_status) == *"$1"* ]]; }
is "$(find $cgroups -name memory.max | head -n 1)" "" "no cgroup has a limit for memory"
like "$(<$cgroups/cgroup.controllers)" 'pids' "though cgroup v2 is mounted"
configure '[swap]' 'size = "100Mi"'
mkdir -p /var/lib/kubelet
printf 'apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nfailSwapOn: false\n' >/var/lib/kubelet/config.yaml

status=0
said=$(wasp-agent provision 2>&1) || status=$?
is "$status" 69 "provision refuses"
like "$said" 'remove cgroup_disable=memory' "and names the remedy"
is "$(meminfo_bytes SwapTotal)" 0 "no swap is on"
check "wasp-swap does not fail the boot" systemctl start wasp-swap
like "$(systemctl show -P StatusText wasp-swap)" 'no memory controller' "its status says why"

found=$({ wasp-agent check --json || true; } | jq -r '.checks[] | select(.id == "swap-controller") | "\(.level): \(.found)"')
like "$found" '^fail: the kernel has no memory controller' "check fails"

swap_on 200M
start_apiserver
start_agent
eventually 30 "the agent's status reports it" says "the kernel has no memory controller for cgroup v2"
unclaimed() { ! wasp-agent plan | grep -q 'Every limit'; }
check "the plan does not claim that every limit is right" unclaimed
like "$(wasp-agent plan)" 'NOTE: the kernel has no memory controller' "it reports why"
id=$(printf '%064d' 7)
mkdir -p $cgroups/kubepods/burstable/pod9192cfa8-679c-444e-9bb8-9701e3620c02/crio-$id
like "$(wasp-agent plan)" 'NOTE: 1 container has no memory.swap.max' "it counts a container that has no limit"
check "nor then" unclaimed
eventually 150 "the status never claims it" says "the agent cannot set limits"
