# A Burstable container gets its share of swap, to the byte, under runc
TEST_RUNTIME=runc
. /payload/cases/grants-crun.sh
