# All of the nodes' configuration at once: each node reboots once, when it is its turn.
oc patch mcp/worker --type=merge --patch '{"spec":{"paused":true}}'
oc apply -f ignition/layer/10-kubeletconfig.yaml -f ignition/layer/20-machineosconfig.yaml -f ignition/layer/30-machineconfig.yaml
# Until the operator has rendered both into the pool's configuration.
oc wait kubeletconfig/wasp-agent-worker --for=condition=Success --timeout=5m
timeout 5m sh -c 'until oc get mcp/worker -o jsonpath="{.spec.configuration.source[*].name}" | grep -q 90-worker-wasp-agent; do sleep 2; done'
oc patch mcp/worker --type=merge --patch '{"spec":{"paused":false}}'
# The image is built first.
oc wait machineosconfig/worker --for=jsonpath='{.status.currentImagePullSpec}' --timeout=1h
oc wait mcp/worker --for=condition=Updating=True --timeout=10m
oc wait mcp/worker --for=condition=Updated=True --timeout=-1s
oc apply -f ignition/layer/40-namespace.yaml -f ignition/layer/41-prometheusrule.yaml -f ignition/layer/42-alertingrule.yaml
# Every node has its swap: VMs may count on it.
oc patch --type=merge -f ignition/layer/60-hyperconverged.yaml --patch-file ignition/layer/60-hyperconverged.yaml
