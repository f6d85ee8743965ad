# A suspended pod's memory goes to swap and returns byte for byte, under runc
# suites: bookworm
# timeout: 600
TEST_RUNTIME=runc
. /payload/cases/suspend-crun.sh
