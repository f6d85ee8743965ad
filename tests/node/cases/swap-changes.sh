# Swap that is added or removed changes every grant
. /payload/lib.sh
start_apiserver
pod one --request 100Mi --limit 300Mi
pod two --request 200Mi
start_agent
note "STATUS: $(agent_status)"
check "with no swap, the grant is 0" limit_holds one 0
eventually 15 "and systemd is told" has_limit one 0
swap_on 512M
eventually 5 "swap is switched on: the grant is exact" has_limit one "$(grant 100)"
eventually 5 "the other one's too" has_limit two "$(grant 200)"
first=$(grant 100)
swap_on 256M /var/lib/second
check "a second swapfile makes grants larger" more_than "$(grant 100)" "$first"
eventually 5 "and they are exact" has_limit one "$(grant 100)"
swapoff /var/lib/second
is "$(grant 100)" "$first" "without it they are as before"
eventually 5 "and exact" has_limit one "$first"
eventually 5 "the other one's too" has_limit two "$(grant 200)"
swapoff /var/lib/swapfile
eventually 5 "all swap is switched off: the grant is 0" has_limit one 0
check "the service stays active" systemctl -q is-active wasp-agent
