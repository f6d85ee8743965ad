# shellcheck shell=bash
# Host side: the directories of images, and the start of QEMU. Sourced by `image` and `run`.
# A snapshot fits only the machine that made it: image_hash includes everything that it depends on.

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${WASP_NODE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/wasp-agent/node}
memory_mb=1536
cpus=${WASP_NODE_CPUS:-1}
payload_size=192M
job_size=64K
PATH=$PATH:/usr/sbin:/sbin

die() {
    echo "${0##*/}: $*" >&2
    exit 1
}

# /dev/kvm can exist where guests hang or die; so check that the CPU supports it.
default_accel() {
    if [[ -n ${WASP_NODE_ACCEL:-} ]]; then
        echo "$WASP_NODE_ACCEL"
    elif [[ -w /dev/kvm ]] && grep -qwE 'vmx|svm' /proc/cpuinfo; then
        echo kvm
    else
        echo tcg
    fi
}

# image_hash SUITE: the hash of all inputs of an image and its snapshot.
image_hash() {
    {
        echo "$1 $memory_mb $cpus $payload_size $job_size $(default_accel)"
        [[ $(default_accel) != kvm ]] || grep -m1 'model name' /proc/cpuinfo
        qemu-system-x86_64 --version | head -n 1
        cat "$here/image" "$here/lib/vm.sh" "$here"/guest/*
    } | sha256sum | cut -c 1-16
}

image_dir() {
    echo "$cache/$1-$(image_hash "$1")"
}

# vm IMAGE_DIR ROOT_DRIVE RAM_SHARE WORK_DIR SERIAL [QEMU_ARG...]
# WORK_DIR holds the disks `payload` and `job`, and gets what the guest writes: `out` and `rc`.
# RAM_SHARE `none` is for a VM that boots: its RAM is no file, and starts empty. $cmdline adds to its kernel's command line.
#
# Guest RAM is a file. The snapshot is made with it shared, and left out of the migration stream
# (x-ignore-shared, which both sides have to be told on their monitor); a thawed VM maps it privately,
# so that it starts immediately and reads only the pages that it touches.
vm() {
    local image=$1 root=$2 share=$3 work=$4 serial=$5 accel ram
    shift 5
    case $share in
        none) ram="memory-backend-ram,id=ram,size=${memory_mb}M" ;;
        *) ram="memory-backend-file,id=ram,size=${memory_mb}M,mem-path=$image/ram,share=$share" ;;
    esac
    accel=$(cat "$image/accel")
    case $accel in
        kvm) accel=(-accel kvm -cpu host) ;;
        # Without `rep movsb` and `rep stosb`, which are emulated byte by byte: cases need a tenth less CPU time.
        *) accel=(-accel "tcg,thread=multi,tb-size=256" -cpu "max,-la57,-erms,-fsrm") ;;
    esac
    exec qemu-system-x86_64 "${accel[@]}" -machine q35,memory-backend=ram -smp "$cpus" -m "$memory_mb" \
        -object "$ram" \
        -nodefaults -no-user-config -display none -no-reboot \
        -kernel "$image/vmlinuz" -initrd "$image/initrd" \
        -append "root=/dev/vda rw console=ttyS0 psi=1 panic=-1 mitigations=off no_timer_check audit=0 apparmor=0 quiet systemd.show_status=0 systemd.unified_cgroup_hierarchy=1 ${cmdline:-}" \
        -drive "$root,if=none,id=root,cache=unsafe,discard=unmap" -device virtio-blk-pci,drive=root,serial=root \
        -drive "file=$work/payload,if=none,id=payload,format=raw,readonly=on" -device virtio-blk-pci,drive=payload,serial=payload \
        -drive "file=$work/job,if=none,id=job,format=raw,readonly=on" -device virtio-blk-pci,drive=job,serial=job \
        -device virtio-rng-pci -device virtio-serial-pci \
        -chardev "file,id=out,path=$work/out,append=on" -device virtserialport,chardev=out,name=node.out \
        -chardev "file,id=rc,path=$work/rc" -device virtserialport,chardev=rc,name=node.rc \
        -serial "$serial" "$@"
}
