# Measures how many identical pods one kind of node can run, with one seed: $DENSITY_ARM, $DENSITY_SEED, $DENSITY_PAUSE, compared with $DENSITY_BASE
. /payload/lib.sh
load_into_rootfs
# Pods would wait for reports on a disk.
mount -t tmpfs tmpfs "$rootfs/tmp"
# Each arm has a kubelet that evicts below 24 MiB, as one with 1 GiB on a node of 64 GiB; `test-kubelet density` does it
# in its place. With 100 MiB the agent would have the kernel keep a fourteenth of this RAM free.
eviction=24
mkdir -p /etc/kubernetes
printf '%s\n' 'kind: KubeletConfiguration' 'apiVersion: kubelet.config.k8s.io/v1beta1' 'failSwapOn: false' \
    'evictionHard:' "  memory.available: ${eviction}Mi" >/etc/kubernetes/kubelet.conf
swap=2Gi
# Reclaim that takes hours takes minutes here, and pods are small.
reclaim=('[reclaim]' 'mode = "on"' 'pods = "burstable"' 'floor = "4Mi"' 'start-delay-seconds = 40' 'write-budget = "64Mi"')
arguments=(--eviction-mib "$eviction" --pause "$DENSITY_PAUSE" --most-seconds $((500 + 20 * DENSITY_PAUSE)))
start_apiserver
case $DENSITY_ARM in
    empty) arguments+=(--empty) ;;
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
if test-kubelet density --arm "$DENSITY_ARM" --seed "$DENSITY_SEED" ${DENSITY_BASE:+--base "$DENSITY_BASE"} "${arguments[@]}"; then
    report ok "$sentence"
else
    report "not ok" "$sentence"
fi
if systemctl -q is-active wasp-agent; then
    note "the agent's reclaim: $(wasp-agent status --json | jq -c '.published.reclaim | {paused, counters, held: [.pods[].held_back] | group_by(.) | map({(.[0] // "none"): length}) | add}')"
    note "the agent's evictions: $(agent_journal | grep -iE 'evict' | paste -sd '|' || true)"
fi
