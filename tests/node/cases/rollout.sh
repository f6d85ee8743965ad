# An image with the package and the rendered Ignition boots with swap, protection, hook and agent before the kubelet
# suites: bookworm
# boot: cold
# package: yes
# timeout: 1200
. /payload/lib.sh
file=/var/lib/wasp-agent/swapfile
package=/payload/rpm/1.rpm

# Does the machine config operator's work with a MachineConfig's spec.config.
apply_ignition() {
    local path mode source name
    while IFS=$'\t' read -r path mode source; do
        mkdir -p "${path%/*}"
        source=${source#data:,}
        printf '%b' "${source//%/\\x}" >"$path"
        chmod "$(printf %o "$mode")" "$path"
    done < <(jq -r '.storage.files[] | [.path, .mode, .contents.source] | @tsv' "$1")
    for name in $(jq -r '.systemd.units[].name' "$1"); do
        if jq -e --arg name "$name" '.systemd.units[] | select(.name == $name) | .contents' "$1" >/dev/null; then
            jq -j --arg name "$name" '.systemd.units[] | select(.name == $name) | .contents' "$1" >"/etc/systemd/system/$name"
        fi
        systemctl -q enable "$name"
    done
}

right() { # FOLDER OF THE PROGRAMS
    eventually 120 "boot $BOOT: the kubelet runs" systemctl -q is-active kubelet
    is "$(</run/kubelet-saw)" "swap=$file slice=0 agent=active hook=$1/wasp-hook" "when it started it found swap, protection, hook and agent"
    is "$(readlink "/proc/$(agent_pid)/exe")" "$1/wasp-agent" "the agent is the one in $1"
    is "$(stat -c %s $file)" "$(mib 300)" "the swapfile has the size of the MachineConfig"
    is "$(systemctl --failed --plain --no-legend | grep -E 'wasp|kubelet')" "" "no unit has failed"
}

case $BOOT in
    1)
        check "the image has the package" transaction -i $package
        echo 'grants = "agent"' >/root/more.toml
        wasp-agent manifests --openshift 4.21 --config /root/more.toml --install present --swap-size 300Mi --out /root/rendered
        apply_ignition /root/rendered/worker.ign
        # As on OpenShift 4.21 and later: only the drop-in allows swap on the node.
        mkdir -p /etc/kubernetes
        printf '%s\n' 'apiVersion: kubelet.config.k8s.io/v1beta1' 'kind: KubeletConfiguration' 'failSwapOn: true' >/etc/kubernetes/kubelet.conf
        cat >/usr/local/bin/kubelet <<'KUBELET'
#!/bin/bash
echo "swap=$(awk 'NR > 1 { print $1 }' /proc/swaps) slice=$(cat /sys/fs/cgroup/system.slice/memory.swap.max) agent=$(systemctl is-active wasp-agent) hook=$(jq -r .hook.path /run/containers/oci/hooks.d/99-wasp-agent.json)" >/run/kubelet-saw
KUBELET
        chmod +x /usr/local/bin/kubelet
        cat >/etc/systemd/system/kubelet.service <<'UNIT'
[Unit]
Description=A kubelet that looks around
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/bin/kubelet --config=/etc/kubernetes/kubelet.conf --config-dir=/etc/openshift/kubelet.conf.d
[Install]
WantedBy=multi-user.target
UNIT
        systemctl -q enable kubelet
        reboot_node
        ;;
    2)
        right /usr/bin
        reboot_node
        ;;
    3)
        right /usr/bin
        # Now an image without the package, which a mirror provides at boot.
        check "the package goes, and its unused swap with it" transaction -e wasp-agent
        check "it does" test ! -e $file
        systemctl -q stop kubelet
        cat >/etc/systemd/system/mirror.socket <<'UNIT'
[Socket]
ListenStream=127.0.0.1:8000
Accept=yes
[Install]
WantedBy=sockets.target
UNIT
        cat >/etc/systemd/system/mirror@.service <<'UNIT'
[Service]
StandardInput=socket
ExecStart=/bin/bash -c 'while read -r line && [[ $line != $$\'\\r\' ]]; do :; done; echo asked >>/root/asked; printf "HTTP/1.0 200 OK\\r\\n\\r\\n"; cat /payload/rpm/1.rpm'
UNIT
        systemctl -q enable mirror.socket
        # The kernel has SELinux, the node no policy: record the files that restorecon would label.
        printf '%s\n' '#!/bin/sh' 'echo "$@" >>/root/labelled' >/usr/local/sbin/restorecon
        chmod +x /usr/local/sbin/restorecon
        /payload/root/usr/bin/wasp-agent manifests --openshift 4.21 --config /root/more.toml --install first-boot --swap-size 300Mi --out /root/rendered \
            --rpm-url http://127.0.0.1:8000/wasp-agent.rpm --rpm-sha256 "$(sha256sum <$package | cut -d ' ' -f 1)"
        rm -rf /etc/wasp-agent
        apply_ignition /root/rendered/worker.ign
        reboot_node
        ;;
    4)
        right /usr/local/bin
        check "nothing is in /usr/bin" test ! -e /usr/bin/wasp-agent
        is "$(wc -l </root/asked)" 1 "the mirror was asked once"
        if [[ -e /sys/fs/selinux/enforce ]]; then
            is "$(tr '\n' ' ' </root/labelled)" "-F /usr/local/bin/wasp-hook -F /usr/local/bin/wasp-agent " "and the programs were labelled"
        fi
        # A newer MachineConfig with a package of another checksum.
        sed -i -E 's/^(ExecStart=.*) [0-9a-f]{64}$/\1 0000000000000000000000000000000000000000000000000000000000000000/' /etc/systemd/system/wasp-agent-install.service
        reboot_node
        ;;
    5)
        right_but_for_the_package() { [[ $(</run/kubelet-saw) == "swap=$file slice=0 agent=active hook=/usr/local/bin/wasp-hook" ]]; }
        eventually 120 "boot $BOOT: a package of another checksum is not installed, and what was there runs" right_but_for_the_package
        like "$(journalctl -q -u wasp-agent-install -o cat)" 'FAILED' "which the journal says"
        is "$(find /var/lib/wasp-agent -name 'install.*')" "" "and leaves nothing"
        ;;
esac
