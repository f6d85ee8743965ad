# hook on trixie, runc
# suites: trixie
# timeout: 600
TEST_RUNTIME=runc
. /payload/cases/hook-crun.sh
