//! `wasp-agent manifests`.

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use clap::{Args, ValueEnum};

use super::{EXIT_CONFIG, fail};
use crate::{
    config::{
        keys,
        layers::{Layers, Resolved},
        settings::Settings,
        value::{SettingOrigin, Value},
    },
    errors::FileError,
    manifests::{
        DropIn, EvictionSoft, GrantsAsked, HyperConverged, Install, Manifest, OpenShiftVersion,
        Package, Rollout, names, render,
    },
    model::unknown::sentence,
};

#[derive(Clone, Copy, Debug, ValueEnum)]
enum InstallBy {
    /// The cluster builds the pool's OS image with the package (MachineOSConfig)
    Layer,
    /// A unit downloads the package at boot and installs it below /usr/local
    FirstBoot,
    /// The nodes already have the package
    Present,
}

#[derive(Debug, Args)]
pub(crate) struct Manifests {
    /// OpenShift version of the cluster: `oc get clusterversion` shows it
    #[arg(long, value_name = "4.x", value_parser = clap::value_parser!(OpenShiftVersion))]
    openshift: OpenShiftVersion,
    /// API versions of HyperConverged that the cluster serves, separated by spaces; default: the
    /// version of this OpenShift release
    #[arg(long, value_name = "VERSIONS", value_parser = clap::value_parser!(HyperConverged))]
    hyperconverged: Option<HyperConverged>,
    /// Machine config pool whose nodes get swap and the agent
    #[arg(long, value_name = "POOL", default_value = "worker")]
    role: String,
    /// Memory that all pods together may use, in percent of RAM; the part above 100 is swap
    #[arg(long, value_name = "PERCENT")]
    overcommit_percent: Option<u64>,
    /// Kind of swap: file, partition or zram
    #[arg(long, value_name = "KIND")]
    swap_kind: Option<String>,
    /// Size of the swap on every node, instead of --overcommit-percent
    #[arg(long, value_name = "SIZE")]
    swap_size: Option<String>,
    /// Path of the swapfile, or of the partition by a name that is the same on every node
    #[arg(long, value_name = "PATH")]
    swap_path: Option<String>,
    /// Add the settings of this file, in the format of /etc/wasp-agent/config.d
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How the nodes get the package
    #[arg(long, value_name = "HOW", value_enum, default_value = "layer")]
    install: InstallBy,
    /// URL from which the nodes or the image builder download the package; required unless the
    /// nodes have it
    #[arg(long, value_name = "URL", default_value = "")]
    rpm_url: String,
    /// SHA-256 of the package; required with --rpm-url
    #[arg(long, value_name = "HEX", default_value = "")]
    rpm_sha256: String,
    /// Image that the cluster builds for the pool; use a different one for each pool
    #[arg(
        long,
        value_name = "IMAGE",
        default_value = "image-registry.openshift-image-registry.svc:5000/openshift-machine-config-operator/os-image:latest"
    )]
    push_spec: String,
    /// Secret in openshift-machine-config-operator with permission to push the image; required with
    /// --install layer
    #[arg(long, value_name = "SECRET", default_value = "")]
    push_secret: String,
    /// Set the kubelet's soft eviction threshold for memory.available
    #[arg(long, value_name = "SIZE")]
    eviction_soft: Option<String>,
    /// Set the grace period of the soft eviction threshold
    #[arg(long, value_name = "DURATION", default_value = "1m30s")]
    eviction_soft_grace: String,
    /// RAM of the nodes, to reject a swap size that does not fit
    #[arg(long, value_name = "SIZE")]
    node_ram: Option<String>,
    /// Disk size of the nodes, to reject a swap size that does not fit
    #[arg(long, value_name = "SIZE")]
    node_disk: Option<String>,
    /// Render the permissions of the user who taints nodes for the agent
    #[arg(long)]
    taint_guard: bool,
    /// Also roll out to the control plane
    #[arg(long)]
    allow_control_plane: bool,
    /// Write the files and the script that applies them, apply.sh, to this directory; default: print them
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub(crate) fn manifests(asked: Manifests) -> ExitCode {
    let out = asked.out.clone();
    let rollout = match rollout(asked) {
        Ok(rollout) => rollout,
        Err(error) => return fail(EXIT_CONFIG, &sentence(error.as_ref())),
    };
    match render(&rollout) {
        Ok(manifests) => match deliver(&manifests, &rollout.pool, out.as_deref()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(1, &sentence(error.as_ref())),
        },
        Err(problems) => {
            fail(EXIT_CONFIG, &format!("no manifests rendered:\n  {}", problems.join("\n  ")))
        }
    }
}

fn deliver(manifests: &[Manifest], pool: &str, out: Option<&Path>) -> anyhow::Result<()> {
    let Some(folder) = out else {
        let objects = manifests.iter().filter(|manifest| manifest.name.ends_with(".yaml"));
        let text = objects.fold(String::new(), |mut text, manifest| {
            let _ = writeln!(text, "---\n# {}\n{}", manifest.name, manifest.text.trim_end());
            text
        });
        return super::print(&text);
    };
    fs::create_dir_all(folder).map_err(FileError::of("make", folder))?;
    // Remove files of an earlier rendering, because apply.sh applies all files in its directory. Other
    // files are not ours.
    for name in names(pool) {
        let path = folder.join(&name);
        if !manifests.iter().any(|manifest| manifest.name == name) && path.exists() {
            fs::remove_file(&path).map_err(FileError::of("remove", &path))?;
        }
    }
    for Manifest { name, text } in manifests {
        let path = folder.join(name);
        fs::write(&path, text).map_err(FileError::of("write", &path))?;
    }
    super::print(&format!("sh {}\n", folder.join("apply.sh").display()))
}

fn rollout(asked: Manifests) -> anyhow::Result<Rollout> {
    let mut drop_ins = vec![DropIn { name: "50-cluster.toml", text: asked.cluster_toml() }];
    if let Some(file) = &asked.config {
        let text = fs::read_to_string(file).map_err(FileError::of("read", file))?;
        drop_ins.push(DropIn { name: "60-cluster.toml", text });
    }
    let texts: Vec<(PathBuf, &str)> =
        drop_ins.iter().map(|drop_in| (drop_in.path().into(), drop_in.text.as_str())).collect();
    let (settings, resolved) = Settings::valid(Layers::of_drop_ins(&texts))?;
    let size = |option: &str, text: Option<String>| {
        text.map(|text| {
            keys::size(&text).with_context(|| format!("{option} {text:?} is not a size (64Gi)"))
        })
        .transpose()
    };
    let package = Package { url: asked.rpm_url, sha256: asked.rpm_sha256.to_lowercase() };
    Ok(Rollout {
        openshift: asked.openshift,
        hyperconverged: asked.hyperconverged.unwrap_or(asked.openshift.hyperconverged()),
        grants: grants(&resolved),
        pool: asked.role,
        control_plane_allowed: asked.allow_control_plane,
        settings,
        drop_ins,
        install: match asked.install {
            InstallBy::Present => Install::Present,
            InstallBy::FirstBoot => Install::FirstBoot { package },
            InstallBy::Layer => Install::Layer {
                package,
                push_spec: asked.push_spec,
                push_secret: asked.push_secret,
            },
        },
        eviction_soft: asked
            .eviction_soft
            .map(|threshold| EvictionSoft { threshold, grace_period: asked.eviction_soft_grace }),
        node_ram: size("--node-ram", asked.node_ram)?,
        node_disk: size("--node-disk", asked.node_disk)?,
        taint_guard: asked.taint_guard,
    })
}

fn grants(resolved: &Resolved) -> GrantsAsked {
    match resolved.get("grants") {
        Some((Value::Text(set), origin)) if *origin != SettingOrigin::Default => match set.as_str()
        {
            "agent" => GrantsAsked::Agent,
            "kubelet" => GrantsAsked::Kubelet,
            _ => GrantsAsked::Auto,
        },
        _ => GrantsAsked::Auto,
    }
}

impl Manifests {
    /// Formats the options as the nodes' configuration.
    fn cluster_toml(&self) -> String {
        let mut text = String::from("# From `wasp-agent manifests`.\n");
        if let Some(percent) = self.overcommit_percent {
            let _ = writeln!(text, "overcommit-percent = {percent}");
        }
        let swap =
            [("kind", &self.swap_kind), ("size", &self.swap_size), ("path", &self.swap_path)];
        if swap.iter().any(|(_, value)| value.is_some()) {
            text += "\n[swap]\n";
        }
        for (key, value) in swap {
            if let Some(value) = value {
                let _ = writeln!(text, "{key} = {}", Value::Text(value.clone()));
            }
        }
        text
    }
}
