# Whatever undoes a limit, it is right again at once, under runc
# timeout: 300
TEST_RUNTIME=runc
. /payload/cases/repairs-crun.sh
