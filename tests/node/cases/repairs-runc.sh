# The agent restores a limit immediately, whatever has changed it, under runc
# suites: bookworm
# timeout: 300
TEST_RUNTIME=runc
. /payload/cases/repairs-crun.sh
