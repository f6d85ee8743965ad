# The agent finds and limits pods below the kubelet's cgroupRoot, and reports pods elsewhere
# suites: bookworm
# timeout: 420
. /payload/lib.sh
export TEST_CGROUP_ROOT=/kubelet
says() { [[ $(agent_status) == *"$1"* ]]; }
swap_on 1G
mkdir -p /var/lib/kubelet
printf 'apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nfailSwapOn: false\ncgroupRoot: /kubelet\n' >/var/lib/kubelet/config.yaml
start_apiserver
pod before --request 100Mi --limit 300Mi
like "$(of before && echo "$scope")" "^$cgroups/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod[0-9a-f_]{36}.slice/crio-" "a pod is where the kubelet makes it"
start_agent
check "a pod that was there has its share" limit_holds before "$(page "$(grant 100)")"
pod web --request 200Mi --limit 300Mi
eventually 10 "a new one too" has_limit web "$(grant 200)"
pod best
eventually 10 "one without a request gets none" has_limit best 0
drift web scope max >/dev/null
eventually 10 "a changed limit is repaired" has_limit web "$(grant 200)"
systemctl daemon-reload
eventually 10 "after a daemon-reload it is right" has_limit web "$(grant 200)"
like "$(wasp-agent plan)" 'Every limit is right\.' "the plan agrees"
like "$(jq -r '.kubelet.values[] | select(.key == "cgroupRoot") | "\(.value) \(.from)"' /run/wasp-agent/status.json)" '^/kubelet /var/lib/kubelet/config.yaml$' "the status names the file"

pod_of_another() { TEST_CGROUP_ROOT='' pod other --request 100Mi --limit 300Mi; }
pod_of_another
like "$(wasp-agent plan)" 'NOTE: 1 running pod has no cgroup below kubelet.slice/kubelet-kubepods.slice' "the plan reports a pod that is elsewhere"
eventually 150 "the status too, after a while" says "1 running pod has no cgroup below kubelet.slice/kubelet-kubepods.slice"

sed -i '/cgroupRoot/d' /var/lib/kubelet/config.yaml
systemctl reload wasp-agent
eventually 10 "when the kubelet's root changes, pods there are found" has_limit other "$(grant 100)"
