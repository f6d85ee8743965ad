# A suspended pod's memory goes to swap and returns byte for byte, and every event that needs the pod resumes it
# suites: bookworm
# timeout: 700
. /payload/lib.sh
swap_on 1G
start_apiserver
configure '[suspend]' 'longest-silence-seconds = 75'
start_agent
api() { test-apiserver --data /var/lib/test-apiserver "$@"; }
says() { agent_journal | grep -qE "$1"; }
frozen() { cgroup_is "$1" 'frozen 1'; }
runs() { ! frozen "$1"; }
swap_limit() { local id unit scope child bundle slice; of "$1"; cat "$scope/memory.swap.max"; }
listed() { wasp-agent suspended --json | jq -e --arg pod "$1" 'any(.[]; .pod == $pod)' >/dev/null; }
forgotten() { ! listed "$1"; }

# work NAME MEBIBYTES ARGUMENT...: a pod that holds MEBIBYTES of random bytes each in anonymous
# memory, in shared memory and in the page cache. After a write to `go` it prints its name, then
# checksums of its memory.
work() {
    local name=$1 mebibytes=$2 folder=/var/lib/work/$1
    shift 2
    mkdir -p "$folder"
    head -c "$(mib "$mebibytes")" /dev/urandom >"$folder/seed"
    sha256sum <"$folder/seed" >"$folder/expected"
    mkfifo "$folder/go"
    pod "$name" "$@" --annotation test-kubelet/memory-dir="$folder" --command "
b=/bin/busybox; cd /run; \$b cp seed page; \$b cp seed /tmp/shm
\$b dd if=seed bs=${mebibytes}M count=1 iflag=fullblock 2>/dev/null | {
    : >ready; read -r x <go; : >first; \$b sha256sum >anon.sum; \$b sha256sum </tmp/shm >shm.sum
    \$b sha256sum <page >page.sum; : >done; exec sleep 100000; }"
    eventually 60 "$name holds its memory" test -e "$folder/ready"
    # dd has all input in its buffer before it waits for its reader.
    settled() { local before; before=$(memory_used "$name"); pause 1; (($(memory_used "$name") - before < 1000000)); }
    eventually 30 "all of it" settled
    # The kernel drops no dirty page cache.
    sync
}
# resume_pod NAME: resumes it, and prints the times from the request to the first answer and to the
# last checksum; checks that the content is unchanged.
resume_pod() {
    local folder=/var/lib/work/$1 begun
    begun=$(now_ms)
    wasp-agent resume "default/$1" >/run/said
    echo >"$folder/go"
    eventually 60 "$1 answers" test -e "$folder/first"
    note "$1: $(($(now_ms) - begun)) ms from the command to its first answer"
    eventually 120 "$1 has read all of its memory" test -e "$folder/done"
    note "$1: $(($(now_ms) - begun)) ms from the command to its whole working set"
    for kind in anon shm page; do
        is "$(<"$folder/$kind.sum")" "$(<"$folder/expected")" "$1: $kind is what it was"
    done
}
# suspend_pod NAME: suspends it, and prints the time and the bytes.
suspend_pod() {
    local begun before
    begun=$(now_ms)
    before=$(memory_used "$1")
    check "$1 is suspended" wasp-agent suspend "default/$1"
    note "$1: $(($(now_ms) - begun)) ms to suspend it; RAM $((before >> 20)) MiB before, $(($(memory_used "$1") >> 10)) KiB after, swap $(($(swap_used "$1") >> 20)) MiB"
}

work burstable 20 --request 120Mi --limit 300Mi
eventually 10 "it has its grant" has_limit burstable "$(grant 120)"
like "$(wasp-agent suspend default/burstable --dry-run)" "would suspend default/burstable \(Burstable\)" "a dry run reports the plan"
check "and does nothing" runs burstable
suspend_pod burstable
check "it is frozen" frozen burstable
check "at most 4 MiB stay in RAM" more_than "$(mib 4)" "$(memory_used burstable)"
check "its swap is within its grant" more_than "$(grant 120)" "$(swap_used burstable)"
of burstable
is "$(systemctl show -P FreezerState "$unit")" frozen "systemd knows"
check "the command lists it" listed burstable
systemctl daemon-reload
check "after a daemon-reload it is frozen still" frozen burstable
kill -KILL "$(agent_pid)"
restarted() { systemctl -q is-active wasp-agent && listed "$1"; }
eventually 60 "an agent that was killed has a successor, which knows it" restarted burstable
check "and it is frozen still" frozen burstable
check "in RAM as little as before" more_than "$(mib 4)" "$(memory_used burstable)"
like "$(wasp-agent suspend default/burstable 2>&1 || true)" "suspended already" "it cannot be suspended twice"
resume_pod burstable
check "it is not listed any more" forgotten burstable
eventually 10 "events tell of both" says "default/burstable is resumed: an administrator asked for it"

for class in guaranteed besteffort; do
    case $class in
        guaranteed) work $class 20 --request 120Mi --limit 120Mi --cpu 100m --cpu-limit 100m ;;
        besteffort) work $class 20 ;;
    esac
    before=$(memory_used $class)
    suspend_pod $class
    check "a $class pod is frozen" frozen $class
    is "$(swap_used $class)" 0 "and nothing of it is in swap"
    check "nor dropped" more_than "$(memory_used $class)" $((before - $(mib 2)))
    resume_pod $class
done

# Events that resume a pod, and requests that are refused.
suspend_idle() { check "$1 is suspended" wasp-agent suspend "default/$1"; check "frozen" frozen "$1"; }
pod idle --request 60Mi --limit 200Mi --hog 20
eventually 10 "it has its grant" has_limit idle "$(grant 60)"
suspend_idle idle
systemctl stop wasp-agent
check "an agent that stops leaves no pod frozen" runs idle
is "$(jq '[.. | objects | select(has("stage"))] | length' /run/wasp-agent/suspended.json)" 0 "nor written down"
start_agent
eventually 20 "the agent knows its pods" says 'first list of this node'
suspend_idle idle
test-kubelet resize idle --request 70Mi >/dev/null
eventually 20 "a resize resumes it" runs idle
eventually 10 "it has its new grant" has_limit idle "$(grant 70)"
suspend_idle idle
systemctl stop test-apiserver
eventually 90 "a lost API server resumes it after a while" runs idle
like "$(wasp-agent suspend default/idle 2>&1 || true)" "API server is not reachable" "and none is suspended meanwhile"
start_apiserver
listens() { wasp-agent suspend default/idle --dry-run; }
eventually 60 "until it is back" listens
suspend_idle idle
of idle
api delete pods idle --grace 30 >/dev/null
eventually 20 "a deletion resumes it" runs idle

cat >/run/probed.json <<'JSON'
{"metadata": {"name": "probed"}, "spec": {"containers": [{"name": "main", "image": "localhost/busybox:latest",
  "command": ["/bin/sh", "-c", "exec sleep 100000"], "resources": {"requests": {"memory": "50Mi"}},
  "livenessProbe": {"exec": {"command": ["true"]}}}]}}
JSON
test-kubelet run --file /run/probed.json --runtime "$runtime" --no-sandbox
refused() { [[ $(wasp-agent suspend default/probed 2>&1) == *"liveness probe"* ]]; }
eventually 20 "a pod with probes is refused" refused
check "but for --force" wasp-agent suspend default/probed --force
# As the kubelet does when a container does not answer.
of probed
killed() { "$runtime" kill "$id" KILL; }
check "the kubelet kills it while it is frozen" killed
eventually 20 "it is dead" dead probed
eventually 30 "and forgotten" forgotten probed
like "$(wasp-agent suspend default/missing 2>&1 || true)" "no pod default/missing" "an unknown pod is refused"

# The runtime does not affect the following part.
[[ $runtime == crun ]] || exit 0

# filled POD MIB: its program has written this much.
filled() { more_than "$(memory_used "$1")" "$(mib "$2")"; }
vm=(--label kubevirt.io=virt-launcher --request 60Mi --limit 200Mi --hog 20)
pod vm "${vm[@]}"
eventually 10 "a launcher has its grant" has_limit vm "$(grant 60)"
like "$(wasp-agent suspend default/vm --force 2>&1 || true)" "virtctl pause" "a VM that runs is refused, by force too"
# As virt-controller does when virtctl has paused the VM.
unpaused() {
    api patch pods vm --subresource status --patch \
        '{"status":{"conditions":[{"type":"kubevirt.io/virtual-machine-unpaused","status":"'"$1"'"}]}}' >/dev/null
}
eventually 20 "and has filled its memory" filled vm 18
unpaused False
paused() { wasp-agent suspend default/vm; }
holds() { more_than "$(memory_used vm)" "$(mib 18)"; }
eventually 60 "its launcher holds its memory" holds
eventually 20 "a paused one is suspended" paused
check "its launcher is not frozen" runs vm
check "its memory is in swap" more_than "$(swap_used vm)" "$(mib 10)"
unpaused True
eventually 20 "a VM that KubeVirt runs again is not suspended any more" forgotten vm

# Swap that is half full.
pod big --request 120Mi --limit 300Mi --hog 80
eventually 20 "a bigger one has its grant" has_limit big "$(grant 120)"
eventually 60 "and has filled its memory" filled big 70
free=$(awk '$1 == "SwapFree:" { print $2 * 1024 }' /proc/meminfo)
configure '[suspend]' "keep-swap-free = \"$((free - $(mib 30)))\""
systemctl reload wasp-agent
check "a pod is suspended though swap is short" wasp-agent suspend default/big
check "what swap has no room for stays in RAM" more_than "$(memory_used big)" "$(mib 30)"
free_now=$(awk '$1 == "SwapFree:" { print $2 * 1024 }' /proc/meminfo)
check "and swap keeps what is to stay free, but for 2 MiB" more_than "$free_now" $((free - $(mib 32)))
eventually 10 "the pod has its grant again" has_limit big "$(grant 120)"
check "it is resumed" wasp-agent resume default/big
check "nothing was killed" lives big

# Swap beyond the grant, while a pod is suspended.
configure '[suspend]' 'reserve = "30Mi"'
systemctl reload wasp-agent
work borrower 40 --request 30Mi --limit 300Mi
eventually 10 "it has its grant" has_limit borrower "$(grant 30)"
like "$(wasp-agent suspend default/borrower)" "30.0 MiB lent by suspend.reserve" "a pod is lent swap to sleep"
check "it holds more than its grant" more_than "$(swap_used borrower)" $(($(grant 30) + $(mib 25)))
check "but no more than what it was lent" more_than $(($(grant 30) + $(mib 30))) "$(swap_used borrower)"
kill -KILL "$(agent_pid)"
eventually 60 "an agent that was killed has a successor" restarted borrower
check "which leaves its limit" more_than "$(swap_limit borrower)" $(($(grant 30) + $(mib 25)))
resume_pod borrower
like "$(</run/said)" "suspend.reserve has lent it is still in swap" "the command reports what is still in swap"
eventually 60 "its limit is its grant again" has_limit borrower "$(grant 30)"

# Annotations.
limit() { api patch pods limited --patch '{"metadata":{"annotations":{"swap.wasp.io/limit":"'"$1"'"}}}' >/dev/null; }
pod limited --request 100Mi --limit 300Mi --annotation swap.wasp.io/limit=8Mi
eventually 20 "a pod has no more swap than its annotation asks for" has_limit limited "$(mib 8)"
limit 50%
eventually 20 "a change is followed while it runs" has_limit limited $(($(grant 100) / 2))
limit half
eventually 20 "what cannot be read counts as 0" has_limit limited 0
eventually 20 "and is reported" says 'default/limited: its annotation swap.wasp.io/limit is "half"'
