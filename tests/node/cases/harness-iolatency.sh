# A node whose kernel has io.latency
# kernel: iolatency
. /payload/lib.sh

is "$(systemctl is-system-running)" running "no unit has failed"
for controller in cpu io memory pids; do
    check "cgroup v2 has $controller" grep -qw $controller "$cgroups/cgroup.controllers"
done
like "$(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)" '^(tsc|hpet|acpi_pm|kvm-clock)$' "its clock is finer than a tick"
check "PSI is on" grep -q full /proc/pressure/io
systemctl set-property --runtime system.slice IODeviceLatencyTargetSec="/ 50ms"
check "io.latency is there" test -e "$cgroups/system.slice/io.latency"
like "$(cat "$cgroups/system.slice/io.latency")" 'target=50000$' "and systemd sets it"

swap_on 64M
start_apiserver
start_agent
pod one --request 100Mi --limit 300Mi
eventually 5 "the agent and a runtime work on it" has_limit one "$(grant 100)"
