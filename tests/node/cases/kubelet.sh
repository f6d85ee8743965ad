# The agent reads the kubelet's configuration from its process, from systemd, and from its unit's files
# suites: bookworm
# timeout: 600
. /payload/lib.sh

# finds ID: LEVEL: the finding of `wasp-agent check`
finds() { { wasp-agent check --json || true; } | jq -r --arg id "$1" '.checks[] | select(.id == $id) | "\(.level): \(.found)"'; }
unit=/etc/systemd/system/kubelet.service
head='apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n'

like "$(finds kubelet-config)" '^skip: no kubelet runs' "without a kubelet there is none"

# A program with the name kubelet that does nothing.
cat >/usr/local/bin/kubelet <<'END'
#!/bin/bash
# No program writes to it.
read -r <>/run/kubelet.fifo
END
chmod +x /usr/local/bin/kubelet
mkfifo /run/kubelet.fifo
mkdir -p /srv/kubelet.d/sub
printf "${head}failSwapOn: true\n" >/srv/kubelet.yaml
echo 'ARGS="--config=/srv/kubelet.yaml --fail-swap-on=false"' >/srv/kubelet.env
cat >$unit <<'END'
[Service]
EnvironmentFile=-/srv/kubelet.env
ExecStart=/usr/local/bin/kubelet $ARGS
END
systemctl daemon-reload
like "$(finds kubelet-fail-swap-on)" '^ok: false \(a flag of kubelet.service\)' "a flag of the environment file counts"

mkdir -p $unit.d
printf '[Service]\nEnvironment=MORE=--config-dir=/srv/kubelet.d\nExecStart=\nExecStart=/usr/local/bin/kubelet --config=/srv/kubelet.yaml ${MORE}\n' >$unit.d/10-more.conf
systemctl daemon-reload
like "$(finds kubelet-fail-swap-on)" ': .*failSwapOn is true \(/srv/kubelet.yaml\)' "a drop-in of the unit counts"
printf "${head}failSwapOn: false\n" >/srv/kubelet.d/sub/50-swap.conf
like "$(finds kubelet-fail-swap-on)" '^ok: false \(/srv/kubelet.d/sub/50-swap.conf\)' "a drop-in in a sub-folder counts"

systemctl start kubelet
rm -r $unit.d
systemctl daemon-reload
like "$(finds kubelet-config)" "flags of the running kubelet \\(process $(systemctl show -P MainPID kubelet)\\)" "the flags are those of the running kubelet"
like "$(finds kubelet-fail-swap-on)" '^ok: false \(/srv/kubelet.d/sub/50-swap.conf\)' "not what its unit would give it now"

configure '[swap]' 'size = "100Mi"'
rm -r /srv/kubelet.d/sub
status=0
said=$(wasp-agent provision 2>&1) || status=$?
is "$status" 69 "provision refuses where the file says failSwapOn: true and the running kubelet has no flag"
like "$said" 'failSwapOn is true \(/srv/kubelet.yaml\)' "and names the file"
systemctl stop kubelet
rm /srv/kubelet.yaml
status=0
said=$(wasp-agent provision 2>&1) || status=$?
is "$status" 69 "and where the file is missing"
like "$said" '/srv/kubelet.yaml does not exist \(kubelet.service names it\)' "which it names"
printf "$head" >/srv/kubelet.yaml
check "with the flag of its unit there is swap" wasp-agent provision
is $((($(meminfo_bytes SwapTotal) + 4096) >> 20)) 100 "of the size that is configured"
wasp-agent deprovision 2>/dev/null

# An empty file would mask the unit.
echo "[Service]" >/etc/systemd/system/swap-disk-enable.service
status=0
said=$(wasp-agent provision 2>&1) || status=$?
is "$status" 75 "beside OpenShift's own swap none is made"
like "$said" 'swap-disk-enable.service switches on the partition' "whose unit is named with what it does"
is "$(meminfo_bytes SwapTotal)" 0 "no swap is on"
