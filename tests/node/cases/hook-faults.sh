# If the hook is killed, runs together with other hooks or reads malformed data, no container gets too much swap
# suites: bookworm
# timeout: 400
. /payload/lib.sh
swap_on 1G
start_apiserver
hooks=/run/containers/oci/hooks.d
ours=$hooks/99-wasp-agent.json
tell='cat /sys/fs/cgroup/memory.swap.max; exec sleep 100000'

# Other hooks, called before and after ours.
mkdir -p $hooks
for name in 10-other zz-other; do
    printf '#!/bin/sh\n/bin/cat >/dev/null\necho %s >>/run/called\n' $name >/usr/local/bin/$name
    chmod +x /usr/local/bin/$name
    printf '{"version":"1.0.0","hook":{"path":"/usr/local/bin/%s"},"when":{"always":true},"stages":["createRuntime"]}' \
        $name >$hooks/$name.json
done
others() { sha256sum $hooks/*-other.json; }
before=$(others)
start_agent
check "the hook is installed beside those of others" test -s $ours
check "its definition says so to everybody" test "$(stat -c %a $ours)" = 644
definition=$(<$ours)
rm $ours
eventually 5 "it is installed again after it was deleted" test -s $ours
echo '{}' >$ours
restored() { [[ $(<$ours) == "$definition" ]]; }
eventually 5 "or changes it" restored

pod known --request 100Mi --limit 300Mi --command "$tell"
eventually 20 "the agent knows the pod" has_limit known "$(grant 100)"
is "$(</run/called)" $'10-other\nzz-other' "hooks of others are called, in their order"
of known
is "$(jq -r '[.hooks.createRuntime[].path] | join(" ")' "$bundle/config.json")" \
    "/usr/local/bin/10-other /usr/bin/wasp-hook /usr/local/bin/zz-other" "ours comes after what is named before it"
systemctl stop wasp-agent
is "$(others)" "$before" "the agent leaves hooks of others alone"

# A hook that dies: strace kills it when it enters a system call, so that the call does not happen.
mv /usr/bin/wasp-hook /usr/bin/wasp-hook.real
# dies_at CONDITION...: strace's conditions
dies_at() {
    printf '#!/bin/sh\nexec /usr/bin/strace -qq -o /run/strace %s /usr/bin/wasp-hook.real\n' "$*" >/usr/bin/wasp-hook
    chmod +x /usr/bin/wasp-hook
}
burstable=/sys/fs/cgroup/kubepods.slice/kubepods-burstable.slice
for runtime in crun runc; do
    for where in "openat:signal=KILL:when=1" "write:signal=KILL:when=1" "write:signal=KILL:when=2"; do
        # runc creates one cgroup, so there is one write.
        [[ $runtime:$where != runc:write*=2 ]] || continue
        call=${where%%:*}
        dies_at -e "trace=$call" -e "inject=$where"
        name=dies-$runtime-$call-${where##*=}
        if output=$(pod "$name" --no-api --kubelet old --request 100Mi --command "$tell" 2>&1); then
            # A container that starts all the same may have no more than its share.
            of "$name"
            check "$runtime starts a container whose hook dies at $call ${where##*=}, with no more than its share" \
                more_than "$(grant 100)" "$(sed s/max/9223372036854775807/ "$scope/memory.swap.max")"
        else
            note "${output##*$'\n'}"
            report ok "$runtime does not start a container whose hook dies at $call ${where##*=}"
            is "$(cat "$burstable"/*/*.scope/cgroup.events | grep -c 'populated 1')" 1 "nothing of it is left running"
        fi
        like "$(tail -n 1 /run/strace)" 'killed by SIGKILL' "the hook was killed there"
    done
done
mv /usr/bin/wasp-hook.real /usr/bin/wasp-hook
pod dies-no-more --no-api --kubelet old --request 100Mi --command "$tell"
check "with the hook as it was, the next start succeeds" lives dies-no-more

# A hook that is blocked: while it reads the state, and at a file afterwards. The tracer is not the
# hook's parent here, so the hook's parent is the runtime.
hook_journal() { journalctl -q -t wasp-hook -o cat; }
mv /usr/bin/wasp-hook /usr/bin/wasp-hook.real
printf '#!/bin/sh\n/usr/bin/head -c 20 >/dev/null; exec /usr/bin/wasp-hook.real\n' >/usr/local/bin/half-a-state
printf '#!/bin/sh\nexec /usr/bin/strace -D -qq -o /run/strace -P /run/wasp-agent/hook.json -e trace=openat -e inject=openat:delay_enter=8000000 /usr/bin/wasp-hook.real\n' >/usr/local/bin/slow-disk
printf '#!/bin/sh\nexec /usr/bin/wasp-hook.real </dev/zero\n' >/usr/local/bin/no-state
chmod +x /usr/local/bin/{half-a-state,slow-disk,no-state}
for runtime in crun runc; do
    for how in half-a-state no-state slow-disk; do
        cp /usr/local/bin/$how /usr/bin/wasp-hook
        pod "$how-$runtime" --no-api --kubelet old --request 100Mi --command "$tell"
        of "$how-$runtime"
        is "$(cat "$scope"/memory.swap.max "$scope"/container/memory.swap.max 2>/dev/null | sort -u)" 0 \
            "$runtime: with $how the container starts, with no swap"
        like "$(hook_journal | tail -n 1)" "container $(basename "$scope" .scope | sed s/.*-//) of pod .* starts with no swap\$" \
            "and the journal says why"
        note "$(hook_journal | tail -n 1)"
    done
done
mv /usr/bin/wasp-hook.real /usr/bin/wasp-hook

# Malformed data instead of the agent's settings.
echo '{"version": 1, "policy":' >/run/wasp-agent/hook.json
for runtime in crun runc; do
    pod "spoilt-$runtime" --no-api --kubelet old --request 100Mi --command "$tell"
    is "$(test-kubelet starts "spoilt-$runtime" --times 1 | grep -v '^#' | tr ' ' '\n' | sort -u)" 0 \
        "$runtime: with a broken hook.json a container starts and gets none"
    of "spoilt-$runtime"
    like "$(hook_journal | grep "$(jq -r '.annotations["io.kubernetes.pod.uid"]' "$bundle/config.json")" | tail -n 1)" \
        'container "main" of pod .* starts with memory.swap.max 0: cannot use /run/wasp-agent/hook.json: ' "and the journal says why"
done
rm /run/wasp-agent/hook.json
mkfifo /run/wasp-agent/hook.json
pod "fifo" --no-api --kubelet old --request 100Mi --command "$tell"
is "$(test-kubelet starts fifo --times 1 | grep -v '^#' | tr ' ' '\n' | sort -u)" 0 "with a FIFO for hook.json too"
rm /run/wasp-agent/hook.json
runtime=crun
uid=$(jq -r .uid "$state/known/pod.json")
echo '{"version": 2}' >"/run/wasp-agent/pods/$uid.json"
is "$(test-kubelet starts known --times 1 | grep -v '^#')" "0 0 0" "a record of another version means none"
like "$(hook_journal | tail -n 1)" "/run/wasp-agent/pods/$uid.json: " "and the journal names it"

check "cleanup removes the hook" wasp-agent cleanup
check "entirely" test ! -e $ours
is "$(others)" "$before" "and leaves those of others"
: >/run/called
check "a container that starts then" test-kubelet restart known --no-api
is "$(</run/called)" $'10-other\nzz-other' "has theirs alone"
