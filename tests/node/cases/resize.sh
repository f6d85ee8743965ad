# A container that is resized in place gets the share of its new request
# suites: bookworm
. /payload/lib.sh
swap_on 1G
start_apiserver
start_agent
for runtime in crun runc; do
    pod sized-$runtime --request 100Mi --limit 300Mi
    eventually 5 "$runtime: the grant stands" has_limit sized-$runtime "$(grant 100)"
    if ! refusal=$(test-kubelet resize sized-$runtime --request 150Mi 2>&1); then
        [[ $refusal != *404* ]] || skip "the test API server has no pods/resize"
        echo "$refusal"
        false
    fi
    eventually 5 "$runtime: after a resize of the request, the grant is the new request's" has_limit sized-$runtime "$(grant 150)"
    test-kubelet resize sized-$runtime --limit 320Mi
    eventually 5 "$runtime: after a resize of the memory limit, it is the same" has_limit sized-$runtime "$(grant 150)"
    test-kubelet resize sized-$runtime --request 320Mi
    eventually 5 "$runtime: with a request equal to the limit, it is 0" has_limit sized-$runtime 0
done
