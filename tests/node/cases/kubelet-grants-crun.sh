# In kubelet mode the agent keeps the kubelet's limits, verifies and repairs them
# suites: bookworm
# timeout: 600
. /payload/lib.sh
export TEST_KUBELET=limited

kubelet() {
    mkdir -p /etc/kubernetes
    printf '%s\n' 'apiVersion: kubelet.config.k8s.io/v1beta1' 'kind: KubeletConfiguration' 'failSwapOn: false' "$@" >/etc/kubernetes/kubelet.conf
}
limited_swap() { kubelet 'memorySwap:' '  swapBehavior: LimitedSwap'; }
# binds POD BYTES: checks the lowest limit of the container's cgroups.
binds() {
    local id unit scope child bundle slice lowest value file
    of "$1"
    lowest=max
    for file in "$scope" ${child:+"$child"}; do
        value=$(<"$file/memory.swap.max")
        if [[ $lowest == max ]] || [[ $value != max && $value -lt $lowest ]]; then lowest=$value; fi
    done
    [[ $lowest == "$(page "$2")" ]] || { echo "$1: $(swap_max "$1"), expected $2"; return 1; }
}
# Warnings of the agent, without the check before its start; this kernel has no io.latency, and
# systemd may be slow.
warnings() { agent_journal -p warning | grep -vE '^(WARN|FAIL) |io\.latency|timed out' || true; }
# writes EXCEPT: the number of written limits, except those of EXCEPT.
writes() { agent_journal | grep 'set memory.swap.max' | grep -vcE "/($1)'s" || true; }
says() { agent_status | grep -qE "$1"; }
hook_file() { compgen -G '/[re]*/containers/oci/hooks.d/99-wasp-agent.json' >/dev/null; }
no_hook() { ! hook_file; }

# stood_at_max POD [COMMAND]: the ms for which the decisive limit was "max" during a daemon-reload. With a real-time
# priority, so that it sees a write before the agent repairs it.
stood_at_max() { chrt -f 10 test-kubelet time-at "$1" max --during "${2:-systemctl daemon-reload}"; }

mkdir -p /run/containers/oci/hooks.d /etc/crio
swap_on 1G
limited_swap
start_apiserver
pod_with_sandbox granted --request 100Mi --limit 300Mi
pod open --request 200Mi
pod fixed --request 50Mi --limit 50Mi --cpu 100m --cpu-limit 100m
pod best
pod critical --request 100Mi --priority-class system-node-critical
pod static --request 100Mi --static
TEST_KUBELET=old pod left # by a kubelet that sets no limit where no memory is limited

right() {
    binds granted "$(grant 100)" && binds open "$(grant 200)" && binds fixed 0 && binds best 0 &&
        binds critical 0 && binds static 0
}
check "test-kubelet has granted as a kubelet with LimitedSwap does" right
note "left: $(swap_max left)"
start_agent
eventually 10 "the agent knows that the kubelet grants" says "by the kubelet's grants"
like "$(agent_journal)" 'the kubelet sets swap limits; .*grants = "auto"' "and logs it"
check "no hook is installed" no_hook
eventually 10 "a BestEffort container that was left at max is corrected" binds left 0
check "all others are as the kubelet has set them" right
is "$(writes left)" 0 "nothing else was written"
is "$(warnings)" "" "and nothing is reported"
like "$(wasp-agent plan)" 'Every limit is right' "plan finds nothing to set"
like "$(wasp-agent check --json | jq -r '.checks[] | select(.id == "kubelet-swap-behavior") | "\(.level): \(.found)"')" '^ok: LimitedSwap .*: the kubelet sets swap limits' "check is content"
like "$(wasp-agent check --json | jq -r '.checks[] | select(.id == "crio-hooks-folder") | .level')" skip "and misses no hook"

pod_with_sandbox later --request 150Mi
throughout 5 "a new pod keeps what the kubelet gives" binds later "$(grant 150)"
is "$(writes left)" 0 "without a write of the agent"
is "$(warnings)" "" "and without a warning"

for name in granted best left; do
    note "daemon-reload: the limit of $name stood at max for $(stood_at_max "$name") ms"
done
eventually 10 "after daemon-reload all is right" right
check "the BestEffort container too" binds left 0
of granted
like "$(stood_at_max granted "echo max >${child:-$scope}/memory.swap.max")" '^([1-9]|0\.[1-9])' "a max that the agent repairs is noticed"
before=$(writes none)
for name in granted best left; do
    is "$(stood_at_max "$name")" 0.0 "the next daemon-reload leaves $name alone"
done
is "$(writes none)" "$before" "and the agent has nothing to repair"

level=scope
of granted
[[ -z $child ]] || level=child
note "a hand-written max at the $level of granted stood for $(drift granted "$level" max) ms"
note "a hand-written 0 at the $level of granted stood for $(drift granted "$level" 0) ms"
note "a hand-written max at the $level of best stood for $(drift best "$level" max) ms"
eventually 5 "whatever another writer leaves is the kubelet's own again" right
test-kubelet resize granted --request 200Mi
throughout 4 "a resize in place is left as the kubelet does it" binds granted "$(grant 200)"
is "$(warnings)" "" "no warning of any of it"

# The runtime does not affect the following part.
[[ $runtime == crun ]] || exit 0

configure '[limits]' 'repair = false'
systemctl reload wasp-agent
of open
echo 4096 >"$scope/memory.swap.max"
eventually 20 "with repair = false a difference is reported" says "1 limit that differs from LimitedSwap"
throughout 3 "and left alone" binds open 4096
rm "$config"
systemctl reload wasp-agent
eventually 10 "with repair = true it is repaired" binds open "$(grant 200)"

kubelet
systemctl reload wasp-agent
eventually 10 "a kubelet without LimitedSwap leaves it to the agent" bash -c 'journalctl -q -u wasp-agent -o cat | grep -q "the agent sets swap limits"'
eventually 10 "which installs its hook" hook_file
TEST_KUBELET=1.36 pod ours --request 100Mi
eventually 10 "and grants" has_limit ours "$(grant 100)"
limited_swap
systemctl reload wasp-agent
eventually 10 "and the other way round" no_hook

kubelet 'evictionHard: [' # no YAML
systemctl reload wasp-agent
eventually 10 "a configuration that cannot be read is reported" says 'cannot read /etc/kubernetes/kubelet.conf'
throughout 2 "whoever granted goes on" no_hook
of open
echo max >"$scope/memory.swap.max"
eventually 5 "so the kubelet's limits are repaired" binds open "$(grant 200)"
systemctl restart wasp-agent
eventually 10 "an agent that starts without knowledge says so" says 'it does not know whether the kubelet sets swap limits'
TEST_KUBELET=1.36 pod none --request 100Mi
throughout 5 "and gives no swap" binds none 0
kubelet
systemctl reload wasp-agent
eventually 10 "until it can be read" has_limit none "$(grant 100)"
