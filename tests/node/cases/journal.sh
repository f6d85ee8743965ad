# Every message has its ID and fields, and journalctl -x explains it; the hardened unit publishes metrics
# suites: bookworm
. /payload/lib.sh
journalctl --update-catalog
swap_on 1G
start_apiserver
mkdir -p /var/lib/node_exporter/textfile_collector
textfile=/var/lib/node_exporter/textfile_collector/wasp-agent.prom
pki=/var/lib/test-apiserver/pki
configure '[metrics]' "textfile = \"$textfile\"" 'listen = "127.0.0.1:9753"' \
    "certificate = \"$pki/server.pem\"" "key = \"$pki/server.pem\""
start_agent
pod one --request 100Mi --limit 300Mi
eventually 10 "the grant stands" has_limit one "$(grant 100)"
of one
echo max >"$scope/memory.swap.max"
eventually 10 "a changed limit is repaired" has_limit one "$(grant 100)"

# entries NAME: the agent's messages of this kind, as JSON; docs/journal.md has the IDs.
id_of() { awk -v RS= -v name="Subject: $1" 'index($0, name) { print $2; exit }' /usr/lib/systemd/catalog/wasp-agent.catalog; }
entries() { journalctl -q -u wasp-agent -o json MESSAGE_ID="$(id_of "$1")"; }
set=$(id_of "A swap limit was set")
like "$set" '^[0-9a-f]{32}$' "the catalog is installed, and has an ID for a limit that was set"
drift=$(entries "A swap limit was set" | jq -c 'select(.CAUSE == "drift" and .CONTAINER_ID != null)' | head -n 1)
note "$drift"
is "$(jq -r '[.POD_NAMESPACE, .POD_NAME, .CONTAINER_ID, .SWAP_MAX, .SWAP_MAX_BEFORE] | join(" ")' <<<"$drift")" \
    "default one $id $(grant 100) max" "it names pod, container, and both limits in fields"
like "$(jq -r .POD_UID <<<"$drift")" '^[0-9a-f-]{36}$' "and the pod's UID"
explained=$(journalctl -q -x -u wasp-agent MESSAGE_ID="$set" CAUSE=drift)
note "$(tr '\n' '~' <<<"$explained")"
like "$explained" 'Subject: A swap limit was set' "journalctl -x explains it"
like "$explained" "from max to $(grant 100)" "with the fields' values"
like "$explained" 'find the other writer' "and says what to do"
without=$(journalctl -q -u wasp-agent -o json _COMM=wasp-agent | jq -r 'select(.MESSAGE_ID == null) | .MESSAGE')
note "without an ID: $(head -n 3 <<<"$without")"
is "$(journalctl -q -o json _SYSTEMD_UNIT=wasp-agent.service _TRANSPORT=journal | jq -r 'select(.MESSAGE_ID == null) | .MESSAGE' | head -n 3)" "" \
    "no message of the agent lacks its ID"

cp "$config" /tmp/in-force.toml
configure 'nonsense = 1'
systemctl reload wasp-agent || true
refused() { [[ -n $(entries "New settings are rejected") ]]; }
eventually 10 "a refused reload has its own" refused
cp /tmp/in-force.toml "$config"

scrape() {
    perl -MIO::Socket::UNIX -e 'my $s = IO::Socket::UNIX->new("/run/wasp-agent/metrics.sock") or die "$!\n";
        print $s "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"; print <$s>'
}
repaired() { scrape | grep -q '^wasp_agent_limits_written_total{cause="drift"} [1-9]'; }
eventually 10 "the socket serves metrics, with the repair" repaired
note "$(scrape | grep -E '^wasp_agent_(pass_duration_seconds_(sum|count)|swap_granted_bytes|container_starts_total|memory_full)' | tr '\n' '~')"
is "$(stat -c '%a %U' /run/wasp-agent/metrics.sock)" "600 root" "to root"
# The first file may be older than the first measurement; the next follows within 15 s.
eventually 30 "metrics of the node are measured" bash -c '[[ $(grep -c "^wasp_agent_memory_full_stalled_seconds_total" '"$textfile"') == 2 ]]'
is "$(stat -c '%a' "$textfile")" 644 "node_exporter may read the file"
check "the port listens" bash -c 'ss -Hltn | grep -q 127.0.0.1:9753'
if command -v openssl >/dev/null; then
    like "$(printf 'GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n' | openssl s_client -quiet -connect 127.0.0.1:9753 2>/dev/null)" \
        'wasp_agent_build_info' "and answers by TLS"
fi
check "nothing of it is trouble" bash -c '! systemctl show -P StatusText wasp-agent | grep -E "metrics|textfile"'
systemctl stop wasp-agent
is "$(grep -v '^#' "$textfile" | cut -d ' ' -f 1)" wasp_agent_published_timestamp_seconds "stopped, it leaves no old values"
