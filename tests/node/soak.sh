# Pods start and end for any length of time, with faults of all kinds, and the agent makes no error and does not grow
. /payload/lib.sh
. /payload/settings
swap_on 2G
start_apiserver
configure '[eviction]' 'pressure-transition-seconds = 5' 'average-window-seconds = 10' \
    'cooldown-seconds = 5' 'max-per-hour = 100' \
    'max-average-swap-in-pages-per-second = 50' 'max-average-swap-out-pages-per-second = 50' \
    '[eviction.pressure]' 'enabled = false' \
    '[reclaim]' "mode = \"$RECLAIM\"" 'pods = "burstable"' 'floor = "1Mi"' 'start-delay-seconds = 10' 'write-budget = "8Mi"'
start_agent
if test-kubelet soak --minutes "$MINUTES" --seed "$SEED"; then
    report ok "for $MINUTES minutes, with seed $SEED, every limit was right and nothing grew"
else
    report "not ok" "for $MINUTES minutes, with seed $SEED, every limit was right and nothing grew"
fi
lines=$(agent_journal | wc -l)
note "the agent wrote $lines lines to the journal, $((lines / MINUTES)) a minute"
note "$(agent_journal -p err | wc -l) of them errors"
note "reclaim by the last agent: $(wasp-agent status --json | jq -c .published.reclaim.counters)"
swapped=$(wasp-agent status --json | jq .published.reclaim.counters.swapped_bytes)
# A shorter soak has no whole quiet time.
[[ $RECLAIM == off ]] || ((MINUTES < 6)) || check "the last agent's reclaim moved 20 MiB of pods to swap" more_than "$swapped" $((20 << 20))
