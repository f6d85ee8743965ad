# In kubelet mode the agent gives no warning and writes no limit on a healthy node while pods start and end
# suites: bookworm
# timeout: 5400
. /payload/lib.sh
export TEST_KUBELET=limited
minutes=${CHURN_MINUTES:-2}

mkdir -p /etc/kubernetes /run/containers/oci/hooks.d /etc/crio
printf '%s\n' 'apiVersion: kubelet.config.k8s.io/v1beta1' 'kind: KubeletConfiguration' 'failSwapOn: false' \
    'memorySwap:' '  swapBehavior: LimitedSwap' 'evictionHard: {memory.available: 50Mi}' >/etc/kubernetes/kubelet.conf
swap_on 1G
start_apiserver
start_agent
# Warnings about the node itself do not count.
before=$(agent_journal -p warning)
of_limits() { agent_journal -p warning | grep -vxF "${before:-nothing}" || true; }

started=0 restarts=0 end=$(($(now_ms) + minutes * 60000)) round=0
while (($(now_ms) < end)); do
    round=$((round + 1))
    for kind in "burst --request 60Mi" "cap --request 40Mi --limit 90Mi" "best" \
        "fixed --request 20Mi --limit 20Mi --cpu 50m --cpu-limit 50m" \
        "critical --request 20Mi --priority-class system-node-critical" "static --request 20Mi --static"; do
        read -ra words <<<"$kind"
        pod_with_sandbox "${words[0]}-$round" "${words[@]:1}"
        started=$((started + 1))
    done
    test-kubelet restart "burst-$round"
    test-kubelet resize "cap-$round" --request 50Mi
    restarts=$((restarts + 1))
    ((round % 4)) || systemctl daemon-reload
    if ((round > 2)); then
        for name in burst cap best fixed critical static; do test-kubelet stop "$name-$((round - 2))"; done
    fi
done
note "$started pods with sandboxes, $restarts restarts and resizes in $minutes minutes"
is "$(of_limits)" "" "no warning"
is "$(agent_journal | grep -c 'set memory.swap.max' || true)" 0 "no limit was written"
is "$(agent_journal | grep -c 'not known (yet)' || true)" 0 "nothing is said of sandboxes"
check "STATUS names no difference" bash -c '! systemctl show -P StatusText wasp-agent | grep -q "limits that"'
like "$(wasp-agent plan)" 'Every limit is right' "plan finds nothing to set"
