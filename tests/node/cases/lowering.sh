# The agent lowers a limit to a grant below use in steps, and no container dies
# suites: bookworm
# timeout: 300
. /payload/lib.sh
swap_on 1G
swap_on 1G /var/lib/second
start_apiserver
start_agent
# The hog frees its memory when told to.
pod hog --request 90Mi --limit 100Mi --command '
    dd if=/dev/zero of=/tmp/a bs=1M count=40; dd if=/dev/zero of=/tmp/b bs=1M count=100
    while [ ! -e /tmp/less ]; do sleep 1; done; rm /tmp/a /tmp/b; exec sleep 100000'
swaps() { more_than "$(swap_used hog)" "$(mib 38)"; }
eventually 90 "the hog uses swap" swaps
before=$(grant 90)
eventually 5 "its grant is exact" has_limit hog "$before"

swapoff /var/lib/second
lower=$(grant 90)
check "half the swap, half the grant" more_than "$before" "$((lower * 19 / 10))"
follows() {
    local limit used
    of hog
    limit=$(<"$scope/memory.swap.max") used=$(<"$scope/memory.swap.current")
    note "limit $limit, use $used, grant $lower"
    ((limit < $(page "$before") && (limit == $(page "$lower") || limit >= used)))
}
eventually 10 "the limit goes down, never below what is used" follows
throughout 6 "and stays between use and the old grant" follows
check "the hog lives" lives hog
is "$(oom_kills hog)" 0 "nothing of it was killed"

of hog
: >"/proc/$(head -n 1 "${child:-$scope}/cgroup.procs")/root/tmp/less"
eventually 30 "when it uses less, the limit is the new grant" has_limit hog "$lower"
check "the hog lives" lives hog
is "$(oom_kills hog)" 0 "nothing of it was killed"
