# Where the kubelet grants, its limits are left, proven and repaired, under runc
# suites: bookworm
# timeout: 600
TEST_RUNTIME=runc
. /payload/cases/kubelet-grants-crun.sh
