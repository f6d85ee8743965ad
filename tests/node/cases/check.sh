# `wasp-agent check` distinguishes a fit node from an unfit one, in its exit status and its text
# suites: bookworm
# timeout: 600
. /payload/lib.sh

# run_check [ARGUMENT...]: sets status, report (its JSON, or with --brief its lines) and, from the
# JSON, finding and not_well. Runs jq once for all, because its start takes a third of a second in
# emulation.
run_check() {
    local arguments=("$@")
    (($#)) || arguments=(--json)
    status=0
    report=$(wasp-agent check "${arguments[@]}") || status=$?
    declare -gA finding=()
    not_well=''
    [[ ${arguments[0]} == --json ]] || return 0
    local id level found
    while IFS=$'\t' read -r id level found; do
        finding[$id]="$level: $found"
        case $level in warn | fail) not_well+=${not_well:+ }$id ;; esac
    done < <(jq -r '.checks[] | [.id, .level, .found] | @tsv' <<<"$report")
}
# finds ID: LEVEL: text
finds() { echo "${finding[$1]:-}"; }

mkdir -p /etc/kubernetes
printf '%s\n' 'apiVersion: kubelet.config.k8s.io/v1beta1' 'kind: KubeletConfiguration' 'failSwapOn: false' 'evictionHard:' '  memory.available: 1Mi' >/etc/kubernetes/kubelet.conf

start=$(now_ms)
run_check
note "before anything runs, $(($(now_ms) - start)) ms: exit $status: $not_well"
is "$status" 2 "before the API server and the agent run, it fails"
like "$(finds kubeconfig)" '^fail: no kubeconfig of the kubelet at /var/lib/kubelet/kubeconfig' "the credentials are missed"
like "$(finds swap)" '^warn: the node has no swap, and none is configured' "so is swap"
like "$(finds agent-service)" '^warn: inactive' "and the agent"
like "$(finds protection)" '^skip: ' "what the agent does when it starts is not missed"
like "$(finds hook-installed)" '^skip: ' "nor is the hook"
like "$(finds hook-program)" '^ok: /usr/bin/wasp-hook' "which could be run"

# A kernel without io.latency, and a single disk: the remaining warnings on a healthy node.
configure '[swap]' 'size = "200Mi"' '[protection]' 'io-latency-target-ms = 0'
systemctl start wasp-swap
start_apiserver
start_agent
pod one --request 100Mi --limit 300Mi
# On a busy machine the API server may not answer in time.
for _ in 1 2 3; do
    run_check
    [[ $report == *'no answer within'* ]] || break
done
note "healthy: exit $status: $not_well"
is "$(jq -r .summary.fail <<<"$report")" 0 "with all running nothing fails"
is "$not_well" "agent-service swap-devices swap-encryption swap-disk swap-service" "and of this node its one plain disk and units that are not enabled are warned of"
is "$status" 1 "with exit status 1"
like "$(finds agent-service)" '^warn: Swap 200.0 MiB' "the agent's status is shown"
like "$(finds swap-provisioning)" '^ok: as configured' "the swap is as it would be made again"
for id in may-list-pods may-watch-pods may-evict-pods may-patch-node-status may-create-events; do
    like "$(finds $id)" '^ok: allowed' "the API server is asked: $id"
done
{ wasp-agent check || true; } | sed 's/^/# /'

systemctl stop wasp-agent
rm -f /run/containers/oci/hooks.d/99-wasp-agent.json /usr/share/containers/oci/hooks.d/99-wasp-agent.json
run_check
like "$(finds hook-installed)" '^warn: 99-wasp-agent.json is missing' "a hook that was removed is missed"
like "$(finds agent-service)" '^warn: inactive' "so is an agent that was stopped"
is "$status" 1 "these are warnings"

swapoff -a
run_check
like "$(finds swap)" '^fail: the node has 0 B of swap, but 200.0 MiB are configured' "swap that was switched off is missed"
like "$(finds swap-provisioning)" '^skip: it would switch on' "and it is said what would bring it back"
is "$status" 2 "that fails"
systemctl restart wasp-swap

systemctl set-property --runtime -- -.slice ManagedOOMSwap=kill
run_check
like "$(finds systemd-oomd)" '^warn: kills pods in -.slice' "systemd-oomd is seen"
systemctl set-property --runtime -- -.slice ManagedOOMSwap=auto

chmod 0644 /usr/bin/wasp-hook
systemctl start wasp-agent
run_check
like "$(finds hook-program)" '^fail: /usr/bin/wasp-hook is not executable' "a hook that cannot be run fails"
chmod 0755 /usr/bin/wasp-hook

test-apiserver --data /var/lib/test-apiserver rotate --node node-a --expired >/dev/null
run_check
like "$(finds certificate)" '^fail: expired ' "an expired certificate fails"
like "$(finds api-server)" '^skip: the certificate is not valid' "which is reported once"
is "$status" 2 "with exit status 2"

configure 'nonsense = 1'
run_check
like "$(finds configuration)" 'unknown key nonsense' "a wrong configuration is a line as any other"
is "$status" 2 "that fails"
rm "$config"

# Before the agent starts
touch /opt/oci-hook-swap.sh
run_check --brief
is "$status" 2 "--brief fails for the DaemonSet's hook"
like "$report" 'FAIL daemonset-hook: /opt/oci-hook-swap.sh, .*; fix: wasp-agent check' "and names the command that shows the steps"
test-apiserver --data /var/lib/test-apiserver rotate --node node-a >/dev/null
start=$(now_ms)
systemctl restart wasp-agent
note "a restart with ExecStartPre takes $(($(now_ms) - start)) ms"
check "none of it keeps the agent from starting" systemctl -q is-active wasp-agent
like "$(journalctl -q -u wasp-agent -p err -o cat)" 'FAIL daemonset-hook' "the journal has it, as an error"
is "$(systemctl show -P TimeoutStartUSec wasp-agent)" 1min "there is time enough to start"
