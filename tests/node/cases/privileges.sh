# The services have the privileges in docs/security.md, and work without the others
# timeout: 600
. /payload/lib.sh
document=/usr/share/doc/wasp-agent/docs/security.md

# exposed UNIT: the findings of systemd-analyze, as `name|points`.
exposed() {
    systemd-analyze security --no-pager --json=short "$1.service" |
        jq -r '.[] | select(.exposure != null and (.exposure | tonumber) > 0) | "\(.name)|\(.exposure)"' | sort
}
# documented COLUMN: the same from the table.
documented() {
    sed -n '/^### What the units still expose/,/^The hook/{ s/\\|/;/g; p; }' $document | awk -F ' *[|] *' -v column="$1" '$2 ~ /^`/ && $column != "-" {
        gsub(/`/, "", $2); gsub(/;/, "|", $2); print $2 "|" $column }' | sort
}
overall() { systemd-analyze security --no-pager "$1.service" | awk '/Overall/ { print $(NF - 2) }'; }

column=3
for unit in wasp-agent wasp-swap; do
    is "$(documented $column)" "$(exposed $unit)" "$unit: what is left is what the document says"
    figure=$(overall $unit)
    like "$(tr '\n' ' ' <$document)" "\*\*$figure for $unit\*\*" "$unit: $figure, as the document says"
    column=$((column + 1))
done

# From here on the filter kills at a forbidden call; in service it only fails, which might go
# unnoticed.
for unit in wasp-agent wasp-swap; do
    mkdir -p /run/systemd/system/$unit.service.d
    printf '%s\n' '[Service]' 'SystemCallErrorNumber=' >/run/systemd/system/$unit.service.d/kill.conf
done
printf '%s\n' '[Service]' 'ExecStartPost=/bin/sh -c "readlink /proc/self/ns/mnt >/run/wasp-agent/mnt"' >/run/systemd/system/wasp-swap.service.d/mnt.conf
systemctl daemon-reload
configure 'log.verbosity = 9' 'swap.size = "300Mi"' '[eviction]' 'mode = "observe"'
mkdir -p /var/lib/kubelet/pods/uid/volumes
echo secret >/var/lib/kubelet/pods/uid/volumes/token

check "swap is made" systemctl start wasp-swap
is "$(systemctl show -P Result wasp-swap)" success "within the filter"
is "$(</run/wasp-agent/mnt)" "$(readlink /proc/self/ns/mnt)" "in the host's mount namespace"
is "$(awk 'NR > 1 { print $1 }' /proc/swaps)" /var/lib/wasp-agent/swapfile "so that the swapfile has its name"

start_apiserver
start_agent
pid=$(agent_pid)
pod one --request 100Mi --limit 300Mi
eventually 20 "the agent works within the filter" has_limit one "$(grant 100)"
# Without its grant, it would be killed.
pod two --request 50Mi --limit 100Mi --command \
    'while ! [ -e /tmp/go ]; do sleep 1; done; dd if=/dev/zero of=/tmp/a bs=1M count=115; exec sleep 100000'
eventually 20 "another one has its grant" has_limit two "$(grant 50)"
of two
: >"/proc/$(head -n 1 "${child:-$scope}/cgroup.procs")/root/tmp/go"
two_swaps() { more_than "$(swap_used two)" 0; }
eventually 60 "while another one swaps" two_swaps
rotate_certificate
systemctl reload wasp-agent
check "every command does" wasp-agent status --all
note "a hand-written max stood for $(drift one scope max) ms"
eventually 10 "repairs too" has_limit one "$(grant 100)"
is "$(agent_pid)" "$pid" "nothing of it is forbidden"
is "$(journalctl -q -k -g 'type=1326' | grep -c wasp)" 0 "says the kernel"

is "$(awk '/^Cap(Prm|Eff|Bnd|Amb)/ { print $2 }' "/proc/$pid/status" | sort -u)" 0000000000000000 "the agent has no capability"
inside() { nsenter --mount="/proc/$pid/ns/mnt" -- "$@"; }
check "sees no pod's volume" inside test ! -e /var/lib/kubelet/pods/uid
mkdir -p /var/lib/kubelet/pods/later
mount -t tmpfs tmpfs /var/lib/kubelet/pods/later
check "nor one that is mounted later" inside test ! -e /var/lib/kubelet/pods/later
umount /var/lib/kubelet/pods/later
check "which it does not hold either" inside bash -c '! grep -q /pods/later /proc/self/mountinfo'

# FILE MODE of all files that are ours.
modes() { find "$@" -printf '%p %m\n' | sed -E 's/[0-9a-f-]{36}/UID/' | sort -u; }
note "$(modes /run/wasp-agent | tr '\n' ' ')"
is "$(modes /run/wasp-agent -type f -perm /077)" "" "no file in /run/wasp-agent is for others"
is "$(modes /run/wasp-agent -type d)" "/run/wasp-agent 755
/run/wasp-agent/pods 700" "nor is the folder of records"
is "$(modes /run/wasp-agent -type s | sort)" "/run/wasp-agent/control.sock 600
/run/wasp-agent/metrics.sock 600" "nor the sockets"
# Only kinds of events that have happened have a file.
is "$(modes /var/lib/wasp-agent | grep -vE '/history/(evictions|repairs) 600$')" "/var/lib/wasp-agent 700
/var/lib/wasp-agent/history 700
/var/lib/wasp-agent/history/events 600
/var/lib/wasp-agent/history/minutes 600
/var/lib/wasp-agent/provisioned.json 600
/var/lib/wasp-agent/swapfile 600" "nor the swap and the history"

key=$(awk '/PRIVATE KEY/ { on = !on; next } on && length > 40' "$(awk '$1 == "client-key:" { print $2 }' /var/lib/kubelet/kubeconfig)" | head -n 1)
check "there is a key" test -n "$key"
is "$(journalctl -q -o cat | grep -cF "$key")" 0 "which no message contains"
systemctl stop wasp-agent
is "$(systemctl show -P Result wasp-agent)" success "it stops within the filter"
