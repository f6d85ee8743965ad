# A program that keeps changing a limit does not make the agent busy
# suites: bookworm
. /payload/lib.sh
swap_on 1G
start_apiserver
start_agent
pod fought --request 100Mi --limit 300Mi
pod bystander --request 50Mi
eventually 5 "the grant stands" has_limit fought "$(grant 100)"
of fought
cgroup=$cgroups$(systemctl show -P ControlGroup wasp-agent)
usage_ms() { awk '$1 == "usage_usec" { print int($2 / 1000) }' "$cgroup/cpu.stat"; }
before=$(usage_ms)
end=$(($(now_ms) + 10000)) writes=0
while (($(now_ms) < end)); do
    echo 0 >"$scope/memory.swap.max"
    echo 0 >"${child:-$scope}/memory.swap.max"
    writes=$((writes + 1))
    pause 0.05
done
used=$(($(usage_ms) - before))
note "$writes rounds in 10 s cost the agent $used ms of CPU"
check "that is less than a fifth of the time" more_than 2000 $used
eventually 10 "after the fight, the limit is right" has_limit fought "$(grant 100)"
log=$(agent_journal)
is "$(grep -c 'another writer' <<<"$log")" 1 "the journal says so once"
repairs=$(sed '1,/another writer/d' <<<"$log" | grep -c 'set memory.swap.max' || true)
note "after that, $repairs repairs were logged one by one"
check "the repairs of a known fight do not fill the journal" more_than 5 "$repairs"
check "others are not neglected" has_limit bystander "$(grant 50)"
