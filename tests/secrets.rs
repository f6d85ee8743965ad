//! Keys and tokens appear in no log, no status, no metric, no error and no file.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use support::{Agent, FakeHost, MIB, NODE, api_server, container_id, pod, uid};

const KUBECONFIG: &str = "/var/lib/kubelet/kubeconfig";
const SECRET: &str = "b25seS10aGUtbm9kZS1tYXktaGF2ZS10aGlz";
const COMMANDS: [&[&str]; 6] = [
    &["check"],
    &["check", "--json"],
    &["check-config"],
    &["plan"],
    &["status"],
    &["status", "--json"],
];

/// A host whose agent uses as many kinds of output as possible.
fn host() -> FakeHost {
    let host = FakeHost::new(4096 * MIB, 2048 * MIB);
    host.write(
        "/etc/wasp-agent/wasp-agent.toml",
        "log.verbosity = 9\nmetrics.textfile = \"/run/wasp-agent/metrics.prom\"\n\
         node.name = \"node-a\"\n",
    );
    host
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// Returns the output of a running agent and of every command on `host`, and the content of its
/// files.
fn everything_said(host: &FakeHost, mut agent: Agent, last: &str) -> String {
    let mut said = agent.hears(last);
    for arguments in COMMANDS {
        let output = Agent::command(host, arguments).output().unwrap();
        said += &String::from_utf8_lossy(&output.stdout);
        said += &String::from_utf8_lossy(&output.stderr);
    }
    for path in files(&host.path("/run/wasp-agent")) {
        // Files that are not text are not ours; sockets cannot be opened.
        said += &fs::read_to_string(&path).unwrap_or_default();
    }
    said + &agent.stop().1
}

fn kubeconfig(server: &str, user: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: x\n\
         clusters: [{{name: c, cluster: {{server: \"{server}\"}}}}]\n\
         contexts: [{{name: x, context: {{cluster: c, user: u}}}}]\n\
         users:\n- name: u\n  user:{user}"
    )
}

#[test]
fn a_broken_kubeconfig_is_named_and_not_quoted() {
    let in_base64 = STANDARD.encode(format!("-----BEGIN PRIVATE KEY-----\n{SECRET}\n"));
    let broken = [
        format!("\n    token: {SECRET}\n   client-key: [\n"),
        format!("\n    token: [{SECRET}]\n"),
        format!(" {SECRET}\n"),
        format!("\n    token: \"{SECRET}\\u0001\"\n"),
        format!("\n    client-key-data: {SECRET}!\n    client-certificate-data: {SECRET}!\n"),
        format!("\n    client-key-data: {in_base64}\n    client-certificate-data: {in_base64}\n"),
    ];
    for user in broken {
        let host = host();
        host.write(KUBECONFIG, &kubeconfig("https://127.0.0.1:1", &user));
        // kubeadm's kubeconfig, in the place where OpenShift has the kubelet's configuration.
        host.write("/etc/kubernetes/kubelet.conf", &kubeconfig("https://127.0.0.1:1", &user));
        let agent = Agent::start(&host);
        let said = everything_said(&host, agent, "STATUS=no credentials for the API server");
        assert!(said.contains(KUBECONFIG) && !said.contains("panicked"), "{user}: {said}");
        assert!(!said.contains(SECRET) && !said.contains(&in_base64), "{user}: {said}");
    }
}

#[test]
fn a_token_that_is_not_answered_is_not_shown() {
    let host = host();
    host.write(KUBECONFIG, &kubeconfig("https://127.0.0.1:1", &format!("\n    token: {SECRET}\n")));
    let agent = Agent::start(&host);
    let said = everything_said(&host, agent, "STATUS=API server not reachable");
    assert!(said.contains("127.0.0.1:1"), "{said}");
    assert!(!said.contains(SECRET), "{said}");
}

#[test]
fn the_nodes_key_is_used_and_never_shown() {
    let ((_data, server), (_other_data, other)) = (api_server(), api_server());
    let certificate_and_key = |server: &test_apiserver::Handle| {
        let kubeconfig = server.node_kubeconfig(NODE).unwrap();
        let folder = kubeconfig.parent().unwrap().to_owned();
        let pem: String = files(&folder)
            .iter()
            .filter_map(|path| fs::read_to_string(path).ok())
            .filter(|text| text.contains("PRIVATE KEY"))
            .collect();
        (fs::read_to_string(kubeconfig).unwrap(), pem)
    };
    let (own, pem) = certificate_and_key(&server);
    let key: Vec<&str> = pem
        .split("-----")
        .skip_while(|part| !part.ends_with("PRIVATE KEY"))
        .nth(1)
        .unwrap()
        .lines()
        .filter(|line| line.len() > 40)
        .collect();
    assert!(!key.is_empty());

    let created = server.apply(&pod("vm", NODE, Some("100Mi"), None)).unwrap();
    // Its own API server, and one with a certificate of another authority.
    for (url, last) in
        [(server.url(), "STATUS=Swap"), (other.url(), "STATUS=API server not reachable")]
    {
        let host = host();
        host.container(uid(&created), &container_id(1), "main", "max");
        let text = own.replace(&server.url(), &url);
        host.write(KUBECONFIG, &text);
        let agent = Agent::start(&host);
        let said = everything_said(&host, agent, last);
        for line in &key {
            assert!(!said.contains(line), "{said}");
        }
    }
}
