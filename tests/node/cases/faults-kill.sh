# An agent that is killed or fails at any place leaves nothing incomplete, and the next one repairs the rest
# suites: bookworm
# timeout: 900
# failpoints: yes
. /payload/lib.sh
file=/var/lib/wasp-agent/swapfile
check "this agent has failpoints" grep -q FAILPOINTS /usr/bin/wasp-agent

# fail PLACE TURN FAULT COMMAND...: sets its exit status
fail() {
    local status=0 turn=''
    (($2 == 0)) || turn="$2*off->"
    FAILPOINTS="$1=${turn}1*return($3)" "${@:4}" >/run/said 2>&1 || status=$?
    echo $status
}
swap_bytes() { awk 'NR > 1 { sum += $3 } END { print sum * 1024 + 4096 }' /proc/swaps; }
# Every swapfile that is on, or at its path, is complete and the agent's.
whole() {
    local path
    for path in $(awk 'NR > 1 { print $1 }' /proc/swaps) $(find ${file%/*} -name 'swapfile*'); do
        [[ ! -e $path || $(swaplabel "$path") == *wasp-agent* ]] || { echo "$path is not whole"; return 1; }
    done
}

# configured MEBIBYTES
configured() { configure '[swap]' "size = \"$1Mi\"" '[kernel]' 'align-watermarks = true'; }
# died_at PLACE MEBIBYTES_BEFORE MEBIBYTES: kills at each turn, until a run completes
died_at() {
    local turn place=$1 before=$2 wanted=$3 found
    for ((turn = 0; turn < 20; turn++)); do
        wasp-agent deprovision >/dev/null 2>&1
        if ((before)); then
            configured "$before"
            wasp-agent provision >/dev/null 2>&1
        fi
        configured "$wanted"
        [[ $(fail "$place" $turn kill wasp-agent provision) == 137 ]] || return 0
        died=$((died + 1))
        whole || report "not ok" "killed at $place, turn $turn: all is whole"
        wasp-agent provision >/run/said 2>&1 || note "$(</run/said)"
        # While it is on, a replacement file keeps its first name.
        found="$(swap_bytes) $(find ${file%/*} -type f -printf '%f\n' | sed 's/\.next$//' | sort | paste -sd ' ')"
        [[ $found == "$(mib "$wanted") provisioned.json swapfile" ]] ||
            report "not ok" "killed at $place, turn $turn, and fixed: $found"
    done
}
for place in swap.step swap.stepped swapfile.filled swapfile.link swapfile.linked file.open file.rename file.renamed \
    tunable.write tunable.written; do
    died=0
    died_at $place 0 20
    [[ $place != swap.* ]] || died_at $place 20 40
    check "killed at $place $died times, it leaves what is whole, and the next run fixes it" more_than $died 0
done

for place in swapfile.filled swapfile.link file.open tunable.write swap.step; do
    for fault in ENOSPC EIO; do
        wasp-agent deprovision >/dev/null 2>&1
        configured 20
        [[ $(fail $place 0 $fault wasp-agent provision) == 1 ]] || report "not ok" "$fault at $place is an error: $(</run/said)"
        whole || report "not ok" "$fault at $place: all is whole"
        [[ -n $(</run/said) ]] || report "not ok" "$fault at $place is said"
        wasp-agent provision >/run/said 2>&1 || report "not ok" "after $fault at $place: $(</run/said)"
    done
    report ok "a disk that is full or broken at $place is an error, and nothing worse"
done

start_apiserver
pod one --request 100Mi --limit 300Mi
of one
protected() { [[ $(systemctl show -P MemorySwapMax system.slice) == 0 ]]; }
for place in bus.set bus.was-set; do
    for ((turn = 0; turn < 8; turn++)); do
        systemctl stop wasp-agent
        systemctl reset-failed wasp-agent 2>/dev/null || true
        wasp-agent unprotect >/dev/null 2>&1
        systemctl set-property --runtime "$unit" MemorySwapMax=infinity
        systemctl set-environment FAILPOINTS="$place=$( ((turn == 0)) || echo "$turn*off->")1*return(kill)"
        systemctl start wasp-agent 2>/dev/null || true
        systemctl unset-environment FAILPOINTS
        for ((wait = 0; wait < 100; wait++)); do
            if systemctl -q is-active wasp-agent && has_limit one "$(grant 100)" >/dev/null && protected; then break; fi
            pause 0.1
        done
        ((wait < 100)) || report "not ok" "killed at $place, turn $turn, and fixed: $(swap_max one), system.slice $(systemctl show -P MemorySwapMax system.slice)"
        (($(systemctl show -P NRestarts wasp-agent) > 0)) || break
    done
    check "killed at $place $turn times, the agent that systemd starts again sets every limit and protects the slice" more_than $turn 0
done
