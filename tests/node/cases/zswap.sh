# With zswap, memory that compresses stays in RAM; the rest goes to the disk, or stays in RAM if it may not
# suites: trixie
# timeout: 1100
. /payload/lib.sh
load_into_rootfs
mount -t tmpfs tmpfs "$rootfs/tmp"
# settings [LINE...]: of [reclaim], besides those that all have
settings() {
    configure 'swap.size = "1Gi"' '[kernel]' 'zswap = "on"' '[eviction]' 'mode = "observe"' \
        '[reclaim]' 'mode = "on"' 'pods = "burstable"' 'floor = "4Mi"' 'start-delay-seconds = 0' 'write-budget = "64Mi"' \
        'max-pressure-percent = 10' 'max-refault-percent = 100' "$@" # where pages go, not how fast
}
settings
start_apiserver
systemctl start wasp-swap
is "$(cat /sys/module/zswap/parameters/enabled)" Y "wasp-swap switches zswap on"
note "kernel $(uname -r), $(cd /sys/module/zswap/parameters && grep -H . compressor zpool max_pool_percent | tr '\n' ' ')"
start_agent

load() { # POD random|half: 48 MiB, of which all or half of each page is random
    pod "$1" --request 200Mi --limit 400Mi --command "exec test-load report=/tmp/$1 seconds=5000 mib=48 pattern=idle fill=$2"
}
file() { local id unit scope child bundle slice; of "$1"; cat "$slice/$2"; }
stat() { file "$1" memory.stat | awk -v name="$2" '$1 == name { print $2 }'; }
anon() { stat "$1" anon; }
compressed() { stat "$1" zswap; }   # what the compressed pages take
in_zswap() { stat "$1" zswapped; } # what they were before
# Pages that may not be written keep their place in the swap, and are in RAM, but no longer anonymous memory to the kernel.
in_ram() { echo $(($(anon "$1") + $(stat "$1" swapcached))); }
on_disk() { echo $(($(file "$1" memory.swap.current) - $(in_zswap "$1") - $(stat "$1" swapcached))); }
waited() { file "$1" memory.pressure | sed -n 's/^some.*total=//p'; }
figures() { note "$1: $(in_ram "$1") bytes in RAM, $(stat "$1" swapcached) of them with a place in swap, $(in_zswap "$1") compressed to $(compressed "$1"), $(on_disk "$1") on the disk; waited $(waited "$1") us; zswap.max $(file "$1" memory.zswap.max), writeback $(file "$1" memory.zswap.writeback)"; }
has_given() { (($(anon "$1") < 24 << 20)); } # half of it
filled() { [[ -s $(report_of "$1") ]]; }
report_of() { local id unit scope child bundle slice; of "$1"; echo "/proc/$(head -n 1 "${child:-$scope}/cgroup.procs")/root/tmp/$1"; }

load half half
load noise random
eventually 60 "the pods have filled their memory" filled noise
eventually 300 "memory of which half compresses leaves" has_given half
eventually 300 "memory that does not compress leaves too" has_given noise
figures half
figures noise
check "the former is in zswap" more_than "$(in_zswap half)" $((22 << 20))
check "at less than two thirds of its size" more_than $(($(in_zswap half) * 2)) $(($(compressed half) * 3))
check "and not on the disk" more_than $((1 << 20)) "$(on_disk half)"
check "the latter is on the disk" more_than "$(on_disk noise)" $((22 << 20))

settings 'zswap-max-percent = 5' 'zswap-writeback = "on"'
systemctl reload wasp-agent
load limited half
eventually 60 "a third pod fills its memory" filled limited
eventually 300 "its memory leaves" has_given limited
figures limited
grant=$(grant 200)
is "$(file limited memory.zswap.max)" "$(page $((grant * 5 / 100)))" "zswap-max-percent limits what its compressed pages take"
check "they keep to it, but for a few pages" more_than $((grant * 5 / 100 + (256 << 10))) "$(compressed limited)"
check "and further pages go to the disk" more_than "$(on_disk limited)" $((8 << 20))

settings 'zswap-writeback = "off"'
systemctl reload wasp-agent
load both half
eventually 60 "a fourth pod fills its memory" filled both
eventually 300 "memory that compresses leaves with zswap-writeback = off" has_given both
# Last, for the kernel searches such a pod for long, and the others wait.
load kept random
eventually 60 "a fifth pod fills its memory" filled kept
tried() { (($(stat kept swapcached) > 8 << 20)); }
eventually 300 "the kernel tries to take memory that does not compress" tried
figures both
figures kept
is "$(file kept memory.zswap.writeback)" 0 "the kernel has the setting"
check "memory that does not compress stays in RAM" more_than "$(in_ram kept)" $((40 << 20))
check "and is not on the disk" more_than $((1 << 20)) "$(on_disk kept)"
check "nor is the former" more_than $((1 << 20)) "$(on_disk both)"
is "$(wasp-agent status --json | jq -c '[.published.problems[]? | select(.kind == "reclaim")]')" "[]" "the agent reports no problem with reclaim"
note "reclaim: $(wasp-agent status --json | jq -c '.published.reclaim')"
