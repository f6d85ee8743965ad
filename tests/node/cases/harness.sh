# The node has the properties that the other cases rely on
. /payload/lib.sh

is "$(stat -fc %T /sys/fs/cgroup)" cgroup2fs "cgroup v2 is mounted"
check "PSI is on" grep -q full /proc/pressure/memory
is "$(cat /proc/sys/kernel/hostname)" node-a "the node is called node-a"
is "$(meminfo_bytes SwapTotal)" 0 "it starts with no swap"
swap_on 64M
is "$(meminfo_bytes SwapTotal)" $(($(mib 64) - 4096)) "a swapfile of 64 MiB gives 64 MiB but for its header"
is "$(systemctl is-system-running)" running "no unit has failed"
eventually 5 "time goes on" test "$(date +%Y)" -ge 2026
