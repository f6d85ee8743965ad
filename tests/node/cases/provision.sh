# The agent creates, recognizes, grows, shrinks and removes a swapfile without loss of a page
# suites: bookworm
# timeout: 400
. /payload/lib.sh
file=/var/lib/wasp-agent/swapfile

# provision STATUS [WORDS]: checks exit status and output.
provision() {
    local status=0 said
    said=$(wasp-agent provision 2>&1) || status=$?
    [[ $status == "$1" ]] || note "$said"
    is "$status" "$1" "exit status $1"
    [[ -z ${2:-} ]] || like "$said" "$2" "it says: $2"
}
swap_mib() { echo $((($(meminfo_bytes SwapTotal) + 4096) >> 20)); }
uuid() { swaplabel "$file" | awk '/UUID/ { print $2 }'; }
# While in use, a replacement file keeps its first name.
only_ours() { is "$(awk 'NR > 1 { sub(/\.next$/, "", $1); print $1 }' /proc/swaps)" "$file" "$1"; }
# hog MEBIBYTES: holds this much in a cgroup of 64 MiB, the rest in swap.
hog() {
    systemd-run -q --unit hog -p Slice=user.slice -p MemoryMax=64M bash -c \
        "(tr '\0' x </dev/zero | head -c $1M; sleep 9999) | dd bs=$(($1 + 1))M count=1 iflag=fullblock of=/dev/null"
    eventually 180 "a process has $(($1 - 64)) MiB in swap" hog_swapped $(($1 - 70))
}
hog_swapped() { (($(<$cgroups/user.slice/hog.service/memory.swap.current) > $(mib "$1"))); }

provision 0 'no swap'
check "nothing is made unless configured" test ! -e "$file"

configure 'overcommit-percent = 130'
provision 0 'make a swapfile of .* at /var/lib/wasp-agent/swapfile'
only_ours "it is on"
expected=$(awk -v ram="$(meminfo_bytes MemTotal)" 'BEGIN { printf "%d", (ram * 30 / 100 + 4095) / 4096 }')
is $((($(meminfo_bytes SwapTotal) / 4096) + 1)) "$expected" "its size is RAM × (130 % − 1), in pages"
is "$(stat -c '%a %U' "$file")" "600 root" "only root may read it"
like "$(swaplabel "$file")" 'LABEL: wasp-agent' "util-linux reads its label"
like "$(blkid -p "$file")" 'TYPE="swap"' "and blkid its type"
first=$(uuid)
provision 0
is "$(uuid)" "$first" "again: it is left as it is"
swapoff "$file"
provision 0 'switch on'
is "$(uuid)" "$first" "off: it is switched on, not made again"
only_ours "once"

configure '[swap]' 'size = "200Mi"'
provision 0
is "$(swap_mib)" 200 "another size is applied"
hog 150
configure '[swap]' 'size = "400Mi"' 'priority = 77'
provision 0 'switch on .*next'
is "$(swap_mib)" 400 "it grows while pages are in it"
check "they still are" hog_swapped 60
is "$(awk 'NR > 1 { print $5 }' /proc/swaps)" 77 "with the configured priority"
only_ours "in one file"
is "$(find ${file%/*} -name "swapfile*" | wc -l)" 1 "the old one is gone"

configure '[swap]' 'size = "20Mi"'
provision 75 'cgroup user.slice/hog.service has .* in swap and no room for it'
is "$(swap_mib)" 400 "it does not shrink while its pages fit nowhere"
is "$(wasp-agent deprovision >/dev/null 2>&1; echo $?)" 1 "nor does it go"
is "$(swap_mib)" 400 "it is still on"
configure '[swap]' 'size = "160Mi"'
provision 0
is "$(swap_mib)" 160 "it shrinks as far as its pages fit"
check "the process lives" systemctl -q is-active hog
systemctl stop hog
configure '[swap]' 'size = "20Mi"'
provision 0
is "$(swap_mib)" 20 "and further when they are gone"

free=$(df --output=avail -B1 /var | tail -n 1) all=$(df --output=size -B1 /var | tail -n 1)
configure '[swap]' "size = \"$(((free - all / 10) >> 20))Mi\""
provision 75 'would leave .* free on its file system, less than the reserve'
is "$(swap_mib)" 20 "what is too much for the disk is not made; what is there stays on"
is "$(find ${file%/*} -type f | wc -l)" 2 "nothing is left behind"
check "deprovision" wasp-agent deprovision
is "$(swap_mib)" 0 "the swap is gone"
is "$(find ${file%/*} -type f)" "" "and its file"

configure '[swap]' "size = \"$(((free - all / 10) >> 20))Mi\""
provision 1 'would leave'
configure '[swap]' 'size = "20Mi"'
echo precious >"$file"
provision 1 'the agent did not make it'
is "$(<"$file")" precious "a foreign file is not overwritten"
rm "$file"
echo precious >/root/target
ln -s /root/target "$file"
provision 1 'symbolic link'
is "$(</root/target)" precious "nor what a link leads to"
rm "$file"
mkdir /root/real && ln -s real /root/way
configure '[swap]' 'size = "20Mi"' 'path = "/root/way/swapfile"'
provision 1 'symbolic link'
configure '[swap]' 'size = "20Mi"' 'path = "/run/swapfile"'
provision 1 'tmpfs lives in RAM'

configure '[swap]' 'size = "20Mi"' 'path = "/root/swapfile"'
provision 0
file=/root/swapfile
only_ours "another place"
configure '[swap]' 'size = "20Mi"'
provision 0
file=/var/lib/wasp-agent/swapfile
only_ours "configured elsewhere, it moves"
check "and leaves nothing where it was" test ! -e /root/swapfile

configure '[swap]' 'size = "20Mi"' 'kind = "zram"'
provision 0 'make a zram swap'
like "$(awk 'NR > 1' /proc/swaps)" '^/dev/zram[0-9]+ ' "zram instead of a file"
is "$(swap_mib)" 20 "of that size"
configure '[swap]' 'size = "40Mi"' 'kind = "zram"'
provision 0
is "$(swap_mib)" 40 "another size"
is "$(wc -l </proc/swaps)" 2 "one device"
check "deprovision" wasp-agent deprovision
is "$(wc -l </proc/swaps)" 1 "no swap is left"
