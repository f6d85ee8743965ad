# Runs once, in the new root, when the image is made.
set -euo pipefail

# An initrd that mounts the root disk, and no more: Debian's starts udev, for seconds under emulation.
version=$(ls /lib/modules)
initrd=$(mktemp -d)
mkdir "$initrd"/{dev,root}
cp "$(command -v busybox)" "$initrd/busybox"
{
    printf '#!/busybox sh\n/busybox mount -t devtmpfs dev /dev\n'
    modprobe -S "$version" -a --show-depends virtio_pci virtio_blk ext4 crc32c_generic | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' |
        while read -r module; do
            case $module in
                *.xz) busybox xzcat "$module" >"$initrd/$(basename "$module" .xz)" ;;
                *) cp "$module" "$initrd" ;;
            esac
            echo "/busybox insmod /$(basename "$module" .xz)"
        done
    printf '/busybox %s\n' 'mount -t ext4 /dev/vda /root' 'mount --move /dev /root/dev'
    echo 'exec /busybox switch_root /root /sbin/init'
} >"$initrd/init"
chmod +x "$initrd/init"
(cd "$initrd" && find . | cpio -o -H newc --quiet) >"/boot/initrd.img-$version"
rm -r "$initrd"

mkdir /payload
echo node-a >/etc/hostname
echo '127.0.0.1 localhost node-a' >/etc/hosts
: >/etc/fstab
passwd -d root

# No service may start by itself while a case measures.
systemctl -q mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer fstrim.timer \
    e2scrub_all.timer e2scrub_reap.service systemd-tmpfiles-clean.timer systemd-timesyncd.service \
    systemd-networkd.service systemd-resolved.service systemd-pstore.service systemd-random-seed.service \
    systemd-update-utmp.service systemd-update-utmp-runlevel.service systemd-hwdb-update.service \
    getty@tty1.service serial-getty@ttyS0.service
# Nor may units that delay a cold boot by seconds and that no case needs.
systemctl -q mask podman.service podman.socket podman-auto-update.service podman-auto-update.timer \
    podman-restart.service systemd-binfmt.service proc-sys-fs-binfmt_misc.automount systemd-repart.service \
    systemd-journal-flush.service modprobe@drm.service modprobe@loop.service modprobe@dm_mod.service \
    sys-kernel-debug.mount sys-kernel-tracing.mount dev-hugepages.mount
# Not every device needs udev: it would configure a hundred consoles, and load ciphers for the CPU.
mkdir -p /etc/systemd/system/systemd-udev-trigger.service.d
printf '%s\n' '[Service]' ExecStart= "ExecStart=-udevadm trigger --type=devices --action=add --prioritized-subsystem=block$(
    printf ' --subsystem-match=%s' block virtio virtio-ports pci mem net misc
)" >/etc/systemd/system/systemd-udev-trigger.service.d/node.conf
# Every daemon-reload runs all generators: seconds under emulation, and nothing here needs them.
mkdir -p /etc/systemd/system-generators
for generator in /usr/lib/systemd/system-generators/* /lib/systemd/system-generators/*; do
    ln -sf /dev/null "/etc/systemd/system-generators/${generator##*/}"
done
mkdir -p /etc/systemd/journald.conf.d
printf '[Journal]\nStorage=volatile\nRateLimitIntervalSec=0\nForwardToSyslog=no\n' >/etc/systemd/journald.conf.d/node.conf

# The root file system of every test container.
rootfs=/var/lib/test-kubelet/rootfs
mkdir -p "$rootfs"/{bin,dev,etc,proc,sys,tmp,run}
cp "$(command -v busybox)" "$rootfs/bin/busybox"
for applet in sh sleep dd cat true echo head tail; do ln -s busybox "$rootfs/bin/$applet"; done
