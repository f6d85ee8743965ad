# A container's first program finds its limit set, with the agent and without it
# suites: bookworm
# timeout: 600
. /payload/lib.sh
. /payload/settings
times=${STARTS:-3} # of each of five pods
swap_on 2G
start_apiserver
start_agent
hooks=/run/containers/oci/hooks.d
check "the agent has installed the hook" test -s $hooks/99-wasp-agent.json

tell='cat /sys/fs/cgroup/memory.swap.max'
# estimate MEBIBYTES: the request's share of RAM in whole thousandths, as in oom_score_adj.
estimate() {
    awk -v request="$(mib "$1")" -v ram="$(meminfo_bytes MemTotal)" -v swap="$(meminfo_bytes SwapTotal)" \
        'BEGIN { printf "%d", int(int(1000 * request / ram) * swap / 1000) }'
}

# starts SENTENCE TIMES POD BYTES|max: its first program finds this limit, and its cgroups have it.
starts() {
    local id unit scope child bundle slice begun want=$4 output
    [[ $want == max ]] || want=$(page "$want")
    of "$3"
    begun=$(now_ms)
    output=$(test-kubelet starts "$3" --times "$2") || output+=" and a failure"
    is "$(grep -v '^#' <<<"$output" | sort | uniq -c | sed 's/^ *//')" \
        "$2 $want $want${child:+ $want}" "$1: $2 of $2 starts"
    note "$((($(now_ms) - begun) / $2)) ms a start"
}

pod known --request 100Mi --limit 300Mi --command "$tell; exec sleep 100000"
pod known-old --request 77Mi --kubelet old --command "$tell; exec sleep 100000"
pod busy --request 30Mi --limit 36Mi --hog 50
eventually 20 "the agent knows the pods" has_limit known-old "$(grant 77)"
recorded() { grep -q '"main":"[1-9]' "/run/wasp-agent/pods/$(jq -r .uid "$state/busy/pod.json").json"; }
eventually 5 "all of them" recorded
starts "with the agent, a pod that it knows" "$times" known "$(grant 100)"

# The hook alone, with the agent's files.
systemctl stop wasp-agent
check "the definition outlives the agent" test -s $hooks/99-wasp-agent.json
starts "without the agent, a pod that it knew" "$times" known "$(grant 100)"
starts "the same with a kubelet that knows no swap" "$times" known-old "$(grant 77)"
before=$(oom_kills busy)
check "what a container allocates at its start, beyond its memory limit," test-kubelet restart busy --no-api
swapped() { more_than "$(swap_used busy)" "$(mib 5)"; }
eventually 60 "goes to swap" swapped
check "and nothing is killed" lives busy
is "$(oom_kills busy)" "$before" "nothing at all"

for kubelet in 1.36 old; do
    pod "new-$kubelet" --no-api --kubelet $kubelet --request 100Mi --limit 300Mi --command "$tell; exec sleep 100000"
    starts "kubelet $kubelet: a pod that the agent never saw gets what its request is by its oom_score_adj" \
        "$times" "new-$kubelet" "$(estimate 100)"
done
check "which is no more than its grant" more_than "$(grant 100)" "$(estimate 100)"

# deny SENTENCE POD ARGUMENT...: a pod that the agent never saw, and that its runtime would let
# swap.
deny() {
    local sentence=$1 name=$2
    shift 2
    pod "$name" --no-api --kubelet old --command "$tell; exec sleep 100000" "$@"
    is "$(test-kubelet starts "$name" --times 1 | grep -v '^#' | tr ' ' '\n' | sort -u)" 0 "$sentence gets none"
}
deny "a BestEffort one" best-effort
deny "one without a memory request" no-request --cpu 100m
deny "one whose request may be its limit" equal --request 60Mi --limit 60Mi
deny "a critical one" critical --request 60Mi --priority-class system-node-critical
deny "a static one" static --request 60Mi --static
deny "one of the platform's namespaces" platform --request 60Mi --namespace openshift-etcd

# As if the agent had never run: only the definition remains.
rm -r /run/wasp-agent/*
starts "with nothing published, a pod that the runtime lets swap without bound" "$times" known-old 0
mv $hooks/99-wasp-agent.json /run
starts "without the hook it would" 1 known-old max
mv /run/99-wasp-agent.json $hooks

# The hook sets nothing in systemd; the agent does.
start_agent
eventually 10 "the agent is back" has_limit known "$(grant 100)"
starts "the agent is there, and" 1 known "$(grant 100)"
systemctl daemon-reload
eventually 5 "a daemon-reload right after the start changes nothing for long" limit_holds known "$(page "$(grant 100)")"
eventually 60 "and systemd is told" has_limit known "$(grant 100)"
systemctl stop wasp-agent
starts "the agent is not there, and" 1 known "$(grant 100)"
systemctl daemon-reload
note "daemon-reload, with no agent: $(swap_max known)"
start_agent
check "what a daemon-reload undid is right when the agent is ready" limit_holds known "$(page "$(grant 100)")"
is "$(journalctl -q -t wasp-hook -o cat -p warning)" "" "the hook had nothing to complain of"
