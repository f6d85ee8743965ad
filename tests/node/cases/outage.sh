# The agent survives an outage of the API server
# suites: bookworm
# timeout: 300
. /payload/lib.sh
swap_on 1G
start_apiserver
start_agent
pod steady --request 100Mi --limit 300Mi
pod restarted --request 50Mi --limit 300Mi
pod gone --request 40Mi
eventually 5 "a grant stands" has_limit steady "$(grant 100)"
eventually 5 "another grant stands" has_limit restarted "$(grant 50)"
note "STATUS: $(agent_status)"

# Drops only the agent's packets, so that its connections hang; the kubelet continues.
systemctl set-property --runtime wasp-agent IPAddressDeny=any
pod new --request 60Mi --limit 300Mi
pod new-old --request 60Mi --kubelet old
eventually 5 "a pod that the agent does not know gets no swap" has_limit new-old 0
eventually 5 "nor does a new kubelet's" has_limit new 0
systemctl set-property --runtime wasp-agent IPAddressDeny=
eventually 60 "when packets pass again, it gets its grant" has_limit new "$(grant 60)"
eventually 10 "so does the other" has_limit new-old "$(grant 60)"

systemctl stop test-apiserver
says_so() { agent_status | grep -qi 'not reachable'; }
eventually 20 "with the API server down, STATUS says so" says_so
note "STATUS: $(agent_status)"
check "the service stays active" systemctl -q is-active wasp-agent
test-kubelet restart restarted --no-api
of steady
echo 0 >"$scope/memory.swap.max"
eventually 5 "a grant is still kept against drift" has_limit steady "$(grant 100)"
systemctl daemon-reload
eventually 5 "and through a daemon-reload" has_limit steady "$(grant 100)"
test-kubelet stop gone --no-api
throughout 15 "the service stays active" systemctl -q is-active wasp-agent
note "$(swap_max restarted) is what a container restarted in the outage has"

start_apiserver
test-kubelet report restarted
eventually 30 "the restarted container has its grant" has_limit restarted "$(grant 50)"
pod fresh --request 80Mi --limit 300Mi
eventually 30 "so has a new pod" has_limit fresh "$(grant 80)"
check "the grant that stood still stands" has_limit steady "$(grant 100)"
note "STATUS: $(agent_status)"
