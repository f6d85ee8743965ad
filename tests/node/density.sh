# How many identical pods one kind of node can run, with one seed: $DENSITY_ARM, $DENSITY_SEED
. /payload/lib.sh
load_into_rootfs
# Pods would wait for reports on a disk.
mount -t tmpfs tmpfs "$rootfs/tmp"
# Each arm has a kubelet that evicts below 100 MiB; `test-kubelet density` does this instead.
mkdir -p /etc/kubernetes
printf '%s\n' 'kind: KubeletConfiguration' 'apiVersion: kubelet.config.k8s.io/v1beta1' 'failSwapOn: false' \
    'evictionHard:' '  memory.available: 100Mi' >/etc/kubernetes/kubelet.conf
swap=2Gi
# Reclaim that takes hours takes minutes here, and pods are small. The delay is longer than the measurement of the empty
# node.
reclaim=('[reclaim]' 'mode = "on"' 'pods = "burstable"' 'floor = "4Mi"' 'start-delay-seconds = 25' 'write-budget = "64Mi"')
arguments=()
start_apiserver
case $DENSITY_ARM in
    no-swap) ;;
    limited-swap) swap_on 2G ;;
    agent | senpai | reclaim)
        [[ $DENSITY_ARM == reclaim ]] || reclaim=()
        configure "swap.size = \"$swap\"" "${reclaim[@]}"
        systemctl start wasp-swap
        start_agent
        arguments+=(--grants agent)
        [[ $DENSITY_ARM != senpai ]] || arguments+=(--senpai)
        ;;
    *) skip "no arm $DENSITY_ARM" ;;
esac
note "min_free_kbytes $(cat /proc/sys/vm/min_free_kbytes), $(awk '$1 ~ /^(MemTotal|SwapTotal):/ { printf "%s %s kB ", $1, $2 }' /proc/meminfo)"
sentence="$DENSITY_ARM with seed $DENSITY_SEED is measured"
if test-kubelet density --arm "$DENSITY_ARM" --seed "$DENSITY_SEED" "${arguments[@]}"; then
    report ok "$sentence"
else
    report "not ok" "$sentence"
fi
if systemctl -q is-active wasp-agent; then
    note "the agent's reclaim: $(wasp-agent status --json | jq -c '.published.reclaim | {paused, counters, held: [.pods[].held_back] | group_by(.) | map({(.[0] // "none"): length}) | add}')"
    note "the agent wrote: $(agent_journal | grep -ciE 'evict' || true) lines on evictions"
fi
