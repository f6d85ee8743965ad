# Swap is on and system.slice protected before the kubelet starts, after a reboot and a power cut
# suites: bookworm
# boot: cold
# timeout: 420
. /payload/lib.sh
file=/var/lib/wasp-agent/swapfile
standin=/etc/systemd/system/kubelet.service

right() {
    is "$(awk 'NR > 1 { print $1 }' /proc/swaps)" "$file" "boot $BOOT: swap is on"
    is "$(swaplabel "$file" | awk '/UUID/ { print $2 }')" "$(</root/uuid)" "the very swap that was made"
    is "$(<$cgroups/system.slice/memory.swap.max)" 0 "system.slice has none"
    check "the kubelet runs" systemctl -q is-active kubelet
    is "$(</run/kubelet-saw)" "swap=$file slice=0 agent=active" "and found all that when it started"
    check "wasp-swap is well" systemctl -q is-active wasp-swap
    note "wasp-swap: $(systemctl show -P StatusText wasp-swap)"
}

case $BOOT in
    1)
        # No other source shows the arguments that a shell passes to its kubelet.
        printf '%s\n' 'apiVersion: kubelet.config.k8s.io/v1beta1' 'kind: KubeletConfiguration' 'failSwapOn: false' >/var/lib/kubelet-config.yaml
        configure '[swap]' 'size = "300Mi"' '[node]' 'kubelet-config = "/var/lib/kubelet-config.yaml"'
        cat >$standin <<'UNIT'
[Unit]
Description=A kubelet that looks around
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/bash -c 'echo "swap=$(awk "NR > 1 { print \$1 }" /proc/swaps) slice=$(cat /sys/fs/cgroup/system.slice/memory.swap.max) agent=$(systemctl is-active wasp-agent)" >/run/kubelet-saw'
[Install]
WantedBy=multi-user.target
UNIT
        systemctl -q enable kubelet wasp-swap wasp-agent
        check "kubelet-dependencies.target wants it too" test -L /etc/systemd/system/kubelet-dependencies.target.wants/wasp-swap.service
        systemctl start wasp-swap
        swaplabel "$file" | awk '/UUID/ { print $2 }' >/root/uuid
        reboot_node
        ;;
    2)
        right
        sync
        power_cut
        ;;
    3)
        right
        # The kubelet on OpenShift would wait forever for a unit that fails, so provisioning reports
        # the problem and succeeds.
        wasp-agent deprovision
        printf '%s\n' 'apiVersion: kubelet.config.k8s.io/v1beta1' 'kind: KubeletConfiguration' >/var/lib/kubelet-config.yaml
        configure '[swap]' 'size = "300Mi"' '[node]' 'kubelet-config = "/var/lib/kubelet-config.yaml"'
        reboot_node
        ;;
    4)
        check "a kubelet that would not start with swap starts without" systemctl -q is-active kubelet
        is "$(awk 'NR > 1 { print $1 }' /proc/swaps)" "" "no swap"
        like "$(systemctl show -P StatusText wasp-swap)" 'failSwapOn' "and wasp-swap says why"
        ;;
esac
