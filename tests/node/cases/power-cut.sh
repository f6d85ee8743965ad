# If the power fails while swap is created or replaced, the next boot finishes it
# suites: bookworm
# boot: cold
# timeout: 480
. /payload/lib.sh
folder=/var/lib/wasp-agent file=$folder/swapfile
size() { configure '[swap]' "size = \"$1Mi\""; sync; }
# cut_in SYSCALL WHEN WORDS COMMAND...: cuts the power while the agent is stopped in the system
# call.
cut_in() {
    local syscall=$1 when=$2 sentence=$3
    strace -qq -f -o /run/trace -e trace="$syscall" -e inject="$syscall:delay_$when=60000000:when=1" wasp-agent provision >/dev/null 2>&1 &
    eventually 30 "the agent is $sentence" held
    pause 1
    note "before the cut: $(ls -s --block-size=1M $folder | tr '\n' ' '); $(awk 'NR > 1 { print $1, $3 }' /proc/swaps | tr '\n' ' ')"
    power_cut
}
# strace has stopped it.
held() { [[ $(ps -o stat= -C wasp-agent) == t* ]]; }
right() { # MEBIBYTES
    is "$(awk 'NR > 1 { print $1, $3 + 4 }' /proc/swaps)" "$file $(($1 * 1024))" "boot $BOOT: the next boot has swap of $1 MiB"
    is "$(find $folder -type f -printf '%f\n' | sort | tr '\n' ' ')" "provisioned.json swapfile " "and nothing else is there"
    check "wasp-swap is well" systemctl -q is-active wasp-swap
}
case $BOOT in
    1)
        systemctl -q enable wasp-swap
        size 100
        cut_in fallocate exit "reserving blocks"
        ;;
    2)
        right 100
        size 200
        cut_in linkat enter "about to give the new file its name"
        ;;
    3)
        right 200
        size 120
        cut_in swapon enter "about to switch on the new file"
        ;;
    4)
        right 120
        size 180
        cut_in swapoff exit "done with switching off the old file"
        ;;
    5)
        right 180
        size 220
        swapoff -a
        cut_in unlink exit "done with removing the file that was off"
        ;;
    6)
        right 220
        ;;
esac
