# Whatever undoes a limit, it is right again at once, under runc
# suites: bookworm
# timeout: 300
TEST_RUNTIME=runc
. /payload/cases/repairs-crun.sh
