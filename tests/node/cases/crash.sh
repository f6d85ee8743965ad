# A killed agent restarts, and repairs the limits that changed in between
# suites: bookworm
. /payload/lib.sh
swap_on 1G
start_apiserver
start_agent
pod before --request 100Mi --limit 300Mi
pod gone --request 50Mi
eventually 5 "a grant stands" has_limit before "$(grant 100)"

pid=$(agent_pid)
systemctl kill -s KILL wasp-agent
of before
check "the grant outlives the agent" has_limit before "$(grant 100)"
returned() { [[ $(agent_pid) != 0 && $(agent_pid) != "$pid" ]] && systemctl -q is-active wasp-agent; }
eventually 60 "it comes back by itself" returned
is "$(systemctl show -P NRestarts wasp-agent)" 1 "restarted once"
check "the grant is as it was" has_limit before "$(grant 100)"

# The agent stays down while the node continues.
systemctl mask -q --runtime wasp-agent
systemctl kill -s KILL wasp-agent
for level in scope child; do
    of before
    echo 0 >"${!level}/memory.swap.max"
done
test-kubelet stop gone
pod during --request 70Mi --limit 80Mi
pod denied --kubelet old
systemctl unmask -q --runtime wasp-agent
systemctl reset-failed wasp-agent
start_agent
check "what was overwritten is right when the service is ready" has_limit before "$(grant 100)"
check "so is what started meanwhile" limit_holds during "$(page "$(grant 70)")"
check "and what may not swap" limit_holds denied 0
eventually 15 "systemd is told of both" has_limit during "$(grant 70)"
eventually 15 "also of the second" has_limit denied 0
