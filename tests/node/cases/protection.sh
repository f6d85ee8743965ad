# system.slice cannot swap, and the agent repairs this when another program changes it
. /payload/lib.sh
swap_on 512M
start_apiserver
slice=$cgroups/system.slice
unprotected=$(systemctl show -P MemorySwapMax system.slice)
note "before: memory.swap.max $(<$slice/memory.swap.max), MemorySwapMax $unprotected"
start_agent
is "$(<$slice/memory.swap.max)" 0 "when the service is ready, system.slice has no swap"
is "$(systemctl show -P MemorySwapMax system.slice)" 0 "and systemd holds that"
eventually 5 "a kernel without io.latency is reported" \
    status_says 'system.slice is not fully protected: io.latency has no effect: this kernel does not support it'
no_swap() { [[ $(<$slice/memory.swap.max) == 0 ]]; }
systemctl daemon-reload
throughout 2 "daemon-reload: still none" no_swap
systemctl daemon-reexec
throughout 2 "daemon-reexec: still none" no_swap
echo max >$slice/memory.swap.max
eventually 5 "changed manually: repaired" no_swap
systemctl set-property --runtime system.slice MemorySwapMax=1G
eventually 5 "changed through systemd: repaired" no_swap
eventually 5 "for systemd too" bash -c '[[ $(systemctl show -P MemorySwapMax system.slice) == 0 ]]'
like "$(agent_journal)" 'another program changed the protection of system.slice' "and logged"

# The same process, in a slice that may swap and in this one.
hog() { # NAME SLICE
    systemd-run -q --unit "$1" -p Slice="$2" -p MemoryHigh=64M bash -c \
        "(tr '\0' x </dev/zero | head -c 80M; sleep 9999) | dd bs=81M count=1 iflag=fullblock of=/dev/null"
}
hog swaps user.slice
eventually 150 "a process elsewhere swaps" bash -c "((\$(<$cgroups/user.slice/swaps.service/memory.swap.current) > 8 << 20))"
systemctl stop swaps
hog stays system.slice
eventually 60 "the same process in system.slice is reclaimed from" bash -c "awk '\$1 == \"high\" && \$2 > 50 { found = 1 } END { exit !found }' $slice/stays.service/memory.events"
is "$(<$slice/stays.service/memory.swap.current)" 0 "and has nothing in swap"
systemctl stop stays

configure '[protection]' 'protected-slices = ["system.slice", "user.slice"]'
systemctl reload wasp-agent
eventually 10 "a slice that is added is protected" bash -c "[[ \$(<$cgroups/user.slice/memory.swap.max) == 0 ]]"
systemctl stop wasp-agent
is "$(<$slice/memory.swap.max)" 0 "the agent gone, protection stays"
check "unprotect" wasp-agent unprotect
eventually 5 "puts back what was there" bash -c "[[ \$(<$slice/memory.swap.max) == max && \$(<$cgroups/user.slice/memory.swap.max) == max ]]"
is "$(systemctl show -P MemorySwapMax system.slice)" "$unprotected" "for systemd too"
