# Installing, upgrading, downgrading and removing the package changes no limit and ends no container
# suites: bookworm
# package: yes
# timeout: 600
. /payload/lib.sh
old=/payload/rpm/1.rpm new=/payload/rpm/2.rpm
release() { rpm -q --qf '%{RELEASE}' wasp-agent; }

# The harness has installed the same files: from now on they are the package's, which compresses
# these.
rm /usr/share/man/man?/wasp-*
swap_on 2G
start_apiserver
check "the package installs" transaction -i $old
is "$(rpm -V --nodeps wasp-agent)" "" "every file is as packed"
is "$(systemctl is-enabled wasp-agent wasp-swap | tr '\n' ' ')" "disabled disabled " "nothing is enabled by itself"
systemctl -q enable wasp-agent
start_agent
pod vm --request 100Mi --limit 300Mi
pod busy --request 30Mi --limit 36Mi --hog 50
pod batch
eventually 20 "containers have their limits" has_limit vm "$(grant 100)"
eventually 20 "all of them" has_limit busy "$(grant 30)"
eventually 20 "and none" has_limit batch 0
eventually 60 "one has pages in swap" bash -c ". /payload/lib.sh; more_than \"\$(swap_used busy)\" $(mib 2); exit 0"
echo '# mine' >>/etc/wasp-agent/wasp-agent.toml

# watch_limits: records every value of any limit, until /run/watched is gone.
limits() { for name in vm busy batch; do of $name; echo "$scope/memory.swap.max" ${child:+"$child/memory.swap.max"}; done; }
mapfile -t files < <(limits | tr ' ' '\n')
watch_limits() {
    local file value
    while [[ -e /run/watched ]]; do
        for file in "${files[@]}"; do
            read -r value <"$file"
            echo "$file $value"
        done
        pause 0.05
    done
}
: >/run/watched
watch_limits >/run/seen &
watcher=$!
# Waits for a new process that has made its first pass.
settled() { [[ $(systemctl show -P ActiveState wasp-agent) == active && $(agent_pid) != "$1" ]]; }

for step in "upgrade $new 2" "downgrade $old 1"; do
    read -r what package is_then <<<"$step"
    pid=$(agent_pid)
    check "$what" transaction -U --oldpackage "$package"
    is "$(release)" "$is_then" "release $is_then is installed"
    eventually 30 "and runs" settled "$pid"
    is "$(tail -n 1 /etc/wasp-agent/wasp-agent.toml)" "# mine" "the administrator's configuration stays"
    pause 2
    is "$(journalctl -q -u wasp-agent _PID="$(agent_pid)" -o cat -g 'set memory.swap.max')" "" "the new process had nothing to change"
done
is "$(systemctl is-enabled wasp-agent)" enabled "still enabled"
pid=$(agent_pid)

rm /run/watched
wait $watcher
is "$(sort -u /run/seen | wc -l)" "${#files[@]}" "every limit had one value, in $(wc -l </run/seen) looks"
for name in vm busy batch; do check "$name runs" lives $name; done
is "$(oom_kills busy)" 0 "nothing was killed"

hook=/run/containers/oci/hooks.d/99-wasp-agent.json
check "before it is removed there is a hook" test -s $hook
is "$(<$cgroups/system.slice/memory.swap.max)" 0 "and system.slice has no swap"
check "removal" transaction -e wasp-agent
for name in vm busy batch; do check "$name runs" lives $name; done
check "limits stay, for who runs" has_limit vm "$(grant 100)"
check "there is swap" grep -q /var/lib/swapfile /proc/swaps
is "$(<$cgroups/system.slice/memory.swap.max)" max "system.slice is as it was"
check "no process is left" bash -c '! pidof wasp-agent'
left=$(find /usr /etc /run /var -xdev -path /run/systemd -prune -o -name '*wasp*' -print | grep -vE '/run/(test|credentials)|/var/lib/test-' | sort)
is "$left" "$(printf '%s\n' /etc/wasp-agent /etc/wasp-agent/wasp-agent.toml.rpmsave)" "nothing is left but the configuration that was changed"

# Removing the package removes the swap that it created, unless that is in use.
check "install again" transaction -i $new
configure '[swap]' 'size = "100Mi"' 'priority = 1'
check "swap is made" systemctl start wasp-swap
check "removal while another swap is in use" transaction -e wasp-agent
check "leaves the swap on" grep -q /var/lib/wasp-agent/swapfile /proc/swaps
