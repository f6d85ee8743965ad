use super::*;
use crate::config::settings::Settings;

const SHA256: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

fn package() -> Package {
    Package {
        url: "https://mirror.example.com/wasp-agent.rpm".to_owned(),
        sha256: SHA256.to_owned(),
    }
}

fn rollout(toml: &str) -> Rollout {
    let drop_ins = vec![DropIn { name: "50-cluster.toml", text: toml.to_owned() }];
    Rollout {
        openshift: OpenShiftVersion::new(4, 20),
        hyperconverged: HyperConverged::V1Beta1,
        grants: GrantsAsked::Auto,
        pool: "worker".to_owned(),
        control_plane_allowed: false,
        settings: Settings::of_drop_ins(&[(drop_ins[0].path().into(), toml)]).unwrap(),
        drop_ins,
        install: Install::FirstBoot { package: package() },
        eviction_soft: None,
        node_ram: None,
        node_disk: None,
        taint_guard: false,
    }
}

const HALF: &str = "overcommit-percent = 150\n";

fn parsed(manifests: &[Manifest], name: &str) -> Value {
    let manifest = manifests.iter().find(|manifest| manifest.name == name).expect(name);
    serde_saphyr::from_str(&manifest.text).expect(name)
}

#[test]
fn what_is_written_is_what_was_meant() {
    let rollout = rollout(HALF);
    let manifests = render(&rollout).unwrap();
    let config = ignition::IgnitionConfig::of(&rollout);
    for (name, meant) in [
        ("30-machineconfig.yaml", config.machine_config("worker")),
        ("worker.bu", config.butane("worker")),
        ("worker.ign", config.ignition()),
        ("10-kubeletconfig.yaml", kubelet::kubelet_config(&rollout)),
        ("41-prometheusrule.yaml", alerts::prometheus_rule()),
        ("42-alertingrule.yaml", alerts::alerting_rule()),
        ("60-hyperconverged.yaml", cluster::hyperconverged(&rollout, 150)),
    ] {
        assert_eq!(parsed(&manifests, name), meant, "{name}");
    }
}

/// The inverse of `data_url`, implemented differently.
fn fetched(url: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = url.strip_prefix("data:,").unwrap().bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next().unwrap(), rest.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
            }
            other => other,
        });
    }
    String::from_utf8(bytes).unwrap()
}

#[test]
fn butane_and_machine_config_have_the_same_content() {
    let manifests = render(&rollout("overcommit-percent = 150 # ½ as much, \"swap\"\n")).unwrap();
    let butane = parsed(&manifests, "worker.bu");
    let machine_config = parsed(&manifests, "30-machineconfig.yaml");
    let config = &machine_config["spec"]["config"];
    assert_eq!(config["ignition"]["version"], "3.2.0");
    assert_eq!(config, &parsed(&manifests, "worker.ign"));
    assert_eq!(config["systemd"], butane["systemd"]);
    assert_eq!(butane["openshift"]["kernel_arguments"], machine_config["spec"]["kernelArguments"]);
    assert_eq!(butane["metadata"], machine_config["metadata"]);
    let files = butane["storage"]["files"].as_array().unwrap();
    assert_eq!(files.len(), config["storage"]["files"].as_array().unwrap().len());
    for (ours, theirs) in files.iter().zip(config["storage"]["files"].as_array().unwrap()) {
        assert_eq!((&ours["path"], &ours["mode"]), (&theirs["path"], &theirs["mode"]));
        let inline = ours["contents"]["inline"].as_str().unwrap();
        assert_eq!(fetched(theirs["contents"]["source"].as_str().unwrap()), inline);
    }
}

#[test]
fn a_unit_in_usr_local_is_the_packages_but_for_its_path() {
    let manifests = render(&rollout(HALF)).unwrap();
    let config = parsed(&manifests, "worker.ign");
    let units = config["systemd"]["units"].as_array().unwrap();
    let unit = |name: &str| {
        let unit = units.iter().find(|unit| unit["name"] == name).expect(name);
        assert_eq!(unit["enabled"], true, "{name}");
        unit["contents"].as_str().unwrap().to_owned()
    };
    for (name, shipped) in [
        ("wasp-agent.service", include_str!("../../systemd/wasp-agent.service")),
        ("wasp-swap.service", include_str!("../../systemd/wasp-swap.service")),
    ] {
        let rendered = unit(name);
        assert!(!rendered.contains("/usr/bin/wasp-agent"), "{rendered}");
        let added = "After=wasp-agent-install.service\n\
                     ConditionFileIsExecutable=/usr/local/bin/wasp-agent\n";
        let back = rendered.replacen(added, "", 1).replace("/usr/local/bin/", "/usr/bin/");
        let shipped: String = shipped
            .lines()
            .filter(|line| !line.starts_with("Documentation="))
            .flat_map(|line| [line, "\n"])
            .collect();
        assert_eq!(back, shipped);
    }
    assert!(unit("wasp-agent-install.service").contains(&format!("{} {SHA256}\n", package().url)));
}

#[test]
fn nodes_that_have_the_package_get_configuration_and_nothing_else() {
    let mut rollout = rollout(HALF);
    rollout.install = Install::Present;
    let config = parsed(&render(&rollout).unwrap(), "worker.ign");
    let units = [
        serde_json::json!({ "name": "wasp-swap.service", "enabled": true }),
        serde_json::json!({ "name": "wasp-agent.service", "enabled": true }),
    ];
    assert_eq!(config["systemd"]["units"].as_array().unwrap(), &units);
    let files = config["storage"]["files"].as_array().unwrap();
    assert_eq!(files.len(), 1);
    assert_eq!(files[0]["path"], "/etc/wasp-agent/config.d/50-cluster.toml");
}

/// Returns the settings for the kubelet: of the KubeletConfig, or of the drop-in in the
/// MachineConfig.
fn told(rollout: &Rollout) -> (Option<Value>, Option<Value>) {
    let manifests = render(rollout).unwrap();
    let has = manifests.iter().any(|manifest| manifest.name == "10-kubeletconfig.yaml");
    let kubelet_config =
        has.then(|| parsed(&manifests, "10-kubeletconfig.yaml")["spec"]["kubeletConfig"].clone());
    let ignition = parsed(&manifests, "30-machineconfig.yaml")["spec"]["config"].clone();
    let files = ignition["storage"]["files"].as_array().unwrap().clone();
    let drop_in = files.iter().find(|file| file["path"] == kubelet::DROP_IN);
    let drop_in = drop_in.map(|file| {
        let text = fetched(file["contents"]["source"].as_str().unwrap());
        serde_saphyr::from_str(&text).unwrap()
    });
    (kubelet_config, drop_in)
}

#[test]
fn the_kubelet_is_told_where_its_version_reads_it() {
    let soft = || EvictionSoft { threshold: "1Gi".to_owned(), grace_period: "1m30s".to_owned() };
    for (minor, drops) in
        [(16, false), (18, false), (20, false), (21, true), (22, true), (23, true)]
    {
        let mut rollout = rollout(HALF);
        rollout.openshift = OpenShiftVersion::new(4, minor);
        rollout.eviction_soft = Some(soft());
        let (kubelet_config, drop_in) = told(&rollout);
        assert_eq!((kubelet_config.is_some(), drop_in.is_some()), (!drops, drops), "4.{minor}");
        let mut wanted = serde_json::json!({
            "failSwapOn": false,
            "evictionSoft": { "memory.available": "1Gi" },
            "evictionSoftGracePeriod": { "memory.available": "1m30s" },
        });
        if drops {
            wanted["apiVersion"] = "kubelet.config.k8s.io/v1beta1".into();
            wanted["kind"] = "KubeletConfiguration".into();
            wanted["memorySwap"] = serde_json::json!({ "swapBehavior": "LimitedSwap" });
        }
        assert_eq!(kubelet_config.or(drop_in), Some(wanted), "4.{minor}");
    }
}

#[test]
fn who_grants_is_told_to_the_kubelet() {
    let behavior = |minor, toml: &str, grants| {
        let mut rollout = rollout(&format!("{HALF}{toml}"));
        (rollout.openshift, rollout.grants) = (OpenShiftVersion::new(4, minor), grants);
        let (kubelet_config, drop_in) = told(&rollout);
        kubelet_config.or(drop_in).unwrap()["memorySwap"]["swapBehavior"].clone()
    };
    use GrantsAsked::{Agent, Auto, Kubelet};
    let none = Value::Null;
    assert_eq!(behavior(20, "", Auto), none);
    assert_eq!(behavior(20, "", Agent), none);
    assert_eq!(behavior(22, "", Auto), "LimitedSwap");
    assert_eq!(behavior(22, "", Kubelet), "LimitedSwap");
    // Overrides 90-swap.conf of virt-platform-autopilot.
    assert_eq!(behavior(22, "", Agent), "NoSwap");
    // Only the agent knows which pods are VMs.
    assert_eq!(behavior(22, "[limits]\neligibility = \"virt-launcher\"\n", Auto), "NoSwap");
}

#[test]
fn what_a_version_does_not_take_is_refused() {
    let refused = |minor, change: fn(&mut Rollout)| {
        refused(|rollout| {
            rollout.openshift = OpenShiftVersion::new(4, minor);
            change(rollout);
        })
    };
    for minor in [16, 17, 20] {
        let problem = refused(minor, |rollout| rollout.grants = GrantsAsked::Kubelet);
        assert!(problem.contains("NodeSwap is off"), "{problem}");
    }
    let layer = |rollout: &mut Rollout| {
        rollout.install = Install::Layer {
            package: package(),
            push_spec: "registry/image".to_owned(),
            push_secret: "push".to_owned(),
        };
    };
    let problem = refused(17, layer);
    assert!(problem.contains("--install first-boot"), "{problem}");
    let control_plane = |rollout: &mut Rollout| {
        (rollout.pool, rollout.control_plane_allowed) = ("master".to_owned(), true);
    };
    for minor in [16, 20, 21, 22] {
        let problem = refused(minor, control_plane);
        assert!(problem.contains("from 4.23 on"), "{problem}");
    }
    let mut rollout = rollout(HALF);
    rollout.openshift = OpenShiftVersion::new(4, 23);
    control_plane(&mut rollout);
    assert_eq!(render(&rollout).map(drop), Ok(()));
}

#[test]
fn the_percentage_goes_to_the_vms_too_and_a_size_does_not() {
    let has = |manifests: Vec<Manifest>| {
        manifests.iter().any(|manifest| manifest.name == "60-hyperconverged.yaml")
    };
    assert!(has(render(&rollout(HALF)).unwrap()));
    assert!(!has(render(&rollout("[swap]\nsize = \"8Gi\"\n")).unwrap()));
}

fn refused(change: impl FnOnce(&mut Rollout)) -> String {
    let mut rollout = rollout(HALF);
    change(&mut rollout);
    render(&rollout).unwrap_err().join("\n")
}

const GIB: u64 = 1 << 30;

#[test]
fn nonsense_is_refused() {
    let problem = refused(|rollout| rollout.pool = "master".to_owned());
    assert!(problem.contains("--allow-control-plane"), "{problem}");
    let problem = refused(|rollout| rollout.pool = "Worker!".to_owned());
    assert!(problem.contains("not a machine config pool"), "{problem}");
    let none = rollout("");
    assert!(render(&none).unwrap_err()[0].contains("no swap is requested"));
    for url in ["ftp://x/y.rpm", "https://x/y z.rpm", "https://x/'; rm -rf /", "", "https://x/%s"] {
        let problem = refused(|rollout| {
            rollout.install =
                Install::FirstBoot { package: Package { url: url.to_owned(), ..package() } };
        });
        assert!(problem.contains("--rpm-url"), "{url}: {problem}");
    }
    let problem = refused(|rollout| {
        let package = Package { sha256: "cafe".to_owned(), ..package() };
        rollout.install =
            Install::Layer { package, push_spec: String::new(), push_secret: String::new() };
    });
    for option in ["--rpm-sha256", "--push-spec", "--push-secret"] {
        assert!(problem.contains(option), "{option}: {problem}");
    }
    let problem = refused(|rollout| {
        rollout.eviction_soft =
            Some(EvictionSoft { threshold: "much".to_owned(), grace_period: "soon".to_owned() });
    });
    assert!(
        problem.contains("--eviction-soft \"much\"") && problem.contains("\"soon\""),
        "{problem}"
    );
}

#[test]
fn swap_that_does_not_fit_is_refused_where_the_node_is_told() {
    let sized = |ram: Option<u64>, disk: Option<u64>| {
        let mut rollout = rollout(HALF);
        (rollout.node_ram, rollout.node_disk) = (ram, disk);
        render(&rollout).map(drop)
    };
    // 32 GiB, and 20 % of the disk that must stay free.
    assert_eq!(sized(Some(64 * GIB), Some(41 * GIB)), Ok(()));
    let problems = sized(Some(64 * GIB), Some(39 * GIB)).unwrap_err();
    assert!(
        problems[0].contains("a swapfile of 32.0 GiB does not fit on a disk of 39.0 GiB"),
        "{problems:?}"
    );
    let problems = sized(None, Some(37 * GIB)).unwrap_err();
    assert!(problems[0].contains("--node-disk needs --node-ram"), "{problems:?}");
    let mut zram = rollout("overcommit-percent = 400\n[swap]\nkind = \"zram\"\n");
    zram.node_ram = Some(64 * GIB);
    assert!(render(&zram).unwrap_err()[0].contains("a zram of 192.0 GiB in 64.0 GiB of RAM"));
}
