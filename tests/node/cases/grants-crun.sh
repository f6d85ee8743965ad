# A Burstable container gets its share of swap, to the byte
. /payload/lib.sh
swap_on 1G
start_apiserver

pod early --request 100Mi --limit 300Mi
note "as $runtime left it: $(swap_max early)"
start_agent
# The service is ready without the list of pods, if the API server does not answer in time.
eventually 20 "what ran before the agent is right when the service is ready" limit_holds early "$(page "$(grant 100)")"
of early
systemd_has() { [[ $(systemctl show -P MemorySwapMax "${scope##*/}") = $(grant 100) ]]; }
eventually 15 "systemd is told too" systemd_has
is "$(<"${child:-$scope}/memory.oom.group")" 1 "which leaves the kubelet's memory.oom.group as it was"
note "100Mi of $(meminfo_bytes MemTotal) RAM, of $(meminfo_bytes SwapTotal) swap: $(grant 100) bytes"

pod limited --request 123Mi --limit 300Mi
eventually 5 "a container with a memory limit gets request / RAM * swap" has_limit limited "$(grant 123)"
pod unlimited --request 77Mi
eventually 5 "so does one without a memory limit" has_limit unlimited "$(grant 77)"
pod old --request 77Mi --kubelet old
eventually 5 "so does one that the runtime left without any swap limit" has_limit old "$(grant 77)"
pod several --sidecar side,request=20Mi --container main,request=200Mi --container other,request=30Mi,limit=40Mi --container none
eventually 5 "each container gets the share of its own request" has_limit several/main "$(grant 200)"
eventually 5 "also beside another" has_limit several/other "$(grant 30)"
eventually 5 "also as a sidecar, whose oom_score_adj is its pod's" has_limit several/side "$(grant 20)"
eventually 5 "one that requests nothing gets nothing" has_limit several/none 0

test-kubelet restart early
eventually 5 "a container that restarts under a new id gets it again" has_limit early "$(grant 100)"
