//! Renders the content of the nodes' disks: Butane, Ignition and the MachineConfig, from one list
//! of files and units.
//!
//! Uses Ignition 3.2.0, which every supported machine config operator reads.

use serde_json::{Map, Value, json};

use super::{Install, Package, Rollout, kubelet};

const IGNITION: &str = "3.2.0";
/// The newest of Butane's openshift variants that renders Ignition 3.2.0.
const BUTANE: &str = "4.13.0";
const KERNEL_ARGUMENTS: [&str; 1] = ["psi=1"];

const AGENT_UNIT: &str = include_str!("../../systemd/wasp-agent.service");
const SWAP_UNIT: &str = include_str!("../../systemd/wasp-swap.service");
const INSTALLER: &str = include_str!("../../packaging/first-boot-install");
const INSTALLER_PATH: &str = "/usr/local/bin/wasp-agent-install";
const INSTALLER_UNIT: &str = "wasp-agent-install.service";

struct IgnitionFile {
    path: String,
    mode: u32,
    text: String,
}

struct Unit {
    name: &'static str,
    /// `None`: the package contains it.
    text: Option<String>,
}

pub(super) struct IgnitionConfig {
    files: Vec<IgnitionFile>,
    units: Vec<Unit>,
}

impl IgnitionConfig {
    pub(super) fn of(rollout: &Rollout) -> Self {
        let mut files: Vec<IgnitionFile> = rollout
            .drop_ins
            .iter()
            .map(|drop_in| IgnitionFile {
                path: drop_in.path(),
                mode: 0o644,
                text: drop_in.text.clone(),
            })
            .collect();
        if rollout.openshift.reads_drop_ins(&rollout.pool) {
            files.push(IgnitionFile {
                path: kubelet::DROP_IN.to_owned(),
                mode: 0o644,
                text: kubelet::drop_in(rollout),
            });
        }
        let units = match &rollout.install {
            Install::Present => ["wasp-swap.service", "wasp-agent.service"]
                .map(|name| Unit { name, text: None })
                .into(),
            // The layered image enables them. Before 4.20 the operator runs systemctl enable in the
            // OS that is still booted, which lacks the units, and the node becomes degraded
            // (pkg/daemon/update.go).
            Install::Layer { .. } => Vec::new(),
            Install::FirstBoot { package } => {
                files.push(IgnitionFile {
                    path: INSTALLER_PATH.to_owned(),
                    mode: 0o755,
                    text: INSTALLER.to_owned(),
                });
                vec![
                    Unit { name: INSTALLER_UNIT, text: Some(installer_unit(package)) },
                    Unit { name: "wasp-swap.service", text: Some(in_usr_local(SWAP_UNIT)) },
                    Unit { name: "wasp-agent.service", text: Some(in_usr_local(AGENT_UNIT)) },
                ]
            }
        };
        Self { files, units }
    }

    pub(super) fn ignition(&self) -> Value {
        json!({
            "ignition": { "version": IGNITION },
            "storage": { "files": self.files(|text| json!({ "source": data_url(text) })) },
            "systemd": { "units": self.units() },
        })
    }

    pub(super) fn machine_config(&self, pool: &str) -> Value {
        json!({
            "apiVersion": "machineconfiguration.openshift.io/v1",
            "kind": "MachineConfig",
            "metadata": metadata(pool),
            "spec": { "config": self.ignition(), "kernelArguments": KERNEL_ARGUMENTS },
        })
    }

    pub(super) fn butane(&self, pool: &str) -> Value {
        json!({
            "variant": "openshift",
            "version": BUTANE,
            "metadata": metadata(pool),
            "openshift": { "kernel_arguments": KERNEL_ARGUMENTS },
            "storage": { "files": self.files(|text| json!({ "inline": text })) },
            "systemd": { "units": self.units() },
        })
    }

    fn files(&self, contents: impl Fn(&str) -> Value) -> Vec<Value> {
        let file = |IgnitionFile { path, mode, text }: &IgnitionFile| json!({ "path": path, "mode": mode, "overwrite": true, "contents": contents(text) });
        self.files.iter().map(file).collect()
    }

    fn units(&self) -> Vec<Value> {
        let unit = |Unit { name, text }: &Unit| {
            let mut unit = Map::from_iter([
                ("name".to_owned(), json!(name)),
                ("enabled".to_owned(), json!(true)),
            ]);
            if let Some(text) = text {
                unit.insert("contents".to_owned(), json!(text));
            }
            Value::Object(unit)
        };
        self.units.iter().map(unit).collect()
    }
}

/// The operator appends kernel arguments in the order of names, and up to 4.20
/// 97-…-generated-kubelet has psi=0.
pub(super) fn name(pool: &str) -> String {
    format!("99-{pool}-wasp-agent")
}

fn metadata(pool: &str) -> Value {
    json!({
        "name": name(pool),
        "labels": { "machineconfiguration.openshift.io/role": pool },
    })
}

/// RFC 2397, with all but the unreserved bytes escaped.
fn data_url(text: &str) -> String {
    let mut url = String::from("data:,");
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                url.push(char::from(byte));
            }
            _ => url += &format!("%{byte:02X}"),
        }
    }
    url
}

/// Adapts the package's unit to programs in /usr/local. systemd skips the unit while they are
/// missing, because the kubelet must not wait for a unit that fails.
fn in_usr_local(unit: &str) -> String {
    let condition = format!(
        "[Unit]\nAfter={INSTALLER_UNIT}\nConditionFileIsExecutable=/usr/local/bin/wasp-agent\n"
    );
    unit.lines()
        .filter(|line| !line.starts_with("Documentation="))
        .flat_map(|line| [line, "\n"])
        .collect::<String>()
        .replacen("[Unit]\n", &condition, 1)
        .replace("/usr/bin/wasp-agent", "/usr/local/bin/wasp-agent")
}

fn installer_unit(Package { url, sha256 }: &Package) -> String {
    // systemd interprets % in a command.
    let url = url.replace('%', "%%");
    format!(
        "[Unit]\n\
         Description=Install wasp-agent from its package\n\
         Wants=network-online.target\n\
         After=network-online.target\n\
         Before=wasp-swap.service wasp-agent.service kubelet.service kubelet-dependencies.target\n\
         # Where it comes late, the others start late.\n\
         OnSuccess=wasp-swap.service wasp-agent.service\n\
         \n\
         [Service]\n\
         Type=oneshot\n\
         # The cluster's proxy, by the machine config operator.\n\
         EnvironmentFile=-/etc/mco/proxy.env\n\
         ExecStart=/bin/sh {INSTALLER_PATH} {url} {sha256}\n\
         # A node without the network's help comes up without swap, and tries on.\n\
         TimeoutStartSec=5min\n\
         Restart=on-failure\n\
         RestartSec=30\n\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n"
    )
}
