//! `wasp-agent manifests`: its output equals the checked-in examples, and Ignition accepts it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use wasp_agent::manifests::alert_names;

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn wasp_agent(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_wasp-agent")).args(arguments).output().unwrap()
}

/// Returns the command lines in ignition/README.md.
fn shown() -> Vec<Vec<String>> {
    let readme = fs::read_to_string(top().join("ignition/README.md")).unwrap();
    let lines: Vec<Vec<String>> = readme
        .lines()
        .filter_map(|line| line.strip_prefix("    wasp-agent "))
        .map(|line| line.split(' ').map(str::to_owned).collect())
        .collect();
    assert_eq!(lines.len(), 5, "ignition/README.md shows five examples");
    lines
}

fn files(folder: &Path) -> BTreeMap<PathBuf, String> {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().into(), fs::read_to_string(&path).unwrap()))
        .collect()
}

#[test]
fn the_examples_are_what_the_command_renders() {
    for shown in shown() {
        let (out, arguments) = shown.split_last().unwrap();
        let scratch = tempfile::tempdir().unwrap();
        let scratch_path = scratch.path().to_str().unwrap();
        let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        arguments.push(scratch_path);
        let output = wasp_agent(&arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let says = String::from_utf8(output.stdout).unwrap();
        assert_eq!(says, format!("sh {scratch_path}/apply.sh\n"));
        let checked_in = top().join(out);
        if std::env::var_os("BLESS").is_some() {
            fs::create_dir_all(&checked_in).unwrap();
            let rendered = files(scratch.path());
            for name in files(&checked_in).keys().filter(|name| !rendered.contains_key(*name)) {
                fs::remove_file(checked_in.join(name)).unwrap();
            }
            for (name, text) in rendered {
                fs::write(checked_in.join(name), text).unwrap();
            }
        }
        let (rendered, examples) = (files(scratch.path()), files(&checked_in));
        assert!(
            rendered == examples,
            "{out} differs; BLESS=1 cargo test --test manifests writes it again"
        );
    }
}

#[test]
fn ignition_takes_what_is_rendered() {
    if Command::new("ignition-validate").arg("--version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "ignition-validate is not installed");
        eprintln!("SKIPPED, loudly: ignition-validate is not installed (apt-get install ignition)");
        return;
    }
    for shown in shown() {
        let folder = top().join(shown.last().unwrap());
        let text = fs::read_to_string(folder.join("30-machineconfig.yaml")).unwrap();
        let machine_config: Value = serde_saphyr::from_str(&text).unwrap();
        let mut validate = Command::new("ignition-validate")
            .arg("-")
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let config = machine_config["spec"]["config"].to_string();
        validate.stdin.take().unwrap().write_all(config.as_bytes()).unwrap();
        let output = validate.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{}: {said}", folder.display());
    }
}

#[test]
fn what_is_refused_is_named_with_its_remedy() {
    let refused = |arguments: &[&str], text: &str| {
        let output = wasp_agent(&[&["manifests", "--openshift", "4.20"], arguments].concat());
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(78), "{said}");
        assert!(said.contains(text) && output.stdout.is_empty(), "{text} is not in\n{said}");
    };
    let present = ["--install", "present"];
    refused(&["--overcommit-percent", "150"], "--push-secret names no secret");
    refused(&[&present[..], &["--role", "master"]].concat(), "--allow-control-plane");
    refused(
        &[&present[..], &["--overcommit-percent", "5000"]].concat(),
        "/etc/wasp-agent/config.d/50-cluster.toml:2: overcommit-percent = 5000 is not a whole number",
    );
    refused(
        &[&present[..], &["--swap-kind", "partition", "--swap-path", "/srv/swap"]].concat(),
        "swap.path = \"/srv/swap\" contradicts swap.kind = \"partition\"",
    );
    refused(
        &[&present[..], &["--node-ram", "much"]].concat(),
        "--node-ram \"much\" is not a size (64Gi)",
    );
}

#[test]
fn without_a_folder_everything_is_printed_as_yaml() {
    let command = "manifests --openshift 4.20.3 --overcommit-percent 150 --install present";
    let output = wasp_agent(&command.split(' ').collect::<Vec<_>>());
    let text = String::from_utf8(output.stdout).unwrap();
    let objects: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    let kinds: Vec<&str> = objects.iter().map(|object| object["kind"].as_str().unwrap()).collect();
    let expected = [
        "KubeletConfig",
        "MachineConfig",
        "Namespace",
        "PrometheusRule",
        "AlertingRule",
        "ConfigMap",
        "PersesDashboard",
        "HyperConverged",
    ];
    assert_eq!(kinds, expected);
}

#[test]
fn every_alert_has_a_page_on_what_to_do() {
    for name in alert_names() {
        let page = top().join("docs/runbooks").join(&name).with_extension("md");
        let text = fs::read_to_string(&page).unwrap_or_default();
        assert!(text.starts_with(&format!("# {name}\n")), "{} is missing", page.display());
    }
}
