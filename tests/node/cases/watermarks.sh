# The kernel swaps before the kubelet would evict, however fast memory is taken, and follows a changed threshold
# suites: bookworm
# timeout: 400
. /payload/lib.sh
kubelet() { # THRESHOLD
    mkdir -p /etc/kubernetes
    printf '%s\n' 'kind: KubeletConfiguration' 'apiVersion: kubelet.config.k8s.io/v1beta1' 'failSwapOn: false' \
        'evictionHard:' "  memory.available: $1" >/etc/kubernetes/kubelet.conf
}
min() { cat /proc/sys/vm/min_free_kbytes; }
factor() { cat /proc/sys/vm/watermark_scale_factor; }
settings() { echo "$(min) $(factor)"; }
# In MiB: the levels below which allocators reclaim and kswapd begins, and above which it ends.
watermarks() { awk '$1 == "min" { m += $2 } $1 == "low" { l += $2 } $1 == "high" && NF == 2 { h += $2 } END { printf "%d %d %d", m / 256, l / 256, h / 256 }' /proc/zoneinfo; }
# available: MiB that are free or inactive file cache
available() { awk '$1 == "MemFree:" || $1 == "Inactive(file):" { sum += $2 } END { print int(sum / 1024) }' /proc/meminfo; }
# race: fills memory except about 400 MiB, then takes 550 MiB as fast as possible. Sets lowest_mib,
# samples_below (the threshold of 100 MiB), first_below_ms, first_swap_ms, swapped_out_mib,
# mib_per_s and ms.
race() {
    local result sampler
    rm -f /tmp/filled /tmp/done
    systemd-run -q --unit ballast --slice user.slice test-kubelet thrash allocate $(($(available) - 400)) --done /tmp/filled
    while [[ ! -e /tmp/filled ]]; do pause 0.2; done
    chrt -f 10 test-kubelet thrash available --below-mib 100 --until /tmp/done >/tmp/sampled &
    sampler=$!
    pause 0.5
    rm -f /tmp/allocated
    systemd-run -q --unit hog --slice user.slice -p StandardOutput=file:/tmp/allocated test-kubelet thrash allocate 550 --done /tmp/done
    wait $sampler
    result=$(cat /tmp/allocated /tmp/sampled)
    note "min, low, high $(watermarks) MiB: ${result//$'\n'/ }"
    eval "${result//_as_from_1.29/_new}"
    systemctl stop hog ballast
}

before=$(settings)
note "before: min_free_kbytes and watermark_scale_factor $before, min, low, high $(watermarks) MiB"
kubelet 100Mi
systemctl start wasp-swap
is "$(settings)" "$before" "without swap, nothing is aligned"
configure 'swap.size = "800Mi"'
systemctl restart wasp-swap
is "$(min)" 108800 "with swap, allocators reclaim just above the kubelet's threshold"
like "$(journalctl -q -u wasp-swap -o cat)" 'kubelet evicts below 100.0 MiB: kswapd starts at [0-9.]+ MiB, .* \(1/64 of RAM' \
    "the journal explains it"
aligned=$(settings)

# The alignment of version 0.1.0: low an eighth above the threshold, nothing else.
sysctl -qw "vm.min_free_kbytes=${before% *}" vm.watermark_scale_factor=468
race
sysctl -qw vm.watermark_scale_factor=10
check "with a runway of 12.5 MiB, available memory falls below the threshold" more_than "$samples_below" 0
systemctl restart wasp-swap
is "$(settings)" "$aligned" "a value that another program has changed is aligned again"
race
is "$samples_below" 0 "aligned, it never does"
check "for the kernel swaps" more_than "$swapped_out_mib" 50
check "and allocators wait for it" more_than "$lowest_mib" 100

start_apiserver
start_agent
kubelet 200Mi
systemctl reload wasp-agent
is_min() { [[ $(min) == "$1" ]]; }
eventually 20 "a higher threshold: aligned again, without a reboot" is_min 217600
kubelet 60Mi
systemctl reload wasp-agent
eventually 20 "a lower one: down again" is_min 65280
eventually 10 "STATUS is silent about it" bash -c '! systemctl show -P StatusText wasp-agent | grep -q "kubelet evicts"'
configure 'swap.size = "800Mi"' '[kernel]' 'align-watermarks = false'
systemctl restart wasp-swap
is "$(settings)" "$before" "switched off: the kernel's own settings again"
configure 'swap.size = "800Mi"'
systemctl restart wasp-swap
systemctl stop wasp-agent
check "removal" wasp-agent deprovision
is "$(settings)" "$before" "puts them back"
