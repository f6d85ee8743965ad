# All of the nodes' configuration at once: each node reboots once, when it is its turn.
oc patch mcp/worker --type=merge --patch '{"spec":{"paused":true}}'
oc apply -f ignition/layer/10-kubeletconfig.yaml -f ignition/layer/30-machineconfig.yaml
# Until the operator has rendered both into the pool's configuration.
oc wait kubeletconfig/wasp-agent-worker --for=condition=Success --timeout=5m
timeout 5m sh -c 'until oc get mcp/worker -o jsonpath="{.spec.configuration.source[*].name}" | grep -q 90-worker-wasp-agent; do sleep 2; done'
# The image is built of that, once, and while the pool is paused: a node never has the units without the programs.
oc apply -f ignition/layer/20-machineosconfig.yaml
oc wait machineosconfig/worker --for=jsonpath='{.status.currentImagePullSpec}' --timeout=1h
oc patch mcp/worker --type=merge --patch '{"spec":{"paused":false}}'
oc wait mcp/worker --for=condition=Updating=True --timeout=10m
oc wait mcp/worker --for=condition=Updated=True --timeout=-1s
oc apply -f ignition/layer/40-namespace.yaml -f ignition/layer/41-prometheusrule.yaml -f ignition/layer/42-alertingrule.yaml
# Every node has its swap: VMs may count on it. Refused where the annotation is there with other patches: add this one to yours.
oc apply --server-side --field-manager=wasp-agent -f ignition/layer/60-hyperconverged.yaml
