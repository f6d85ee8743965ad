# In kubelet mode the agent keeps the kubelet's limits, verifies and repairs them, under runc
# suites: bookworm
# timeout: 600
TEST_RUNTIME=runc
. /payload/cases/kubelet-grants-crun.sh
