# Under thrash one VM migrates at a time even if KubeVirt shows no migration, and an overloaded server delays no pod's turn
# suites: bookworm
# timeout: 600
. /payload/lib.sh
swap_on 2G
load_into_rootfs test-kubelet
start_apiserver
api() { test-apiserver --data /var/lib/test-apiserver "$@"; }
api kubevirt 1.1 >/dev/null
configure '[eviction]' 'average-window-seconds = 10' 'cooldown-seconds = 1' 'critical-factor = 100.0' \
    'max-average-swap-in-pages-per-second = 8' 'max-average-swap-out-pages-per-second = 8' \
    '[eviction.pressure]' 'enabled = false'
start_agent
says() { agent_journal | grep -qE "$1"; }
vm() {
    pod "$1" --request 80Mi --limit 100Mi --label kubevirt.io=virt-launcher \
        --label "kubevirt.io/nodeName=$(hostname)" --label "kubevirt.io/created-by=uid-of-$1" --annotation "kubevirt.io/domain=$1" \
        --annotation test.wasp/live-migratable=true \
        --command "$(thrash 140)"
}
vm vm-a
vm vm-b
pod calm --request 100Mi --limit 300Mi
go() {
    local id unit scope child bundle slice
    of "$1"
    : >"/proc/$(head -n 1 "${child:-$scope}/cgroup.procs")/root/tmp/go"
}
api answer overloaded --times 2 >/dev/null
go vm-a
go vm-b
eventually 180 "an overloaded API server is to blame, and no pod" says 'the pod is not the cause: 429'
eventually 150 "a VM is asked and migrates, though its launcher shows nothing" says 'default/vm-[ab] migrates to another node'
throughout 30 "and no other one is asked meanwhile" bash -c '[[ $(journalctl -q -u wasp-agent -o cat | grep -c "migrates to another node") == 1 ]]'
check "the calm pod is not asked" bash -c '! journalctl -q -u wasp-agent -o cat | grep -q "evict default/calm"'
eventually 5 "STATUS names the migration" status_says 'waiting for the migration of pod default/vm-'
is "$(api get events -n default | jq -r '[(.items // [])[] | select(.reason == "SwapMigration" and .involvedObject.kind == "Node")] | length')" 1 "the Node has one event of it"
check "every request names the agent" bash -c 'test-apiserver --data /var/lib/test-apiserver record | grep -q wasp-agent/'
