# Suspended pods do not delay a node's shutdown, and none is suspended after the boot
# suites: bookworm
# boot: cold
# timeout: 420
. /payload/lib.sh
case $BOOT in
    1)
        swap_on 512M
        start_apiserver
        start_agent
        # Records that it received the signal to stop.
        mkdir -p /var/lib/work
        pod polite --request 100Mi --limit 300Mi --annotation test-kubelet/memory-dir=/var/lib/work \
            --command 'trap "echo told >/run/told; exit 0" TERM; while :; do sleep 1; done'
        eventually 20 "it has its grant" has_limit polite "$(grant 100)"
        pause 2
        check "it is suspended" wasp-agent suspend default/polite
        systemctl enable wasp-agent 2>/dev/null
        cut -d . -f 1 /proc/uptime >/root/uptime
        date +%s >/root/stopped
        sync
        reboot_node
        ;;
    2)
        note "$(($(date +%s) - $(</root/stopped))) s from the reboot to this line"
        check "the suspended pod was told to stop" test -e /var/lib/work/told
        check "the node was not kept from rebooting" more_than 150 $(($(date +%s) - $(</root/stopped)))
        check "no pod is recorded as suspended" test ! -e /run/wasp-agent/suspended.json
        ;;
esac
