# The agent restores a limit immediately, whatever has changed it
# timeout: 300
. /payload/lib.sh
swap_on 1G
start_apiserver
pod granted --request 100Mi --limit 300Mi
pod denied --request 100Mi --limit 100Mi
start_agent
want=$(grant 100)
eventually 10 "the grant stands" has_limit granted "$want"
eventually 10 "the denial stands" has_limit denied 0
pid=$(agent_pid)

# after EVENT: both limits hold, now and in a second.
after() {
    eventually 5 "after $1 the grant stands" has_limit granted "${2:-$want}"
    eventually 5 "after $1 the denial stands" has_limit denied 0
}

of granted
levels=(scope)
[[ -z $child ]] || levels+=(child)
for level in "${levels[@]}"; do
    note "a hand-written 0 at the $level stood for $(drift granted "$level" 0) ms"
    note "a hand-written max at the $level stood for $(drift granted "$level" max) ms"
    note "a max of a denied container at the $level stood for $(drift denied "$level" max) ms"
done
after "hand-written values"

systemctl daemon-reload
after "systemctl daemon-reload"
systemctl daemon-reexec
after "systemctl daemon-reexec"

for arguments in "--cpu-share 512" "--pids-limit 100" "--memory $(mib 290)"; do
    for name in granted denied; do
        # shellcheck disable=SC2086
        [[ $name == denied && $arguments == --memory* ]] || test-kubelet update "$name" -- $arguments
    done
    after "$runtime update ${arguments% *}"
done

of granted
systemctl set-property --runtime "$unit" CPUWeight=50
of denied
systemctl set-property --runtime "$unit" CPUWeight=50
after "systemctl set-property of another property"
of granted
systemctl set-property --runtime "$unit" MemorySwapMax=1M
of denied
systemctl set-property --runtime "$unit" MemorySwapMax=infinity
after "systemctl set-property of the limit itself"

is "$(agent_pid)" "$pid" "the agent was not restarted"
