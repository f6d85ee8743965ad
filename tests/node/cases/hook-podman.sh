# podman reads the hook's definition and runs it; a container outside of pods keeps its limit
# suites: bookworm
. /payload/lib.sh
swap_on 1G
start_apiserver
start_agent
systemctl stop wasp-agent

# The hook's actions stay in its trace.
mv /usr/bin/wasp-hook /usr/bin/wasp-hook.real
printf '#!/bin/sh\nexec /usr/bin/strace -qq -o /run/strace /usr/bin/wasp-hook.real\n' >/usr/bin/wasp-hook
chmod +x /usr/bin/wasp-hook
run_podman() {
    podman --log-level error run --rm --network=none --memory 64m --memory-swap 96m \
        --annotation io.kubernetes.cri-o.ContainerType=container "$@" \
        --rootfs /var/lib/test-kubelet/rootfs cat /sys/fs/cgroup/memory.swap.max
}
begun=$(now_ms)
hooked=$(run_podman --hooks-dir /run/containers/oci/hooks.d 2>&1) || hooked+=" and a failure"
note "podman takes $(($(now_ms) - begun)) ms"
is "$hooked" "$(mib 32)" "the container starts, with the limit that podman gave it"
check "podman has called the hook" test -s /run/strace
like "$(tail -n 1 /run/strace)" '^exit_group\(0\)' "which ended well"
check "it was told of a container that it knows to be in no pod" grep -q '^openat.*/cgroup"' /run/strace
check "it has written nothing" bash -c '! grep "memory.swap.max" /run/strace'
is "$(journalctl -q -t wasp-hook -o cat)" "" "and has said nothing"

mkdir /run/none
rm /run/strace
is "$(run_podman --hooks-dir /run/none 2>&1)" "$(mib 32)" "without the hook it is the same"
check "and the hook is not called" test ! -e /run/strace
