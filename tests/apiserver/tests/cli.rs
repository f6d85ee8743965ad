//! Runs the binary, as shell tests do.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};

fn command(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_test-apiserver"));
    command.arg("--data").arg(data);
    command
}

/// A server that ends with the test, and its URL.
struct Server(Child, String);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn serve(data: &Path, listen: &str) -> Server {
    let mut child = command(data)
        .args(["serve", "--listen", listen, "--node", "node-a", "--bookmark-interval", "1s"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let url = line.trim().strip_prefix("READY ").expect("a READY line").to_owned();
    Server(child, url)
}

fn run(data: &Path, args: &[&str], input: &str) -> Output {
    let mut child = command(data)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn json_of(data: &Path, args: &[&str], input: &str) -> Value {
    let output = run(data, args, input);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

const POD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: one, namespace: prod}
spec:
  nodeName: node-a
  containers: [{name: main, image: x, resources: {requests: {memory: 1Gi}}}]
status: {phase: Running}
---
apiVersion: v1
kind: Pod
metadata: {name: two, namespace: prod}
spec: {containers: [{name: main, image: x}]}
";

#[test]
fn a_small_kubectl() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path();
    let server = serve(data, "127.0.0.1:0");
    run(data, &["create", "-f", "-"], POD);
    let own = json_of(data, &["get", "pods", "--field-selector", "spec.nodeName=node-a"], "");
    assert_eq!(own["items"].as_array().unwrap().len(), 1);
    let phase = run(data, &["get", "pod", "one", "-n", "prod", "--pointer", "/status/phase"], "");
    assert_eq!(phase.stdout, b"Running\n");
    let again = run(data, &["create", "-f", "-"], POD);
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&again.stderr).contains("already exists"));
    assert!(run(data, &["apply", "-f", "-"], POD).status.success());
    let failed = r#"{"status": {"phase": "Failed"}}"#;
    let patch = ["patch", "pod", "one", "-n", "prod", "--subresource", "status", "-p", failed];
    assert_eq!(json_of(data, &patch, "")["status"]["phase"], "Failed");
    let more = r#"{"spec": {"containers": [{"name": "main", "resources":
        {"requests": {"memory": "2Gi"}}}]}}"#;
    let resize = ["patch", "pods", "one", "-n", "prod", "--subresource", "resize", "-p", more];
    assert_eq!(
        json_of(data, &resize, "")["spec"]["containers"][0]["resources"]["requests"]["memory"],
        "2Gi"
    );
    json_of(data, &["delete", "pod", "one", "-n", "prod", "--grace", "0"], "");
    let gone = run(data, &["get", "pod", "one", "-n", "prod"], "");
    assert!(String::from_utf8_lossy(&gone.stderr).contains("404: pods \"one\" not found"));
    json_of(data, &["fault", r#"{"resource": "nodes", "code": 503, "times": 1}"#], "");
    assert!(!run(data, &["get", "nodes"], "").status.success());
    assert!(run(data, &["get", "nodes"], "").status.success());
    let before = std::fs::read_link(data.join("pki/node-a/kubelet-client-current.pem")).unwrap();
    let issued = json_of(data, &["rotate", "--node", "node-a", "--revoke-older"], "");
    assert_ne!(json!(before), issued["path"]);
    let rows = json_of(data, &["requests"], "");
    assert!(rows["requests"].as_array().unwrap().iter().any(|r| r["resource"] == "nodes"));
    drop(server);
}

#[test]
fn the_cluster_around_it_is_set() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path();
    let server = serve(data, "127.0.0.1:0");
    run(data, &["create", "-f", "-"], POD);
    let listed = json_of(data, &["answer"], "");
    assert!(listed["answers"].as_array().unwrap().iter().any(|row| row["name"] == "overloaded"));
    json_of(data, &["answer", "budget", "--pod", "prod/one", "--times", "1"], "");
    let refused = run(data, &["evict", "one", "-n", "prod"], "");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("429: Cannot evict pod as it would violate"), "{said}");
    assert!(!run(data, &["answer", "weather"], "").status.success());

    json_of(data, &["kubevirt", "1.5", "--target", "node-b"], "");
    let vm = r#"{"metadata": {"labels": {"kubevirt.io": "virt-launcher"},
        "annotations": {"kubevirt.io/domain": "vm"}}}"#;
    json_of(data, &["patch", "pod", "one", "-n", "prod", "--type", "merge", "-p", vm], "");
    json_of(data, &["migration", "start", "vm", "-n", "prod"], "");
    let moving = ["get", "pods", "-n", "prod", "-l", "kubevirt.io/migrationJobUID"];
    assert_eq!(json_of(data, &moving, "")["items"][0]["spec"]["nodeName"], "node-b");
    json_of(data, &["migration", "succeed", "vm", "-n", "prod"], "");
    assert!(!run(data, &["migration", "fail", "vm", "-n", "prod"], "").status.success());
    assert!(!run(data, &["kubevirt", "latest"], "").status.success());
    json_of(data, &["kubevirt", "none"], "");
    json_of(data, &["controllers", "on", "--running", "--delay", "1s"], "");

    let odd = POD.replace("phase: Running", "phase: Running, fase: x");
    assert!(!run(data, &["apply", "-f", "-"], &odd).status.success());
    json_of(data, &["strict", "off"], "");
    let fase = r#"{"status": {"fase": "x"}}"#;
    let patch = ["patch", "pod", "two", "-n", "prod", "--subresource", "status", "-p", fase];
    assert!(json_of(data, &patch, "")["status"]["fase"].is_null());
    let recorded = json_of(data, &["record"], "");
    let last = recorded["requests"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(last["userAgent"], "test-apiserver-client");
    assert_eq!(last["body"]["status"]["fase"], "x");
    json_of(data, &["record", "--reset"], "");
    assert_eq!(json_of(data, &["record"], "")["requests"], json!([]));
    drop(server);
}

#[test]
fn loads_many_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let _server = serve(dir.path(), "127.0.0.1:0");
    let pods: Vec<Value> = (0..500)
        .map(|n| {
            json!({"apiVersion": "v1", "kind": "Pod",
                   "metadata": {"name": format!("p{n}"), "namespace": "many"},
                   "spec": {"nodeName": "node-a", "containers": [{"name": "c", "image": "x"}]},
                   "status": {"phase": "Running"}})
        })
        .collect();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": pods}).to_string();
    assert_eq!(json_of(dir.path(), &["load", "-f", "-"], &list), json!({"loaded": 500}));
    let seen = json_of(dir.path(), &["get", "pods", "-n", "many"], "");
    let items = seen["items"].as_array().unwrap();
    assert!(items.iter().all(|p| p["status"]["phase"] == "Running"));
    assert_eq!(items.len(), 500);
}

#[test]
fn a_killed_server_comes_back_and_a_terminated_one_exits_cleanly() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path();
    let mut first = serve(data, "127.0.0.1:0");
    run(data, &["create", "-f", "-"], POD);
    let before = json_of(data, &["get", "pods"], "");
    first.0.kill().unwrap();
    first.0.wait().unwrap();
    let listen = first.1.strip_prefix("https://").unwrap().to_owned();
    let mut second = serve(data, &listen);
    assert_eq!(second.1, first.1);
    assert_eq!(json_of(data, &["get", "pods"], ""), before);
    let id = second.0.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    assert!(second.0.wait().unwrap().success());
}
