# The agent keeps every limit right while D-Bus restarts, pods vanish, and slices disappear and return
# suites: bookworm
. /payload/lib.sh
swap_on 1G
start_apiserver
start_agent
pod one --request 100Mi --limit 300Mi
pod two --request 50Mi
eventually 5 "a grant stands" has_limit one "$(grant 100)"
pid=$(agent_pid)

systemctl restart dbus
eventually 10 "systemctl works again" systemctl -q is-active dbus
of one
echo 0 >"$scope/memory.swap.max"
eventually 5 "after a restart of D-Bus, drift is repaired" has_limit one "$(grant 100)"
pod three --request 70Mi --limit 300Mi
eventually 10 "and systemd is told of new limits" has_limit three "$(grant 70)"

for round in 1 2 3; do
    pod brief --request 30Mi
    test-kubelet stop brief
done
test-kubelet stop one
test-kubelet stop two
test-kubelet stop three
systemctl stop kubepods.slice
is "$(find "$cgroups" -maxdepth 1 -name kubepods.slice)" "" "kubepods.slice is gone"
throughout 2 "the service stays active" systemctl -q is-active wasp-agent
pod again --request 100Mi --limit 300Mi
eventually 5 "in a new kubepods.slice, a grant is right" has_limit again "$(grant 100)"
is "$(agent_pid)" "$pid" "the agent was not restarted"
is "$(agent_journal -p warning --since -5min | grep -ciE 'no such (file|device)|not found|panic')" 0 "no complaint about what is gone"
