# The agent as a service: readiness, reload, stop, and status
. /payload/lib.sh
swap_on 1G
start_apiserver
pod one --request 100Mi --limit 300Mi
pod two

check "systemd-analyze verify has nothing to say" bash -c '! systemd-analyze verify --man=no wasp-agent.service 2>&1 | grep -v "^$" | grep -i wasp'
is "$(systemctl show -P Type wasp-agent)" notify "it is Type=notify"
start_agent
check "when the service is ready, limits are right" limit_holds one "$(page "$(grant 100)")"
eventually 15 "and systemd is told" has_limit one "$(grant 100)"
note "STATUS: $(agent_status)"
eventually 5 "STATUS is a sentence" status_says '[a-z]+ .*[a-z]+ '
eventually 5 "with a number in it" status_says '[0-9]'
check "status sentence shows up in systemctl status" bash -c 'systemctl status wasp-agent | grep -q Status:'
pid=$(agent_pid)

fields=$(journalctl -q -u wasp-agent -o json | jq -r 'keys[]' | sort -u)
note "journal fields: $(grep -vE '^_|^__' <<<"$fields" | tr '\n' ' ')"
like "$fields" 'MESSAGE_ID' "journal entries carry MESSAGE_ID"
like "$fields" '(^|[^_A-Z])[A-Z]*CONTAINER[A-Z_]*' "journal entries name the container in a field"
# The agent reports this node's missing features, which are no problems of the agent.
lacks='io.latency has no effect|the kubelet evicts below|^WARN (io-latency|swap-devices|swap-encryption|swap-disk|watermarks): '
is "$(journalctl -q -u wasp-agent -p warning -o cat | grep -vE "$lacks" | head -n 5)" "" "nothing went wrong"

check "plan --json is JSON" bash -c 'wasp-agent plan --json | jq -e .'
check "plan names the pod" bash -c 'wasp-agent plan | grep -q one'
note "$(wasp-agent plan 2>&1 | head -n 6 | tr '\n' '~')"

configure '[limits]' 'policy = "none"'
check "a good configuration passes its check" wasp-agent check-config
systemctl reload wasp-agent
eventually 10 "reload: a new configuration is followed" has_limit one 0
is "$(agent_pid)" "$pid" "without a restart"
configure '[limits]' 'policy = "nonsense"'
check "a bad configuration does not pass its check" bash -c '! wasp-agent check-config'
systemctl reload wasp-agent || note "systemctl reload fails"
eventually 10 "a bad one is refused, with its file and key" bash -c 'journalctl -q -u wasp-agent -o cat | grep -E "90-case.toml" | grep -q policy'
check "the old one stays in effect" has_limit one 0
check "the service stays active" systemctl -q is-active wasp-agent
rm "$config"
systemctl reload wasp-agent
eventually 10 "without it the default is back" has_limit one "$(grant 100)"
is "$(agent_pid)" "$pid" "still the same process"

systemctl stop wasp-agent
is "$(systemctl show -P Result wasp-agent)" success "it stops cleanly"
check "limits stay in place" has_limit one "$(grant 100)"
check "denials too" has_limit two 0
configure 'nonsense = 1'
check "it does not start with a bad configuration" bash -c '! systemctl start wasp-agent'
