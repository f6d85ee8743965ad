# The kubelet's certificate rotates while the agent runs
# suites: bookworm
. /payload/lib.sh
swap_on 1G
start_apiserver
start_agent
pod before --request 100Mi --limit 300Mi
eventually 5 "a grant stands" has_limit before "$(grant 100)"
pid=$(agent_pid)

rotate_certificate
note "the certificate is new, and the server refuses the old one"
pod after --request 50Mi --limit 300Mi
eventually 10 "a pod that is created afterwards gets its grant" has_limit after "$(grant 50)"

# An open watch may live on; a new connection needs the new certificate.
systemctl restart test-apiserver
eventually 20 "the API server is back" apiserver_answers
pod later --request 60Mi --limit 300Mi
eventually 30 "so does one after the server has dropped every connection" has_limit later "$(grant 60)"
check "the first grant stands" has_limit before "$(grant 100)"
is "$(agent_pid)" "$pid" "the agent was not restarted"
