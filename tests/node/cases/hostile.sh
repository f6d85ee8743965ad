# A container that may write its cgroups can neither raise its limit nor redirect the agent
# suites: bookworm
# timeout: 600
. /payload/lib.sh
swap_on 1G
start_apiserver
start_agent
pod bystander --request 50Mi --limit 300Mi
before=$(</sys/fs/cgroup/system.slice/memory.swap.max)
hex=$(printf 'a%.0s' {1..64})

# The attacks of a container: it creates cgroups with other cgroups' names, moves processes into
# them, sets limits in them, and its own limit. The directories that it leaves show what the kernel allowed.
hostile='
cd /sys/fs/cgroup
mkdir() { /bin/busybox mkdir -p "$@" 2>/dev/null; }
long=$(/bin/busybox printf "%0255d" 0)
bytes=$(/bin/busybox printf "\\377\\376")
line=$(/bin/busybox printf "a\nb")
escape=$(/bin/busybox printf "\\033[2J")
inner=kubepods.slice/kubepods-pod9192cfa8_679c_444e_9bb8_9701e3620c02.slice/crio-HEX.scope
mkdir shell "crio-HEX.scope" "$inner" "$long" "$bytes" "$escape" system.slice x.slice
mkdir "$line" && mkdir let-a-line-end
echo 0 >shell/cgroup.procs
echo +memory >cgroup.subtree_control
for name in "crio-HEX.scope" system.slice "$long" "$bytes" "$escape"; do
    sleep 100000 &
    echo $! >"$name/cgroup.procs"
    echo max >"$name/memory.swap.max" && mkdir "done/${name%%.*}"
done
(echo max >memory.swap.max) 2>/dev/null && mkdir raised
(echo 0 >../cgroup.procs) 2>/dev/null && mkdir fled
mkdir "done/all"
while true; do mkdir x y z; /bin/busybox rmdir x y z; sleep 1; done'
pod hostile --request 100Mi --limit 300Mi --command "${hostile//HEX/$hex}" \
    --annotation io.kubernetes.cri-o.cgroup2-mount-hierarchy-rw=true
eventually 20 "it gets its grant" has_limit hostile "$(grant 100)"
of hostile
own=${child:-$scope}
is_done() { [[ -d $own/done/all ]]; }
eventually 20 "it makes cgroups in its own" is_done
check "with processes and limits in them" test -d "$own/done/crio-$hex" -a -d "$own/done/system"
is "$(find "$own" -maxdepth 1 \( -name 'let-a*' -o -name raised -o -name fled \) | wc -l)" 0 \
    "the kernel lets it name none with a line's end, raise its own limit, or leave"

# The agent looks at everything again.
systemctl reload wasp-agent
drift bystander scope max >/dev/null
eventually 20 "the agent goes on repairing others" has_limit bystander "$(grant 50)"
drift hostile scope max >/dev/null
eventually 20 "and the container itself" has_limit hostile "$(grant 100)"
is "$(cat "$own/crio-$hex.scope/memory.swap.max" "$own/system.slice/memory.swap.max" | sort -u)" max \
    "what it made in its own is left to it"
is "$(</sys/fs/cgroup/system.slice/memory.swap.max)" "$before" "system.slice is as it was"
is "$(agent_journal -p err)" "" "the agent has met no error"
test-kubelet restart hostile
eventually 20 "a restart is no different" has_limit hostile "$(grant 100)"
