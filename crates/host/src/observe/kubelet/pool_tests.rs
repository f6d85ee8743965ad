//! The remedies for a pool of OpenShift, pasted into a shell.

use std::process::Command;

use crate::{
    decide::kubelet::commands_to_set,
    model::{
        kubelet::{KubeletConfig, Origin},
        system::System,
    },
};

fn commands(pool: &str, minor: u32) -> Vec<String> {
    let system = System { pool: Some(pool.to_owned()), ..System::default() };
    let config = KubeletConfig { minor: Some(minor), ..KubeletConfig::default() };
    commands_to_set(&system, &config, &Origin::Default, "failSwapOn", "false", "")
}

/// Runs the commands with an `oc` that shows the KubeletConfigs of a pool by `get`, and returns the
/// changes that it was asked for.
fn pasted(commands: &[String], get: &str) -> String {
    let oc = format!(
        "oc() {{ case $1 in get) {get} ;; apply) echo \"apply $(cat)\" ;; *) echo \"$*\" ;; esac; }}\n"
    );
    let script = format!("{oc}{}", commands.join("\n"));
    let output = Command::new("sh").args(["-c", &script]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_kubelet_config_in_effect_is_patched_and_no_second_one_created() {
    let commands = commands("virt", 33);
    let patch = "patch kubeletconfig newest --type=merge -p \
                 {\"spec\":{\"kubeletConfig\":{\"failSwapOn\":false}}}\n";
    assert_eq!(pasted(&commands, "printf ' older newest'"), patch);
    let made = pasted(&commands, ":");
    let label = "label machineconfigpool virt \
                 pools.operator.machineconfiguration.openshift.io/virt= --overwrite\napply {";
    assert!(made.starts_with(label) && made.contains("wasp-agent-virt"), "{made}");
    assert_eq!(pasted(&commands, "return 1"), "", "without an answer, nothing changes");
}

#[test]
fn where_openshift_takes_no_swap_no_command_is_given() {
    for (pool, minor) in [("worker", 34), ("worker", 35), ("master", 33), ("arbiter", 36)] {
        let commands = commands(pool, minor);
        assert!(commands.iter().all(|line| line.starts_with("# no swap")), "{commands:?}");
    }
}
