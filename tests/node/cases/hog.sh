# A container over its memory limit swaps and survives with a swap grant, and is OOM-killed without
# timeout: 300
. /payload/lib.sh
swap_on 2G
start_apiserver
start_agent

# It needs 40 MiB more than its limit of 100 MiB; not zeros, which newer kernels do not keep.
pod granted --request 80Mi --limit 100Mi --command 'while ! [ -e /tmp/go ]; do sleep 1; done; tr "\\0" x </dev/zero | dd bs=140M count=1 iflag=fullblock | sleep 100000'
check "its grant covers what it will need" more_than "$(grant 80)" "$(mib 60)"
eventually 5 "the grant stands" has_limit granted "$(grant 80)"
of granted
: >"/proc/$(head -n 1 "${child:-$scope}/cgroup.procs")/root/tmp/go"
swaps() { more_than "$(swap_used granted)" "$(mib 30)"; }
eventually 60 "the granted hog swaps" swaps
throughout 3 "it lives" lives granted
is "$(oom_kills granted)" 0 "nothing of it was killed"
note "memory $(memory_used granted), swap $(swap_used granted) of $(grant 80)"

pod ungranted --request 100Mi --limit 100Mi --hog 140
eventually 60 "the same hog with no grant dies" dead ungranted
eventually 5 "by the OOM killer, in its own pod" more_than "$(oom_kills ungranted)" 0
check "its neighbour still lives" lives granted
check "so does the agent" systemctl -q is-active wasp-agent
