# If the agent is killed at any place of a suspend or resume, its successor leaves no pod half frozen
# suites: bookworm
# timeout: 600
# failpoints: yes
. /payload/lib.sh
check "this agent has failpoints" grep -q FAILPOINTS /usr/bin/wasp-agent
swap_on 1G
start_apiserver
start_agent
pod one --request 100Mi --limit 300Mi --hog 30
eventually 20 "it has its grant" has_limit one "$(grant 100)"
frozen() { cgroup_is one 'frozen 1'; }
listed() { wasp-agent suspended --json | jq -e 'length > 0' >/dev/null; }
# The pod is either suspended and listed, or runs and is not listed.
consistent() {
    systemctl -q is-active wasp-agent && wasp-agent suspended >/dev/null 2>&1 || return 1
    if frozen; then listed; else ! listed; fi
}
with() { # FAILPOINTS
    systemctl stop wasp-agent
    systemctl reset-failed wasp-agent 2>/dev/null || true
    systemctl set-environment FAILPOINTS="$1"
    systemctl start wasp-agent
    # The next agent survives.
    systemctl unset-environment FAILPOINTS
}
ready() { wasp-agent suspend default/one --dry-run; }

for place in freeze.ask freeze.frozen reclaim.step; do
    with "$place=1*return(kill)"
    eventually 60 "the agent is ready to die at $place" ready
    wasp-agent suspend default/one >/run/said 2>&1 || true
    eventually 60 "killed at $place, its successor knows what is" consistent
    runs() { ! frozen; }
    eventually 20 "a pod that was not suspended yet runs" runs
    check "and lives" lives one
done
with 'freeze.frozen=1*return(EIO)'
eventually 60 "an agent whose freezing fails" ready
like "$(wasp-agent suspend default/one 2>&1 || true)" "cannot freeze" "says so"
eventually 20 "and lets the pod run" runs
with 'thaw.write=1*return(kill)'
eventually 60 "the agent is ready to die at thaw.write" ready
check "the pod is suspended" wasp-agent suspend default/one
wasp-agent resume default/one >/run/said 2>&1 || true
eventually 60 "killed at thaw.write, its successor knows what is" consistent
wasp-agent resume default/one >/run/said 2>&1 || true
eventually 20 "and resumes it" runs
with 'thaw.write=1*return(EIO)'
eventually 60 "an agent whose first thaw fails" ready
check "the pod is suspended" wasp-agent suspend default/one
like "$(wasp-agent resume default/one 2>&1 || true)" "cannot thaw" "says so"
eventually 20 "and tries again by itself" runs
eventually 20 "the pod is not suspended any more" consistent
# A state file that cannot be read.
check "the pod is suspended" wasp-agent suspend default/one
kill -STOP "$(agent_pid)"
echo nonsense >/run/wasp-agent/suspended.json
kill -KILL "$(agent_pid)"
eventually 60 "a state that makes no sense gets everything thawed" runs
check "nothing was killed" lives one
