# A partition whose device appears late becomes swap immediately, without a restart
# suites: bookworm
# disks: 600M
# timeout: 420
. /payload/lib.sh
disk=/dev/disk/by-id/virtio-disk1
device=$(basename "$(readlink -f $disk)")
virtio=$(basename "$(readlink -f "/sys/block/$device/device")")
driver=/sys/bus/virtio/drivers/virtio_blk
active() { awk -v path="/dev/$device" 'NR > 1 && $1 == path' /proc/swaps | grep -q .; }
says() { [[ $(agent_status) == *"$1"* ]]; }

check "the disk goes" bash -c "echo $virtio >$driver/unbind"
gone() { [[ ! -e $disk ]]; }
eventually 20 "its name too" gone
configure '[swap]' 'kind = "partition"' "path = \"$disk\""
status=0
said=$(wasp-agent provision --wait 3 2>&1) || status=$?
is "$status" 75 "it is waited for, and then the node comes up without it"
like "$said" 'Waiting 3 s at most for .*virtio-disk1.* does not exist' "and it says so"
(
    pause 4
    echo "$virtio" >$driver/bind
) &
check "a disk that comes while it is waited for" wasp-agent provision --wait 60
check "becomes swap" active
wasp-agent deprovision
check "the disk goes again" bash -c "echo $virtio >$driver/unbind"
eventually 20 "its name too" gone

mkdir -p /run/systemd/system/wasp-swap.service.d
cat >/run/systemd/system/wasp-swap.service.d/50-wait.conf <<'UNIT'
[Service]
ExecStart=
ExecStart=/usr/bin/wasp-agent provision --wait 1
UNIT
systemctl daemon-reload
systemctl start wasp-swap
check "wasp-swap gives up its wait" systemctl -q is-active wasp-swap
check "the disk comes between that and the agent's start" bash -c "echo $virtio >$driver/bind"
there() { [[ -e $disk ]]; }
eventually 20 "with its name" there
check "it is not in use yet" bash -c "! grep -q '^/dev/$device ' /proc/swaps"
start_apiserver
start_agent
eventually 30 "the agent has it switched on" active
wasp-agent deprovision
systemctl stop wasp-agent wasp-swap
check "the disk goes once more" bash -c "echo $virtio >$driver/unbind"
eventually 20 "and its name" gone
start_agent
check "wasp-swap is well all the same" systemctl -q is-active wasp-swap
eventually 30 "the status says what is missing" says "virtio-disk1, does not exist"
check "the disk comes" bash -c "echo $virtio >$driver/bind"
eventually 30 "and is swap, without a command" active
not_missing() { ! says "does not exist"; }
eventually 60 "the status no longer says so" not_missing
