# The agent survives a full disk, a missing journal, a clock that jumps, a bus that hangs or is gone, and a shortage of memory
# suites: bookworm
# timeout: 300
. /payload/lib.sh
swap_on 1G
start_apiserver
start_agent
pod steady --request 100Mi --limit 300Mi
eventually 5 "a grant stands" has_limit steady "$(grant 100)"
of steady
pid=$(agent_pid)
right=$(page "$(grant 100)")
repaired() { [[ $(<"$scope/memory.swap.max") == "$right" ]]; }
# still SENTENCE: the same agent still repairs a wrong limit.
still() {
    echo max >"$scope/memory.swap.max"
    eventually 5 "$1: a wrong limit is repaired" repaired
    is "$(agent_pid)" "$pid" "$1: the same agent"
}
says() { [[ $(agent_status) == *$1* ]]; }

rm /run/wasp-agent/hook.json
read -r size used < <(df --output=size,used -k /run | tail -n 1)
mount -o remount,size="${used}k" /run
head -c 8192 /dev/zero >/run/fill 2>/dev/null || true
is "$(stat -f -c %a /run)" 0 "/run is full"
kill -HUP "$pid"
eventually 10 "STATUS says what cannot be written" says 'cannot write /run/wasp-agent/hook.json'
still "with /run full"
rm -f /run/fill
mount -o remount,size="${size}k" /run
kill -HUP "$pid"
eventually 10 "with room again it is written" test -s /run/wasp-agent/hook.json

systemctl -q stop systemd-journald.socket systemd-journald-dev-log.socket systemd-journald-audit.socket systemd-journald 2>/dev/null
check "journald is stopped" bash -c '! systemctl -q is-active systemd-journald'
still "without journald"
pod quiet --request 50Mi --limit 100Mi
eventually 5 "a container starts, and has its grant" has_limit quiet "$(grant 50)"
systemctl -q start systemd-journald.socket systemd-journald-dev-log.socket systemd-journald
still "with journald again"
says_again() { agent_journal | grep -q 'set memory.swap.max of default/steady'; }
eventually 5 "it is heard again" says_again

for jump in '+2 days' '-4 days' '+2 days'; do
    date -s "$(date -d "$jump")" >/dev/null
    still "the clock jumps by $jump"
done
eventually 60 "the API server is believed again" bash -c '! systemctl show -P StatusText wasp-agent | grep -qi "not reachable"'

bus=$(systemctl show -P MainPID dbus)
kill -STOP "$bus"
pod slow --request 30Mi --limit 100Mi &
still "with a bus that hangs"
pause 12
still "and hangs for longer than anybody waits"
kill -CONT "$bus"
wait $! || true
eventually 30 "when it goes on, systemd is told" has_limit slow "$(grant 30)"

systemctl -q stop dbus.socket dbus.service 2>/dev/null
still "with the bus gone"
systemctl -q start dbus.socket dbus.service
pod back --request 40Mi --limit 100Mi
eventually 30 "when it is back, systemd is told" has_limit back "$(grant 40)"

anonymous=$(awk '$1 == "anon" { print $2 }' "$cgroups/system.slice/wasp-agent.service/memory.stat")
systemctl set-property --runtime wasp-agent MemoryMax=$((anonymous + 1500000))
still "with its own cgroup at its limit"
pod tight --request 20Mi --limit 100Mi
eventually 20 "and new containers get their grant" has_limit tight "$(grant 20)"
note "memory.events: $(paste -sd ' ' "$cgroups/system.slice/wasp-agent.service/memory.events")"
systemctl set-property --runtime wasp-agent MemoryMax=infinity
still "at last"
check "nothing was restarted" test "$(systemctl show -P NRestarts wasp-agent)" = 0
