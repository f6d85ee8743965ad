# While pods keep every CPU busy, the node's own services become less than five times slower
# suites: bookworm
# timeout: 300
. /payload/lib.sh
start_apiserver
configure '[protection]' 'cpu-weight = "keep"'
start_agent
weight() { systemctl show -P CPUWeight system.slice; }
not_set=$(weight)
for i in 1 2 3 4; do systemd-run -q --unit "busy$i" --slice kubepods.slice sh -c 'while :; do :; done'; done
# The value that a kubelet sets on a node with 8 CPUs.
systemctl set-property --runtime kubepods.slice CPUWeight=313
# median: ms for starting a program, reading its output and flushing a small file, in system.slice
median() {
    rm -f /run/requests
    systemd-run -q --wait --unit requests --slice system.slice -p StandardOutput=file:/run/requests \
        test-kubelet thrash requests /var/tmp --rounds 15
    note "CPUWeight $(weight): $(tr '\n' ' ' </run/requests)"
    sed -nE 's/^request: median_ms=([0-9]+).*/\1/p' /run/requests >/run/median
}
median
before=$(</run/median)
configure ''
systemctl reload wasp-agent
is_weight() { [[ $(weight) == "$1" ]]; }
eventually 20 "by default, system.slice gets a weight of 800" is_weight 800
is "$(<$cgroups/system.slice/cpu.weight)" 800 "in the kernel too"
median
check "a request takes less than two thirds of the time: $(</run/median) ms for $before ms" more_than $((before * 2)) $(($(</run/median) * 3))
configure '[protection]' 'cpu-weight = "keep"'
systemctl reload wasp-agent
eventually 20 "configured no longer: what was there again" is_weight "$not_set"
configure ''
systemctl reload wasp-agent
eventually 20 "and again" is_weight 800
systemctl stop wasp-agent # it would set the weight again
check "unprotect" wasp-agent unprotect
is "$(weight)" "$not_set" "puts back what was there"
