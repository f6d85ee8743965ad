# A node that boots cold keeps its disks over reboots and power cuts
# suites: bookworm
# boot: cold
# disks: 64M 1G
# timeout: 420
. /payload/lib.sh

disk1=/dev/disk/by-id/virtio-disk1 disk2=/dev/disk/by-id/virtio-disk2
early_starts() { wc -l </var/lib/early; }

case $BOOT in
    1)
        is "$number" 0 "boot 1 is the first"
        is "$(blockdev --getsize64 $disk1) $(blockdev --getsize64 $disk2)" "$(mib 64) $(mib 1024)" "the disks have their sizes"
        is "$(systemctl is-system-running)" running "no unit has failed"
        # A slow unit, whose program is on the payload.
        cat >/etc/systemd/system/early.service <<'UNIT'
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'sleep 3; test -x /payload/bin/test-apiserver && echo started >>/var/lib/early'
[Install]
WantedBy=multi-user.target
UNIT
        systemctl -q enable early
        mke2fs -q -F -t ext4 $disk1
        mount $disk1 /mnt
        echo kept >/mnt/file
        dd if=/etc/machine-id of=$disk2 status=none
        echo '# changed' >>/etc/wasp-agent/wasp-agent.toml
        echo kept >/root/file
        reboot_node
        ;;
    2)
        is "$number" 3 "boot 2 goes on with the numbers"
        is "$(cat /root/file)" kept "a file is still there after a reboot"
        is "$(early_starts)" 1 "what the case enabled has started before the case"
        is "$(tail -n 1 /etc/wasp-agent/wasp-agent.toml)" "# changed" "what the case changed stays changed"
        mount $disk1 /mnt
        is "$(cat /mnt/file)" kept "disk 1 keeps its file system"
        is "$(head -c 33 $disk2)" "$(cat /etc/machine-id)" "disk 2 keeps its bytes"
        echo synced | tee /root/synced >/mnt/synced
        sync
        echo lost | tee /root/not-synced >/mnt/not-synced
        power_cut
        ;;
    3)
        is "$(cat /root/synced)" synced "what was synced is still there after a power cut"
        check "what was not is lost" test ! -s /root/not-synced
        is "$(early_starts)" 2 "and the enabled unit has started again"
        check "disk 1 was not unmounted" bash -c "dumpe2fs -h $disk1 2>&1 | grep -q needs_recovery"
        e2fsck -p $disk1 >/dev/null || (($? == 1))
        mount $disk1 /mnt
        is "$(cat /mnt/synced)" synced "disk 1 too has what was synced"
        check "and has lost the rest" test ! -s /mnt/not-synced
        is "$(systemctl is-system-running)" running "no unit has failed"
        ;;
esac
