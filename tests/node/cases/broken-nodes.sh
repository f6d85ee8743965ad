# STATUS, status and check name the same cause on a broken node, and the remedy works when it is pasted
# suites: bookworm
# timeout: 900
. /payload/lib.sh

# Sets `finding` for the check's ID as LEVEL: text, and `fix` to its remedy.
finds() {
    local report
    report=$(wasp-agent check --json) || true
    finding=$(jq -r --arg id "$1" '.checks[] | select(.id == $id) | .level + ": " + .found' <<<"$report")
    fix=$(jq -r --arg id "$1" '.checks[] | select(.id == $id) | .fix[]' <<<"$report")
}
paste() { bash -e <<<"$fix" >/dev/null 2>&1; }
# check_is ID LEVEL
check_is() {
    finds "$1"
    [[ $finding == "$2: "* ]]
}

mkdir -p /etc/kubernetes
printf '%s\n' 'apiVersion: kubelet.config.k8s.io/v1beta1' 'kind: KubeletConfiguration' 'failSwapOn: false' 'evictionHard:' '  memory.available: 1Mi' >/etc/kubernetes/kubelet.conf
configure '[swap]' 'size = "200Mi"' '[protection]' 'io-latency-target-ms = 0' '[limits]' 'resync-seconds = 10'
systemctl start wasp-swap
start_apiserver
start_agent
pod one --request 100Mi --limit 300Mi
definition=/run/containers/oci/hooks.d/99-wasp-agent.json
[[ -e $definition ]] || definition=/usr/share/containers/oci/hooks.d/99-wasp-agent.json
check "the hook is installed" test -e "$definition"

# --- the hook's program
chmod 0644 /usr/bin/wasp-hook
eventually 5 "a hook that is not executable is withdrawn at once" bash -c "! test -e $definition"
eventually 5 "STATUS names it first, with the remedy" status_says '^the OCI hook is removed.*wasp-hook is not executable.*chmod 0755 /usr/bin/wasp-hook'
# It reads a file, which the agent writes at most every two seconds.
told() { [[ $(wasp-agent status | grep -A1 ^Problems) == *'not executable'* ]]; }
eventually 5 "so does status" told
finds hook-program
like "$finding" '^fail: .*wasp-hook is not executable' "so does check"
check "its remedy is a command that works" paste
eventually 5 "and the hook is back" test -e "$definition"

# --- its mount: the agent's unit has its own mount namespace, and reads the host's mounts
mount --bind /usr/bin/wasp-hook /usr/bin/wasp-hook
mount -o remount,bind,noexec /usr/bin/wasp-hook
eventually 5 "a hook on a mount without exec is withdrawn at once" bash -c "! test -e $definition"
eventually 5 "STATUS names it first" status_says '^the OCI hook is removed.*is mounted with noexec'
finds hook-program
like "$finding" '^fail: .*is mounted with noexec' "so does check"
check "its remedy is a command that works" paste
eventually 5 "and the hook is back" test -e "$definition"
umount /usr/bin/wasp-hook

# --- a limit above the pods
systemctl set-property --runtime kubepods.slice MemorySwapMax=0
eventually 60 "kubepods.slice at 0 is named" bash -c 'systemctl show -P StatusText wasp-agent | grep -q "memory.swap.max of kubepods.slice is 0"'
finds limits-above-pods
like "$finding" '^fail: memory.swap.max of kubepods.slice is 0' "by check too"
like "$(wasp-agent explain one)" 'by the limit of kubepods.slice' "explain names the level that counts"
check "its remedy is a command that works" paste
eventually 20 "and the check turns OK" check_is limits-above-pods ok

# --- a daemon-reload with a property that an administrator set undoes our limits
systemctl set-property kubepods.slice MemorySwapMax=0
systemctl daemon-reload
eventually 60 "an override in system.control is named" bash -c 'systemctl show -P StatusText wasp-agent | grep -q "memory.swap.max of kubepods.slice is 0"'
finds limits-above-pods
check "its remedy wins over it" paste
systemctl daemon-reload
eventually 20 "also after a daemon-reload" check_is limits-above-pods ok

# --- systemd-oomd on a QoS slice
systemctl set-property --runtime kubepods-burstable.slice ManagedOOMMemoryPressure=kill
eventually 60 "systemd-oomd on a QoS slice is named" bash -c 'systemctl show -P StatusText wasp-agent | grep -q "kills in kubepods-burstable.slice when memory is short"'
finds systemd-oomd
like "$finding" '^warn: kills pods in kubepods-burstable.slice when memory is short' "by check too"
check "its remedy is a command that works" paste
eventually 20 "and the check turns OK" check_is systemd-oomd ok

# --- on kubepods, and on a pod's own slice: all of them are named
of one
slice=$(basename "$(dirname "$scope")")
systemctl set-property --runtime kubepods.slice ManagedOOMSwap=kill
systemctl set-property --runtime "$slice" ManagedOOMMemoryPressure=kill
eventually 60 "systemd-oomd on two slices is named" bash -c 'systemctl show -P StatusText wasp-agent | grep -q "kills in kubepods.slice and kubepods-.*pod.*.slice when"'
finds systemd-oomd
like "$finding" '^warn: kills pods in kubepods.slice and kubepods-.*pod.*.slice when memory is short' "by check too"
check "its remedy is commands that work" paste
eventually 20 "and the check turns OK" check_is systemd-oomd ok

# --- D-Bus is down
systemctl stop dbus.socket dbus.service 2>/dev/null
eventually 60 "D-Bus that is down is named" bash -c 'systemctl show -P StatusText wasp-agent | grep -q "cannot reach systemd at"'
finds systemd-bus
like "$finding" '^fail: cannot reach systemd at /run/dbus/system_bus_socket' "by check too"
check "its remedy is a command that works" paste
eventually 20 "and the check turns OK" check_is systemd-bus ok

# --- /run is full
read -r size used < <(df --output=size,used -k /run | tail -n 1)
mount -o remount,size="${used}k" /run
head -c 8192 /dev/zero >/run/fill 2>/dev/null || true
finds run-space
like "$finding" '^fail: /run is full' "a full /run is named by check"
rm -f /run/fill
mount -o remount,size="${size}k" /run
eventually 20 "and the check turns OK" check_is run-space ok

# --- a clock in 2020
now=$(date +%s)
date -s 2020-01-01 >/dev/null
systemctl restart wasp-agent
eventually 60 "a clock in 2020 is named" bash -c 'systemctl show -P StatusText wasp-agent | grep -q "this node.s clock is wrong: it shows 2020-01-01"'
finds certificate
like "$finding" '^fail: not yet valid: this node.s clock is wrong' "by check too"
date -s "@$((now + 30))" >/dev/null
systemctl restart wasp-agent
eventually 20 "and the check turns OK" check_is certificate ok

# --- settings on disk that are not in effect
configure '[swap]' 'size = "200Mi"' '[protection]' 'io-latency-target-ms = 0' '[limits]' 'resync-seconds = 20'
finds agent-settings
like "$finding" '^fail: limits.resync-seconds: 20 on disk, 10 in effect' "settings that were not loaded are named"
check "its remedy is a command that works" paste
eventually 20 "and the check turns OK" check_is agent-settings ok

# --- the unit
systemctl stop wasp-agent
systemctl mask wasp-agent 2>/dev/null
finds agent-service
like "$finding" '^fail: .*masked' "a masked unit is named"
check "its remedy is a command that works" paste
eventually 20 "and the check turns OK" check_is agent-service ok
systemctl stop wasp-agent

mkdir -p /run/systemd/system/wasp-agent.service.d
printf '%s\n' '[Service]' 'ExecStart=' 'ExecStart=/bin/false' 'Restart=always' 'RestartSec=100ms' '[Unit]' 'StartLimitIntervalSec=0' >/run/systemd/system/wasp-agent.service.d/99-crash.conf
systemctl daemon-reload
systemctl start --no-block wasp-agent
crashes() { (($(systemctl show -P NRestarts wasp-agent) >= 3)); }
eventually 60 "the agent fails repeatedly" crashes
finds agent-service
like "$finding" '^fail: .*fails repeatedly' "a crash loop is named"
rm -r /run/systemd/system/wasp-agent.service.d
systemctl daemon-reload
check "its remedy is a command that works" paste
eventually 20 "and the check turns OK" check_is agent-service ok
