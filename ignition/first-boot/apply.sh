if [ "$(oc get mcp/worker -o jsonpath='{.spec.paused}')" = true ]; then
    echo 'mcp/worker is paused: resume it first' >&2
    exit 1
fi
# KubeletConfig selects pools by this label, which only worker and master have by themselves.
oc label mcp/worker pools.operator.machineconfiguration.openshift.io/worker= --overwrite
before=$(oc get mcp/worker -o jsonpath='{.spec.configuration.name}')
# All of the nodes' configuration at once: each node reboots once, when it is its turn.
trap '[ $? = 0 ] || echo "mcp/worker may be paused still: oc get mcp/worker, docs/rollout.md" >&2' EXIT
oc patch mcp/worker --type=merge --patch '{"spec":{"paused":true}}'
oc apply -f ignition/first-boot/10-kubeletconfig.yaml -f ignition/first-boot/30-machineconfig.yaml
# Until the operator has rendered both into the pool's configuration.
oc wait kubeletconfig/wasp-agent-worker --for=condition=Success --timeout=5m
timeout 5m sh -c 'until oc get mcp/worker -o jsonpath="{.spec.configuration.source[*].name}" | grep -q 99-worker-wasp-agent; do sleep 2; done'
oc patch mcp/worker --type=merge --patch '{"spec":{"paused":false}}'
if [ "$(oc get mcp/worker -o jsonpath='{.spec.configuration.name}')" != "$before" ]; then
    oc wait mcp/worker --for=condition=Updating=True --timeout=10m
fi
oc wait mcp/worker --for=condition=Updated=True --timeout=-1s
oc apply -f ignition/first-boot/40-namespace.yaml -f ignition/first-boot/41-prometheusrule.yaml -f ignition/first-boot/42-alertingrule.yaml -f ignition/first-boot/43-console-dashboard.yaml -f ignition/first-boot/50-taint-guard.yaml
# Every node has its swap: VMs may count on it. Refused where the annotation is there with other patches: add this one to yours.
oc apply --server-side --field-manager=wasp-agent -f ignition/first-boot/60-hyperconverged.yaml
