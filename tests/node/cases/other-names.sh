# The agent recognizes cgroups with the names of the cgroupfs driver and of containerd
# suites: bookworm
. /payload/lib.sh
swap_on 1G
start_apiserver
start_agent

pod containerd --request 50Mi --limit 300Mi --engine containerd
of containerd
like "$scope" '/cri-containerd-[0-9a-f]{64}.scope$' "containerd's scope"
eventually 5 "a container of containerd's gets its grant" has_limit containerd "$(grant 50)"

pod cgroupfs --request 100Mi --limit 300Mi --driver cgroupfs --kubelet old
of cgroupfs
like "$scope" '/kubepods/burstable/pod[0-9a-f-]{36}/crio-[0-9a-f]{64}$' "the cgroupfs driver's cgroup"
eventually 5 "a container below the cgroupfs driver's cgroups gets its grant" limit_holds cgroupfs "$(page "$(grant 100)")"
note "a 0 written there stood for $(drift cgroupfs scope 0) ms"
pod guaranteed --request 60Mi --limit 60Mi --cpu 1 --cpu-limit 1 --driver cgroupfs --kubelet old
eventually 5 "a Guaranteed one gets none" limit_holds guaranteed 0
pod both --request 60Mi --driver cgroupfs --engine containerd
of both
like "$scope" '/cri-containerd-[0-9a-f]{64}$' "containerd with the cgroupfs driver"
eventually 5 "a container of containerd's gets its grant there too" limit_holds both "$(page "$(grant 60)")"
check "nothing was said to systemd that it did not know" bash -c '! journalctl -q -u wasp-agent -o cat | grep -i "not loaded"'
