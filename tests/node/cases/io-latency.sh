# On a kernel with io.latency, the disks of / and of the swap serve system.slice first
# suites: bookworm
# module: iolatency
# disks: 300M
# timeout: 300
. /payload/lib.sh
case $BOOT in
    1)
        insmod /payload/modules/iolatency.ko
        mkswap -q /dev/disk/by-id/virtio-disk1
        swapon /dev/disk/by-id/virtio-disk1
        start_apiserver
        start_agent
        slice=$cgroups/system.slice
        number() { lsblk -ndo MAJ:MIN "$1" | tr -d ' '; }
        root=$(number "$(findmnt -no SOURCE /)") swap=$(number "$(readlink -f /dev/disk/by-id/virtio-disk1)")
        targets() { sort $slice/io.latency; }
        both=$(printf '%s target=50000\n' "$root" "$swap" | sort)
        is "$(targets)" "$both" "the target stands for the disk of / and that of the swap"
        eventually 5 "STATUS says so" status_says 'Protected: system.slice'
        held() { [[ $(targets) == "$both" ]]; }
        systemctl daemon-reload
        throughout 2 "daemon-reload: still so" held
        echo "$root target=0" >$slice/io.latency
        eventually 5 "changed by hand: repaired" held
        configure '[protection]' 'io-latency-target-ms = 75'
        systemctl reload wasp-agent
        both=$(printf '%s target=75000\n' "$root" "$swap" | sort)
        eventually 10 "another target is applied" held
        systemctl stop wasp-agent
        check "unprotect" wasp-agent unprotect
        both=
        eventually 5 "puts back what was there: none" held
        ;;
esac
