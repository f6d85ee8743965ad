# A container's first program finds its limit set, with the agent and without it, under runc
# suites: bookworm
# timeout: 900
TEST_RUNTIME=runc
. /payload/cases/hook-crun.sh
