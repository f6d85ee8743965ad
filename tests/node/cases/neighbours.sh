# check names virt-platform-autopilot and the DaemonSet by their files, and the agent does not change their work
# suites: bookworm
# boot: cold
# timeout: 420
. /payload/lib.sh
units=/etc/systemd/system

# found ID: level and finding. Without an API server, check itself exits with 2.
found() { { wasp-agent check --json || true; } | jq -r --arg id "$1" '.checks[] | select(.id == $id) | "\(.level): \(.found)"'; }

# Simulated units with the names and effects of MachineConfig 90-worker-swap-online.
autopilot() {
    cat >$units/ocpswap-file-enable.service <<'UNIT'
[Unit]
Description=A stand-in: makes a swapfile and switches it on
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'dd if=/dev/zero of=/var/ocpswap.file bs=1M count=200 status=none && chmod 600 /var/ocpswap.file && mkswap /var/ocpswap.file && swapon -p 10 /var/ocpswap.file'
[Install]
WantedBy=multi-user.target
UNIT
    cat >$units/kubevirt-tune-watermarks.service <<'UNIT'
[Unit]
Description=A stand-in: sets the watermarks
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'echo 150 >/proc/sys/vm/watermark_scale_factor'
[Install]
WantedBy=multi-user.target
UNIT
    mkdir -p $units/system.slice.d $units/kubepods.slice.d /etc/openshift/kubelet.conf.d /etc/kubernetes
    printf '%s\n' '[Slice]' 'MemorySwapMax=0' 'IOWeight=800' 'CPUWeight=800' >$units/system.slice.d/10-kubevirt-protect.conf
    printf '%s\n' '[Slice]' 'IOWeight=100' >$units/kubepods.slice.d/10-kubevirt-io-priority.conf
    printf '%s\n' 'apiVersion: kubelet.config.k8s.io/v1beta1' 'kind: KubeletConfiguration' 'failSwapOn: false' 'memorySwap:' '  swapBehavior: LimitedSwap' >/etc/openshift/kubelet.conf.d/90-swap.conf
    printf '%s\n' 'apiVersion: kubelet.config.k8s.io/v1beta1' 'kind: KubeletConfiguration' 'failSwapOn: false' >/etc/kubernetes/kubelet.conf
    systemctl -q enable ocpswap-file-enable kubevirt-tune-watermarks
}

case $BOOT in
    1)
        autopilot
        configure 'grants = "kubelet"'
        systemctl -q enable wasp-swap wasp-agent
        reboot_node
        ;;
    2)
        eventually 60 "the autopilot's swap is on" grep -q /var/ocpswap.file /proc/swaps
        is "$(awk 'NR > 1' /proc/swaps | wc -l)" 1 "and no other"
        is "$(</proc/sys/vm/watermark_scale_factor)" 150 "its watermarks are as it set them"
        row=$(found other-swap)
        like "$row" '^ok: virt-platform-autopilot is on this node; kept: swap, watermarks, slices, kubelet' "check prints its row"
        like "$row" 'added by the agent: io.latency for the disk of a swapfile' "and what the agent adds"
        configure 'grants = "kubelet"' '[swap]' 'size = "150Mi"'
        systemctl restart wasp-swap
        is "$(awk 'NR > 1' /proc/swaps | wc -l)" 1 "configured to make less, the agent creates no second swap"
        is "$(systemctl show -P ExecMainStatus wasp-swap)" 0 "for theirs serves"
        like "$(found other-swap)" '^ok: .*kept: swap, watermarks' "which check says"
        configure 'grants = "kubelet"' '[swap]' 'size = "400Mi"'
        systemctl restart wasp-swap
        is "$(awk 'NR > 1' /proc/swaps | wc -l)" 1 "configured to make more, neither"
        like "$(found other-swap)" '^warn: .*contradicts: .*the node has 200.0 MiB of swap, but 400.0 MiB are configured' "which check names as a contradiction"
        # The other neighbour: the operator's DaemonSet, with its hook.
        systemctl -q disable ocpswap-file-enable kubevirt-tune-watermarks
        rm -r $units/ocpswap-file-enable.service $units/kubevirt-tune-watermarks.service $units/system.slice.d $units/kubepods.slice.d /etc/openshift
        configure
        mkdir -p /var/log/pods/openshift-cnv_virt-handler-9dk2c_0a1e/virt-handler
        reboot_node
        ;;
    3)
        like "$(found other-swap)" '^ok: none; memoryOvercommitPercentage of HyperConverged .* leave it at 100' "check warns before the DaemonSet comes"
        mkdir -p /var/log/pods/openshift-cnv_wasp-agent-tx5lq_0a1f/wasp-agent /run/containers/oci/hooks.d
        echo '{}' >/run/containers/oci/hooks.d/swap-for-burstable-wasp-agent-tx5lq.json
        like "$(found other-swap)" '^warn: the DaemonSet wasp-agent is on this node; contradicts: .*wasp-agent-tx5lq' "check names its pod"
        like "$(found daemonset-hook)" '^fail: .*swap-for-burstable-wasp-agent-tx5lq.json' "and its hook"
        eventually 10 "the status line of the agent that runs names it too" bash -c 'systemctl show -P StatusText wasp-agent | grep -q "swap-for-burstable-wasp-agent"'
        ;;
esac
