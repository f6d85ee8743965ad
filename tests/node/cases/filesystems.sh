# Swapfiles work on ext4, ext2, xfs and btrfs, and whole partitions work as swap
# suites: bookworm
# disks: 600M 600M 600M 600M
# timeout: 300
. /payload/lib.sh
disk() { echo "/dev/disk/by-id/virtio-disk$1"; }
active() { awk -v path="$1" 'NR > 1 && $1 == path' /proc/swaps | grep -q .; }
try() { # FILESYSTEM DISK MKFS...
    local name=$1 disk=$2 at=/mnt/$1
    shift 2
    "$@" "$disk" >/dev/null 2>&1
    mkdir -p "$at"
    mount "$disk" "$at"
    configure '[swap]' 'size = "100Mi"' "path = \"$at/swapfile\"" 'reserve = "10Mi"'
    check "$name: provision" wasp-agent provision
    check "$name: it is on" active "$at/swapfile"
    swapoff "$at/swapfile"
    check "$name: and on again" wasp-agent provision
    check "$name: it is on" active "$at/swapfile"
}
modprobe -a xfs btrfs
try ext4 "$(disk 1)" mkfs.ext4 -q
try xfs "$(disk 2)" mkfs.xfs -q -f
try btrfs "$(disk 3)" mkfs.btrfs -q -f
like "$(lsattr /mnt/btrfs/swapfile)" '^-*C' "btrfs: copy-on-write is off"
file=/mnt/btrfs/swapfile
swapoff "$file"
btrfs -q subvolume snapshot /mnt/btrfs /mnt/btrfs/snapshot
check "btrfs: one that shares its blocks with a snapshot is created again" wasp-agent provision
check "btrfs: and is on" active "$file"
swapoff "$file"
rm "$file"
btrfs -q subvolume delete /mnt/btrfs/snapshot
btrfs property set /mnt/btrfs compression zstd
check "btrfs: a folder that compresses" wasp-agent provision
check "btrfs: its file is on" active "$file"
configure '[swap]' 'size = "100Mi"' 'path = "/mnt/xfs/swapfile"' 'reserve = "10Mi"'
wasp-agent provision
swapoff /mnt/xfs/swapfile
cp --reflink=always /mnt/xfs/swapfile /mnt/xfs/copy
check "xfs: one that shares its blocks with a copy is created again" wasp-agent provision
check "xfs: and is on" active /mnt/xfs/swapfile
try ext2 "$(disk 4)" mkfs.ext2 -q
check "ext2: zeros were written, there are no holes" more_than "$(stat -c %b /mnt/ext2/swapfile)" $((100 * 2048 - 1))
wasp-agent deprovision
is "$(wc -l </proc/swaps)" 1 "each left its place to the next, and the last is gone"
umount /mnt/*

configure '[swap]' 'kind = "partition"' "path = \"$(disk 1)\""
status=0
said=$(wasp-agent provision 2>&1) || status=$?
is "$status" 1 "a partition with a file system is refused"
like "$said" 'wipefs --all' "with the remedy"
check "and left alone" bash -c "blkid -p $(disk 1) | grep -q ext4"
mount "$(disk 1)" /mnt/ext4
check "its files are there" test -d /mnt/ext4/lost+found
umount /mnt/ext4
dd if=/dev/zero of="$(disk 1)" bs=1M count=2 status=none
dd if=/dev/zero of="$(disk 1)" bs=1M seek=598 count=2 status=none
check "a blank one is made swap" wasp-agent provision
check "and is on" active "$(readlink -f "$(disk 1)")"
check "again: as it is" wasp-agent provision
check "deprovision" wasp-agent deprovision
is "$(wc -l </proc/swaps)" 1 "it is off"
check "and blank again" bash -c "! blkid -p $(disk 1)"
mkswap -q -L theirs "$(disk 1)"
check "swap of another's making is used" wasp-agent provision
check "it is on" active "$(readlink -f "$(disk 1)")"
wasp-agent deprovision
check "but not erased" bash -c "blkid -p $(disk 1) | grep -q theirs"
