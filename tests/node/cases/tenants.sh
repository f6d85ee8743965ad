# Tenants that attack in every known way at the same time do not affect a well-behaved pod
# suites: bookworm
# timeout: 900
# STARTS=600 makes it ten minutes instead of one and a half (`WASP_NODE_STARTS`).
. /payload/lib.sh
seconds=${STARTS:-90}; note "for $seconds s"
swap_on 2G
load_into_rootfs test-kubelet
start_apiserver
configure '[eviction]' 'average-window-seconds = 10' 'cooldown-seconds = 1' \
    'max-average-swap-in-pages-per-second = 8' 'max-average-swap-out-pages-per-second = 8'
start_agent
api() { test-apiserver --data /var/lib/test-apiserver "$@"; }
says() { agent_journal | grep -qE "$1"; }
slice_file() { local id unit scope child bundle slice; of "$1"; cat "$slice/$2"; }

pod calm --request 100Mi --limit 300Mi
pod tidy --request 60Mi --limit 200Mi
eventually 40 "a well-behaved pod has its grant" has_limit calm "$(grant 100)"

# A pod that once blinded the agent: Kubernetes accepts the amount.
cat >/tmp/blinder.json <<'JSON'
{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "blinder", "namespace": "default"},
 "spec": {"nodeName": "node-a", "containers": [{"name": "main", "image": "example.com/x:1",
  "terminationMessagePath": "/x", "resources": {"limits": {"memory": "1e42"}}}]}}
JSON
api create -f /tmp/blinder.json >/dev/null
knows() { [[ $(jq '.api.pods' /run/wasp-agent/status.json) == "$1" ]]; }
eventually 60 "a pod with an amount beyond all bounds is read, as Kubernetes reads it" knows 3
# A pod that claims to be static, asks not to be evicted, and thrashes within its own limit.
pod liar --request 80Mi --limit 100Mi --annotation kubernetes.io/config.source=file \
    --annotation cluster-autoscaler.kubernetes.io/safe-to-evict=false --command "$(thrash 140)"
# A pod that leaves memory behind at each restart.
mkdir -p /run/memory-dir
mount -t tmpfs -o size=1G tmpfs /run/memory-dir
pod_with_sandbox hoarder --request 100Mi --limit 120Mi \
    --annotation test-kubelet/memory-dir=/run/memory-dir --command 'n=$(/bin/busybox ls /run | /bin/busybox wc -l)
/bin/busybox tr "\0" x </dev/zero | /bin/busybox head -c 62914560 >/run/$n
exec sleep 100000'
# A pod that creates and removes its own cgroups endlessly.
pod churner --request 50Mi --limit 100Mi --annotation io.kubernetes.cri-o.cgroup2-mount-hierarchy-rw=true \
    --command 'cd /sys/fs/cgroup; while true; do /bin/busybox mkdir -p container x y; /bin/busybox rmdir container x y; done'
# A pod that locks the agent, which has no capability, out of its cgroup.
pod hider --request 50Mi --limit 100Mi --annotation io.kubernetes.cri-o.cgroup2-mount-hierarchy-rw=true \
    --command '/bin/busybox chmod 0 /sys/fs/cgroup; /bin/busybox chown 1000 /sys/fs/cgroup; exec sleep 100000'
hides() { local id unit scope child bundle slice; of hider; [[ $(stat -c %a "${child:-$scope}") == 0 ]]; }
eventually 40 "a pod hides its own cgroup" hides
eventually 40 "and has its grant" has_limit hider "$(grant 50)"

of liar
: >"/proc/$(head -n 1 "${child:-$scope}/cgroup.procs")/root/tmp/go"
want=$(page "$(grant 100)")
# A slice may be above its grant for as long as a repair takes.
above=0 most_above=0 wrong=0 most_wrong=0 rss=0
deadline=$(($(uptime_ms) + seconds * 1000))
restart_at=$(uptime_ms)
while (($(uptime_ms) < deadline)); do
    if (($(slice_file hoarder memory.swap.current) > want)); then ((++above)); else above=0; fi
    ((above <= most_above)) || most_above=$above
    if has_limit calm "$(grant 100)" && has_limit tidy "$(grant 60)"; then wrong=0; else ((++wrong)); fi
    ((wrong <= most_wrong)) || most_wrong=$wrong
    now=$(awk '/^VmRSS/ { print $2 }' "/proc/$(agent_pid)/status")
    ((now <= rss)) || rss=$now
    if (($(uptime_ms) > restart_at)); then
        test-kubelet restart hoarder >/dev/null 2>&1 || true
        drift calm scope max >/dev/null 2>&1 || true
        restart_at=$(($(uptime_ms) + 15000))
    fi
    pause 0.5
done
note "the agent's RSS was $rss kB at most; limits of others were wrong in $most_wrong looks in a row at most"
check "a well-behaved pod keeps its limit, but for a repair" test "$most_wrong" -le 4
check "no pod's slice stays above its grants" test "$most_above" -le 4
drift hider scope max >/dev/null
eventually 90 "a limit of the pod that hides is repaired" has_limit hider "$(grant 50)"
check "nor is the node without watches" bash -c '! systemctl show -P StatusText wasp-agent | grep -q "every cgroup"'
check "the agent stays small" test "$rss" -lt 60000
check "it hides no other: the API server is not blamed" bash -c '! systemctl show -P StatusText wasp-agent | grep -q "not reachable"'
check "no well-behaved pod is evicted" bash -c 'for pod in calm tidy; do test-apiserver --data /var/lib/test-apiserver get pod $pod -n default | jq -e ".metadata.deletionTimestamp == null" || exit 1; done'
eventually 180 "who thrashes is evicted, whatever its annotations" says 'evict(ed)? default/liar'
check "they live" lives calm
is "$(agent_journal -p err)" "" "the agent has met no error"
