#!/bin/sh
# Applies the manifests in the directory of this script, waits for the nodes, and shows the result.
#
# Run it again after any failure: each step detects work that is done already. If it has paused the pool, it resumes it
# when it ends, for any reason. Only kill -9 or a lost machine prevents that, and then the next run resumes the pool.
set -eu

pool=worker
openshift=4.20
hyperconverged=v1beta1
percentage=.spec.higherWorkloadDensity.memoryOvercommitPercentage
machine_config=99-worker-wasp-agent
kubelet_config=wasp-agent-worker
swap_in_kubelet_config=yes
program=/usr/bin/wasp-agent
here=$(dirname "$0")
# Seconds between two queries of the API server.
poll=${WASP_POLL_SECONDS:-10}
# Seconds without another updated node after which the script names those that lag, and after which
# it ends.
lag_seconds=${WASP_LAG_SECONDS:-600} stall_seconds=${WASP_STALL_SECONDS:-7200}
# Seconds for querying all nodes, and each of them.
nodes_seconds=${WASP_NODES_SECONDS:-1800}
deadline="timeout ${WASP_DEBUG_SECONDS:-120}"
command -v timeout >/dev/null || deadline=
# Number of nodes that may be wrong or not ready.
tolerate=0
case $# in
0) ;;
2) [ "$1" = --tolerate ] && tolerate=$2 || tolerate=usage ;;
*) tolerate=usage ;;
esac
case ${1:---tolerate}/$tolerate in
--tolerate/ | */*[!0-9]* | [!-]*)
    echo "usage: sh $0 [--tolerate NODES]" >&2
    exit 2
    ;;
esac
# This annotation on the pool shows a later run that this script made the pause: apply.sh HOST PROCESS TIME.
marker=wasp-agent.io/paused-by
builds=machineconfiguration.openshift.io

scratch=$(mktemp -d)
children=
paused=no

step() {
    printf '\n%s\n' "$1"
}

fail() {
    printf '%s\n' "$@" >&2
    exit 1
}

now() {
    date +%s
}

# Succeeds if a process on this host has ended: HOST PROCESS.
ended() {
    [ "$1" = "$(uname -n)" ] && ! kill -0 "$2" 2>/dev/null && ! ps -p "$2" >/dev/null 2>&1 && [ ! -e "/proc/$2" ]
}

# Runs commands in the background, so that the shell handles a signal immediately and not when the
# command ends.
run() {
    "$@" &
    children=$!
    wait "$children" || { set -- $?; children=; return "$1"; }
    children=
}

# Makes a change of the cluster.
change() {
    run oc --request-timeout=30s "$@"
}

# Leaves the API server's answer in $answer.
ask() {
    run oc --request-timeout=30s "$@" >"$scratch/answer" || return
    answer=$(cat "$scratch/answer")
}

# await TRIES WHAT PREDICATE: repeats a query that fails. TRIES 0: without end.
await() {
    tries=$1 what=$2 predicate=$3
    until "$predicate"; do
        tries=$((tries - 1))
        [ "$tries" -ne 0 ] || fail "This did not happen in time: $what"
        run sleep "$poll"
    done
}

patch_pool() { # paused, annotation
    change patch "mcp/$pool" --type=merge \
        --patch "{\"metadata\":{\"annotations\":{\"$marker\":$2}},\"spec\":{\"paused\":$1}}"
}

# Pauses the pool, or renews the mark that this run has paused it.
pause() {
    marked=$(now)
    patch_pool true "\"apply.sh $(uname -n) $$ $marked\""
}

resume() {
    patch_pool false null || return
    paused=no
}

end() {
    status=$?
    set +e
    trap - EXIT
    trap '' HUP INT QUIT PIPE TERM
    for child in $children; do
        kill "$child" 2>/dev/null
    done
    for try in 1 2 3 4 5; do
        [ "$paused" = yes ] || break
        resume && break
        echo "attempt $try to resume mcp/$pool failed" >&2
        sleep "$poll"
    done
    if [ "$paused" = yes ]; then
        echo "mcp/$pool is still paused, because the API server did not take the change. Run this script" \
            "again, or: oc patch mcp/$pool --type=merge --patch '{\"spec\":{\"paused\":false}}'" >&2
    elif [ "$status" -ne 0 ]; then
        echo "This script ended early, and mcp/$pool is not paused by it. Run it again when the cause is fixed." >&2
    fi
    rm -rf "$scratch"
    exit "$status"
}
trap end EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 131' QUIT
trap 'exit 141' PIPE
trap 'exit 143' TERM

step "1. Compare the cluster with the manifests; nothing is changed yet"

# The mark comes first: even if a later check refuses, this run resumes a pool that a killed run
# left paused.
ask get "mcp/$pool" -o 'jsonpath={.spec.paused} {.metadata.annotations.wasp-agent\.io/paused-by}'
# shellcheck disable=SC2086
set -- $answer
case ${1:-}/${2:-} in
true/apply.sh)
    host=${3:-unknown} process=${4:-unknown} since=${5:-0}
    case $since in *[!0-9]*) since=0 ;; esac
    age=$(($(now) - since))
    if [ "$age" -lt 3600 ] && ! ended "$host" "$process"; then
        fail "Process $process on $host is rolling out to mcp/$pool: its mark is $age s old." \
            "Wait until it ends. If it has been killed, run this script on that host, or an hour after the mark."
    fi
    paused=yes
    echo "An earlier run was killed and left mcp/$pool paused. This run resumes it."
    ;;
true/upgrade) echo "mcp/$pool is paused for the upgrade of the cluster. This run resumes it." ;;
true/*) fail "mcp/$pool is paused, and not by this script. Resume it, then run this script again:" \
    "oc patch mcp/$pool --type=merge --patch '{\"spec\":{\"paused\":false}}'" ;;
esac

ask get clusterversion/version -o 'jsonpath={.status.desired.version} {.status.history[0].state}'
version=${answer%% *}
case $version in
"$openshift" | "$openshift".*) ;;
*) fail "The cluster has OpenShift $version, and these manifests are for $openshift." \
    "Render them again with --openshift $version." ;;
esac
# Until the upgrade is complete, the operator of the old version renders the nodes' configuration.
[ "${answer#* }" != Partial ] || fail "The upgrade of the cluster to $version is not complete: oc get clusterversion" \
    "Run this script again when it is."

if [ -e "$here/10-kubeletconfig.yaml" ]; then
    # A pool uses one KubeletConfig: the newest replaces all others, including all that it does not
    # set. The MachineConfigs that the operator generated show which ones select the pool, by any
    # label or expression.
    ask get machineconfig -l "$builds/role=$pool" \
        -o 'jsonpath={range .items[*]}{range .metadata.ownerReferences[?(@.kind=="KubeletConfig")]}{.name}{"\n"}{end}{end}'
    others=$(grep -v -x -e "$kubelet_config" -e '' "$scratch/answer" || :)
    case $others in
    '') ;;
    performance-*) fail "mcp/$pool has a KubeletConfig already, of a PerformanceProfile: $others" \
        "Add kubeletConfig of 10-kubeletconfig.yaml as JSON to the profile's annotation" \
        "kubeletconfig.experimental, delete that file, then run this script again." ;;
    *) fail "mcp/$pool has a KubeletConfig already: $others" \
        "Add the lines of 10-kubeletconfig.yaml to it, delete that file, then run this script again." ;;
    esac
fi

if [ -e "$here/20-machineosconfig.yaml" ]; then
    # A pool has one MachineOSConfig. Ours has the pool's name and exactly the lines of
    # Containerfile.
    ask get machineosconfig -o "jsonpath={range .items[?(@.spec.machineConfigPool.name==\"$pool\")]}{.metadata.name}{\"\\n\"}{end}"
    others=$(grep -v -x -e "$pool" -e '' "$scratch/answer" || :)
    if [ -z "$others" ]; then
        ask get "machineosconfig/$pool" --ignore-not-found \
            -o 'jsonpath={.spec.machineConfigPool.name}{"\n"}{.spec.containerFile[*].content}'
        of=$(head -n 1 "$scratch/answer")
        [ -z "$answer" ] || [ "$of" = "$pool" ] || fail "machineosconfig/$pool is of another pool, mcp/$of." \
            "Have it renamed, then run this script again."
        [ -z "$answer" ] || grep -q wasp-agent "$scratch/answer" || others=$pool
        ! sed 1d "$scratch/answer" | grep -q -v -e wasp-agent -e '^FROM configs AS final$' \
            -e '^ *ostree container commit$' -e '^ *$' || others=$pool
    fi
    [ -z "$others" ] || fail "mcp/$pool has a MachineOSConfig already: $others" \
        "Add the lines of Containerfile to it, delete 20-machineosconfig.yaml, then run this script again."
fi

ask get daemonset --all-namespaces -o 'jsonpath={range .items[?(@.metadata.name=="wasp-agent")]}{.metadata.namespace} {end}'
[ -z "$answer" ] || fail "The DaemonSet wasp-agent runs in namespace $answer: both would set the same limits." \
    "docs/migration.md describes the way from it to this agent."

if [ -e "$here/60-hyperconverged.yaml" ]; then
    without="For nodes with swap and without it delete 60-hyperconverged.yaml, then run this script again."
    ask get crd/hyperconvergeds.hco.kubevirt.io --ignore-not-found -o 'jsonpath={range .spec.versions[?(@.served==true)]}{.name} {end}'
    [ -n "$answer" ] || fail "OpenShift Virtualization is not installed: the cluster has no HyperConverged." "$without"
    case " $answer " in
    *" $hyperconverged "*) ;;
    *) fail "The cluster serves HyperConverged as: $answer. These manifests have $hyperconverged." \
        "Render them again with --hyperconverged '$answer'." ;;
    esac
    ask get -n openshift-cnv "hyperconvergeds.$hyperconverged.hco.kubevirt.io/kubevirt-hyperconverged" \
        --ignore-not-found -o "jsonpath={.metadata.name} {$percentage} {.metadata.annotations.platform\.kubevirt\.io/autopilot}"
    [ -n "$answer" ] || fail "OpenShift Virtualization is not set up: openshift-cnv has no kubevirt-hyperconverged." "$without"
    answer=${answer#* }
    percent=${answer%% *} autopilot=${answer#* }
    case ",$autopilot," in
    *swap-enable* | ",true,")
        echo "HyperConverged has the annotation platform.kubevirt.io/autopilot: virt-platform-autopilot makes" \
            "the swap, and the agent creates none in addition."
        ;;
    *)
        [ "${percent:-100}" -le 100 ] || case $version in
        4.1[0-9].*) fail \
            "memoryOvercommitPercentage of HyperConverged is $percent: from OpenShift 4.20 on, the operator deploys the" \
            "DaemonSet wasp-agent for that. Set it to 100, then run this script again; 60-hyperconverged.yaml has the percentage." ;;
        *) fail \
            "memoryOvercommitPercentage of HyperConverged is $percent: above 100 the operator deploys the" \
            "DaemonSet wasp-agent. Set it to 100, then run this script again; 60-hyperconverged.yaml has the percentage." ;;
        esac
        ;;
    esac
fi

step "2. Give mcp/$pool its configuration while it is paused, so that each node reboots once"

ask get "mcp/$pool" -o 'jsonpath={.spec.configuration.name}'
before=$answer
if [ -e "$here/10-kubeletconfig.yaml" ]; then
    # KubeletConfig selects pools by this label, which only worker and master have by default.
    change label "mcp/$pool" "pools.operator.$builds/$pool=" --overwrite
fi
# First the note, then the pause: after a signal in between, the script resumes a pool that is not
# paused.
paused=yes
pause
[ ! -e "$here/10-kubeletconfig.yaml" ] || change apply -f "$here/10-kubeletconfig.yaml"
change apply -f "$here/30-machineconfig.yaml" >"$scratch/applied"
cat "$scratch/applied"
# The MachineConfig that the operator has generated from the KubeletConfig.
generated=
if [ "$swap_in_kubelet_config" = no ] && [ ! -e "$here/10-kubeletconfig.yaml" ]; then
    # This KubeletConfig is from a rollout to an older version. This version rejects it. The kubelet reads a drop-in
    # instead, which is on the nodes already.
    ask get machineconfig -l "$builds/role=$pool" \
        -o "jsonpath={range .items[?(@.metadata.ownerReferences[0].name==\"$kubelet_config\")]}{.metadata.name}{end}"
    generated=$answer
    change delete "kubeletconfig/$kubelet_config" --ignore-not-found --wait=false
fi

refusals=0
kubelet_config_succeeded() {
    ask get "kubeletconfig/$kubelet_config" -o 'jsonpath={.status.conditions[-1:].type} {.status.conditions[-1:].message}' || return
    case $answer in
    Success*) return 0 ;;
    Failure*)
        # A single refusal may belong to an earlier run.
        refusals=$((refusals + 1))
        [ "$refusals" -lt 3 ] || fail "The machine config operator refuses kubeletconfig/$kubelet_config: ${answer#* }"
        ;;
    esac
    return 1
}
rendered() {
    ask get "mcp/$pool" -o 'jsonpath={.spec.configuration.name} {.spec.configuration.source[*].name} ' || return
    case $answer in
    *" ${generated:-none} "*) return 1 ;;
    *" $machine_config "*) rendered=${answer%% *} ;;
    *) return 1 ;;
    esac
    grep -q unchanged "$scratch/applied" || [ "$rendered" != "$before" ]
}
if [ -e "$here/10-kubeletconfig.yaml" ]; then
    await 30 "kubeletconfig/$kubelet_config has the condition Success" kubelet_config_succeeded
fi
await 30 "mcp/$pool has $machine_config in its configuration" rendered

if [ -e "$here/20-machineosconfig.yaml" ]; then
    step "3. Build the pool's OS image, which may take an hour"
    # Only now, while the pool is paused: this builds the image once, from this configuration, and
    # reboots each node once, into both.
    current() {
        ask get "machineosconfig/$pool" --ignore-not-found \
            -o "jsonpath={.metadata.annotations.machineconfiguration\.openshift\.io/current-machine-os-build}"
    }
    current
    build_before=$answer
    change apply -f "$here/20-machineosconfig.yaml" >"$scratch/applied"
    cat "$scratch/applied"
    built() {
        # The mark stays younger than an hour while this run continues.
        [ $(($(now) - marked)) -lt 600 ] || pause || return
        current || return
        build=$answer
        [ -n "$build" ] || return
        grep -q unchanged "$scratch/applied" || [ "$build" != "$build_before" ] || return
        ask get "machineosbuild/$build" -o 'jsonpath={.spec.machineConfig.name} {range .status.conditions[?(@.status=="True")]}{.type} {end}' || return
        # An earlier one may belong to an older configuration.
        case $answer in
        "$rendered "*" Succeeded "* | "$rendered Succeeded "*) return 0 ;;
        "$rendered "*Failed* | "$rendered "*Interrupted*)
            fail "machineosbuild/$build failed: oc describe machineosbuild/$build" \
                "To build again: oc annotate machineosconfig/$pool $builds/rebuild="
            ;;
        esac
        return 1
    }
    await 360 "the image of mcp/$pool is built" built
fi

step "4. Resume mcp/$pool and wait until every node has the configuration"

resume
steady=0 degraded=0 shown=
updated() {
    ask get "mcp/$pool" -o 'jsonpath={.status.updatedMachineCount} {.status.machineCount} {.spec.configuration.name} {.status.configuration.name}{range .status.conditions[?(@.status=="True")]} {.type}{end} ' || return
    # shellcheck disable=SC2086
    set -- $answer
    [ "$shown" = "${1:-} of ${2:-}" ] || {
        shown="${1:-} of ${2:-}"
        echo "mcp/$pool: $shown nodes are updated"
    }
    case $answer in
    *" Degraded "*)
        steady=0 degraded=$((degraded + 1))
        [ "$degraded" -lt 30 ] || [ "$tolerate" -gt 0 ] || fail "mcp/$pool is degraded: oc describe mcp/$pool"
        ;;
    *" Updated "*) steady=$((steady + 1)) degraded=0 ;;
    *) steady=0 degraded=0 ;;
    esac
    # The operator needs a moment to notice the change.
    rendered=${3:-}
    [ "${3:-}" = "${4:-}" ] && [ "${1:-}" = "${2:-}" ] && [ "$steady" -ge 6 ] && return
    time=$(now)
    [ "${1:-}" = "$progress" ] || { progress=${1:-} progress_at=$time; }
    [ $((time - lagged_at)) -ge "$lag_seconds" ] || return
    lagged_at=$time
    lagging || return
    [ "$tolerate" -eq 0 ] || [ $((${2:-0} - ${1:-0})) -gt "$tolerate" ] || [ "${1:-0}" -eq 0 ] ||
        [ $((time - progress_at)) -lt "$lag_seconds" ] || {
        echo "These are tolerated."
        return 0
    }
    [ $((time - progress_at)) -lt "$stall_seconds" ] ||
        fail "For $((time - progress_at)) s no further node of mcp/$pool has been updated."
    return 1
}
# Lists the nodes of the pool that do not run its configuration, with the operator's status of each.
lagging() {
    ask get nodes -o 'jsonpath={range .items[*]}{.metadata.annotations.machineconfiguration\.openshift\.io/currentConfig}|{.metadata.name}|{.metadata.annotations.machineconfiguration\.openshift\.io/state}|{.status.conditions[?(@.type=="Ready")].status}|{.metadata.annotations.machineconfiguration\.openshift\.io/reason}{"\n"}{end}' || return
    echo "Not updated yet:"
    while IFS='|' read -r config node state ready reason; do
        hash=${config#"rendered-$pool-"}
        case $hash in "$config" | *-*) continue ;; esac
        [ "$config" != "$rendered" ] || [ "$ready" != True ] || continue
        echo "  $node: ${state:-unknown}, Ready ${ready:-unknown} ${reason:-}"
    done <"$scratch/answer"
}
progress='' progress_at=$(now) lagged_at=$(now)
await 0 "mcp/$pool is updated" updated

step "5. Alerts"

for name in 40-namespace 41-prometheusrule 42-alertingrule 43-console-dashboard 50-taint-guard; do
    [ ! -e "$here/$name.yaml" ] || change apply -f "$here/$name.yaml"
done

step "6. Ask every node"

row() {
    printf '%-40s %-24s %-24s %-12s %s\n' "$@"
}
shown=
started=$(now)
: >"$scratch/right"
: >"$scratch/known"
in_time() {
    [ $(($(now) - started)) -lt "$nodes_seconds" ]
}
nodes_right() {
    # Selects nodes by the configuration that they run: nodes of infra and other pools, and of a
    # compact cluster, have the role worker too.
    ask get nodes -o 'jsonpath={range .items[*]}{.metadata.annotations.machineconfiguration\.openshift\.io/currentConfig} {.metadata.name} {.status.conditions[?(@.type=="SwapPressure")].status}{"\n"}{end}' || return
    count=0
    while read -r config node pressure; do
        [ "$config" = "$rendered" ] || continue
        count=$((count + 1))
        # Do not query nodes again that were right.
        grep -q -x -F -e "$node" "$scratch/known" || echo "$node $pressure"
    done <"$scratch/answer" >"$scratch/nodes"
    [ "$count" -gt 0 ] || fail "No node has the configuration $rendered of mcp/$pool."
    ask get "mcp/$pool" -o 'jsonpath={.status.machineCount}' || return
    [ "${answer:-0}" -le "$count" ] || count=$answer
    asked=0
    while read -r node pressure; do
        # Otherwise the previous answer stays.
        in_time || continue
        # Without a request timeout, which would end the stream as well.
        $deadline oc debug "node/$node" --quiet -- chroot /host "$program" status --brief \
            >"$scratch/of.$node" 2>/dev/null </dev/null &
        children="$children $!"
        asked=$((asked + 1))
        [ $((asked % 10)) -ne 0 ] || { wait; children=; }
    done <"$scratch/nodes"
    wait
    children=
    : >"$scratch/wrong"
    while read -r node pressure; do
        swap=unknown agent='does not answer' limits=unknown list=wrong
        [ ! -e "$scratch/of.$node" ] || IFS='	' read -r swap agent limits <"$scratch/of.$node" || :
        case "$agent/$limits/$pressure" in
        ready/right/ | ready/right/False)
            list=right
            echo "$node" >>"$scratch/known"
            ;;
        esac
        row "$node" "${swap:-unknown}" "${agent:-does not answer}" "${limits:-unknown}" "${pressure:--}" >>"$scratch/$list"
    done <"$scratch/nodes"
    right=$(($(wc -l <"$scratch/known")))
    [ "$shown" = "$right of $count" ] || {
        shown="$right of $count"
        echo "$shown nodes are right"
    }
    [ "$right" -gt 0 ] && [ $((count - right)) -le "$tolerate" ]
}
screen() {
    row NODE SWAP AGENT LIMITS SWAPPRESSURE
    cat "$scratch/wrong" "$scratch/right" | head -n 20
    [ "$count" -le 20 ] || echo "... and $((count - 20)) more"
    echo "$right of $count nodes of mcp/$pool are right."
}
count=0 right=0
: >"$scratch/wrong"
until nodes_right; do
    if ! in_time; then
        screen
        fail "Not every node is right. On such a node: $program check"
    fi
    run sleep "$poll"
done

if [ -e "$here/60-hyperconverged.yaml" ]; then
    step "7. Have VMs request less memory than they are given"
    # Rejected if the annotation has other patches: add this one to those.
    change apply --server-side --field-manager=wasp-agent -f "$here/60-hyperconverged.yaml"
fi

step "The rollout is complete"
screen
