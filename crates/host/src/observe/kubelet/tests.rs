use std::{collections::BTreeMap, time::Duration};

use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};

use super::*;
use crate::decide::kubelet_refuses::{SwapGate, refuses, swap_gate};
use crate::model::kubelet::{
    MEMORY_AVAILABLE, NODE_SWAP, NODEFS_AVAILABLE, Named, Origin, threshold,
};

struct Host {
    _folder: tempfile::TempDir,
    roots: Roots,
}

impl Host {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let host = Self { roots: Roots::at(folder.path()), _folder: folder };
        files.iter().for_each(|(path, text)| host.write(path, text));
        host
    }

    fn write(&self, path: &str, text: &str) {
        fs::create_dir_all(self.roots.path(path).parent().unwrap()).unwrap();
        fs::write(self.roots.path(path), text).unwrap();
    }

    fn process(&self, pid: u32, comm: &str, status: &str, cgroup: &str, words: &[&str]) {
        self.write(&format!("/proc/{pid}/comm"), &format!("{comm}\n"));
        self.write(&format!("/proc/{pid}/status"), status);
        self.write(&format!("/proc/{pid}/cgroup"), &format!("0::{cgroup}\n"));
        let words: String = words.iter().flat_map(|word| [*word, "\0"]).collect();
        self.write(&format!("/proc/{pid}/cmdline"), &words);
    }

    fn config(&self) -> Result<Option<KubeletConfig>, String> {
        config(&self.roots, &Settings::defaults()).map_err(|error| error.to_string())
    }

    fn found(&self) -> KubeletConfig {
        self.config().unwrap().unwrap()
    }
}

const HEAD: &str = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n";

#[derive(Deserialize)]
struct Row {
    name: String,
    files: BTreeMap<String, String>,
    flags: Vec<String>,
    error: Option<String>,
    effective: Option<BTreeMap<String, Value>>,
}

/// Rows of which the kubelet knows more than this module: an unknown name may belong to another
/// version, and of keys that do not concern the agent only the type is read.
const NOT_KNOWN: [&str; 17] = [
    "an unknown flag",
    "gate NoSuchGate: true",
    "gate NoSuchGate: true and LimitedSwap",
    "gate nodeswap: false",
    "gate nodeswap: false and LimitedSwap",
    "flag gate NoSuch=true",
    "flag gate =true",
    "value: systemCgroups without a root",
    "value: maxPods below zero",
    "value: an unknown topology",
    "value: a threshold of image GC",
    "value: a port",
    "value: runOnce",
    "value: a hairpin mode",
    "value: a factor",
    "JSON: a large number",
    "JSON: a lone surrogate",
];

/// 461 command lines with files and drop-ins, and the resulting configuration of a kubelet 1.36.
/// recorded.md describes the recording.
#[test]
fn the_kubelet_acts_on_the_same() {
    let rows: Vec<Row> = serde_json::from_str(include_str!("recorded.json")).unwrap();
    assert!(rows.len() > 450);
    let mut wrong = Vec::new();
    for row in rows {
        let host = Host::new(&[]);
        for (path, text) in &row.files {
            host.write(&format!("/k/{path}"), text);
        }
        let words: Vec<String> = row.flags.iter().map(|word| word.replace('@', "/k")).collect();
        let found = parsed(&words, &Teller::Process(1)).and_then(|flags| {
            let config = by_flags(&host.roots, &flags, &Teller::Process(1))?;
            Ok((config.of_version(Some(36)), flags))
        });
        let found = found.map_err(|error| error.to_string()).and_then(|(config, flags)| {
            let values = as_recorded(&config, &flags);
            refuses(&config).map_or(Ok(values), Err)
        });
        match (&row.effective, &found) {
            (None, Err(_)) => {}
            (Some(expected), Ok(found))
                if found.iter().all(|(key, found)| expected.get(key) == Some(found)) => {}
            _ => wrong.push((
                row.name,
                format!("the kubelet {:?} {:?}\n  but {found:?}", row.effective, row.error),
            )),
        }
    }
    wrong.retain(|(name, _)| !NOT_KNOWN.contains(&name.as_str()));
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn as_recorded(config: &KubeletConfig, flags: &Flags) -> BTreeMap<String, Value> {
    let map = |of: &Named| match of.is_empty() {
        true => Value::Null,
        false => of.iter().map(|(name, of)| (name.clone(), json!(of.value))).collect(),
    };
    let seconds = |duration: Duration| match duration.as_secs() {
        60.. => format!("{}m{}s", duration.as_secs() / 60, duration.as_secs() % 60),
        seconds => format!("{seconds}s"),
    };
    let mut values = json!({
        "failSwapOn": config.fail_swap_on.value,
        "swapBehavior": config.swap_behavior.value,
        "evictionHard": map(&config.eviction_hard),
        "evictionSoft": map(&config.eviction_soft),
        "evictionSoftGracePeriod": map(&config.eviction_soft_grace_period),
        "cgroupRoot": config.cgroup_root.value,
        "cgroupDriver": config.cgroup_driver.value,
        "cgroupsPerQOS": config.cgroups_per_qos.value,
        "systemReserved": map(&config.system_reserved),
        "kubeReserved": map(&config.kube_reserved),
        "enforceNodeAllocatable": config.enforce_node_allocatable.value,
        "staticPodPath": config.static_pod_path.value.replacen("/k/", "@/", 1),
        "systemReservedCgroup": config.system_reserved_cgroup.value,
        "kubeReservedCgroup": config.kube_reserved_cgroup.value,
        "nodeStatusUpdateFrequency": seconds(config.node_status_update_frequency.value),
        "nodeSwap": swap_gate(config) == SwapGate::On,
    });
    // A relative path is one below the kubelet's working directory.
    for (key, path) in [("kubeconfig", &flags.kubeconfig), ("certDir", &flags.cert_dir)] {
        if let Some(path) = path {
            values[key] = json!(path.display().to_string().replacen("/k/", "@/", 1));
        }
    }
    let [hard, soft] = config.thresholds(MEMORY_AVAILABLE, 4 << 30);
    let [nodefs, _] = config.thresholds(NODEFS_AVAILABLE, 4 << 30);
    for (key, bytes) in
        [("hardMemoryBytes", hard), ("softMemoryBytes", soft), ("hardNodefsBytes", nodefs)]
    {
        if let Ok(Some(bytes)) = bytes {
            values[key] = json!(bytes);
        }
    }
    serde_json::from_value(values).unwrap()
}

const STATUS: &str = "Name:\tx\nUid:\t0\t0\t0\t0\nNSpid:\t7\n";
const OF_UNIT: &str = "/system.slice/kubelet.service";

/// Files of a guide, of kubeadm, kubespray and OpenShift, with the resulting configuration of their
/// kubelet.
#[test]
fn configurations_are_found_where_the_kubelet_finds_them() {
    let kubeadm = "/var/lib/kubelet/config.yaml";
    let host = Host::new(&[
        (kubeadm, &format!("{HEAD}cgroupDriver: systemd\n")),
        ("/etc/sysconfig/kubelet", "KUBELET_EXTRA_ARGS=--fail-swap-on=false\n"),
        ("/etc/kubernetes/kubelet.conf", "apiVersion: v1\nkind: Config\n"),
    ]);
    let config = host.found();
    assert!(!config.fail_swap_on.value, "the flag of kubeadm's environment file counts");
    let teller = Teller::Environment("/etc/sysconfig/kubelet".into());
    assert_eq!(config.fail_swap_on.origin, Origin::Flag(teller));
    assert_eq!(config.cgroup_driver.origin, Origin::File(kubeadm.into()));

    let host = Host::new(&[
        (
            "/etc/systemd/system/kubelet.service",
            "[Service]\nEnvironmentFile=-/etc/kubernetes/kubelet.env\n\
             ExecStart=/usr/local/bin/kubelet $KUBELET_ARGS\n",
        ),
        (
            "/etc/kubernetes/kubelet.env",
            "KUBELET_ARGS=\"--config=/etc/kubernetes/kubelet-config.yaml --kubeconfig=/etc/k\"\n",
        ),
        ("/etc/kubernetes/kubelet-config.yaml", &format!("{HEAD}failSwapOn: True\n")),
    ]);
    let config = host.found();
    assert!(config.fail_swap_on.value);
    let file = "/etc/kubernetes/kubelet-config.yaml";
    assert_eq!(config.fail_swap_on.origin, Origin::File(file.into()));
    host.write(
        "/etc/systemd/system/kubelet.service.d/20-swap.conf",
        "[Service]\nEnvironment=X=--fail-swap-on=false\nExecStart=\n\
         ExecStart=/usr/local/bin/kubelet $KUBELET_ARGS ${X}\n",
    );
    assert!(!host.found().fail_swap_on.value, "the unit's drop-in counts");
    fs::remove_file(host.roots.path(file)).unwrap();
    let error = host.config().unwrap_err();
    assert!(
        error.contains(&format!("{file} does not exist (kubelet.service names it)")),
        "{error}"
    );

    let host = Host::new(&[
        (
            "/etc/kubernetes/kubelet.conf",
            &format!("{HEAD}failSwapOn: false\nmemorySwap:\n  swapBehavior: LimitedSwap\n"),
        ),
        (
            "/etc/openshift/kubelet.conf.d/50-x.conf",
            &format!("{HEAD}memorySwap: {{}}\nmaxPods: 500\n"),
        ),
        (
            "/usr/lib/systemd/system/kubelet.service",
            "[Service]\nExecStart=/usr/local/bin/kubenswrapper \\\n    /usr/bin/kubelet \\\n      \
             --config=/etc/kubernetes/kubelet.conf \\\n      --config-dir=/etc/openshift/kubelet.conf.d\n",
        ),
    ]);
    let config = host.found();
    assert_eq!(config.swap_behavior.value, "LimitedSwap");
    assert_eq!(config.drop_ins, [PathBuf::from("/etc/openshift/kubelet.conf.d/50-x.conf")]);
}

#[test]
fn the_running_kubelet_tells_best_and_no_tenant_does() {
    let host = Host::new(&[
        (
            "/etc/systemd/system/kubelet.service",
            "[Service]\nExecStart=/usr/bin/kubelet --config=/a\n",
        ),
        ("/a", &format!("{HEAD}failSwapOn: true\n")),
        ("/b", &format!("{HEAD}failSwapOn: false\n")),
    ]);
    let config = "--config=/b";
    for (pid, status, cgroup) in [
        (3, STATUS, "/kubepods.slice/kubepods-podx.slice/crio-x.scope"),
        (
            4,
            STATUS,
            "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-podx.slice/crio-x.scope",
        ),
        (5, "Uid:\t1000\t1000\t1000\t1000\nNSpid:\t5\n", OF_UNIT),
        (6, "Uid:\t0\t0\t0\t0\nNSpid:\t6\t1\n", OF_UNIT),
        (7, STATUS, "/system.slice/crio-1234.scope"),
        (8, "Uid:\t0\t0\t0\t0\nNSpid:\t8\t1\n", "/system.slice/docker-1234.scope"),
    ] {
        host.process(pid, "kubelet", status, cgroup, &["kubelet", config]);
        assert_eq!(host.found().file, Some("/a".into()), "process {pid} is not the node's kubelet");
    }
    host.process(9, "kubelet", STATUS, "/user.slice/x.scope", &["kubelet", "--config=/none"]);
    host.process(10, "kubelet", STATUS, OF_UNIT, &["/usr/bin/kubelet", config]);
    let found = host.found();
    assert_eq!((found.file, found.told_by), (Some("/b".into()), Teller::Process(10)));
    host.process(10, "hyperkube", STATUS, OF_UNIT, &["/hyperkube", "kubelet", config, ""]);
    assert!(host.config().unwrap_err().contains("reads \"\" as a command"));
}

#[test]
fn a_kubelet_by_docker_is_read_where_it_reads() {
    let host = Host::new(&[
        ("/proc/8/root/etc/k", &format!("{HEAD}failSwapOn: false\n")),
        ("/etc/k", HEAD),
    ]);
    let words = ["kubelet", "--config=/etc/k"];
    host.process(8, "kubelet", STATUS, "/system.slice/docker-1234.scope", &words);
    let found = host.found();
    let file = Some("/proc/8/root/etc/k".into());
    assert_eq!((found.told_by, found.file), (Teller::Process(8), file));
    host.process(9, "kubelet", STATUS, "/user.slice/x.scope", &words);
    assert_eq!(host.found().told_by, Teller::Process(9), "one at the host takes precedence");
}

#[test]
fn relative_paths_begin_at_the_kubelets_working_folder() {
    let unit = "[Service]\nWorkingDirectory=-%S/kubelet\nExecStart=/usr/bin/kubelet --config=k\n";
    let host = Host::new(&[
        ("/etc/systemd/system/kubelet.service", unit),
        ("/var/lib/kubelet/k", HEAD),
        ("/srv/k", HEAD),
    ]);
    assert_eq!(host.found().file, Some("/var/lib/kubelet/k".into()));
    host.process(9, "kubelet", STATUS, OF_UNIT, &["kubelet", "--config=k"]);
    std::os::unix::fs::symlink("/srv", host.roots.path("/proc/9/cwd")).unwrap();
    assert_eq!(host.found().file, Some("/srv/k".into()));
}

/// Such a unit is no proof that there is no kubelet, and its words are not the kubelet's.
#[test]
fn what_a_wrapper_tells_the_kubelet_is_not_known() {
    let unit = "/etc/systemd/system/kubelet.service";
    let host = Host::new(&[("/etc/k", &format!("{HEAD}failSwapOn: false\n"))]);
    for start in [
        "/usr/local/bin/start-kubelet.sh",
        "/bin/sh -c 'exec /usr/bin/kubelet --config=/etc/k'",
        "/bin/bash -c /usr/bin/kubelet",
        "/usr/bin/podman run --name kubelet quay.io/poseidon/kubelet:v1.31.0 --config=/etc/k",
        "/usr/bin/docker start -a kubelet",
    ] {
        host.write(unit, &format!("[Service]\nExecStart={start}\n"));
        let program = start.split(' ').next().unwrap();
        let error = host.config().unwrap_err();
        assert!(error.starts_with(&format!("kubelet.service starts {program}, so ")), "{error}");
        assert!(!usual_of(&host, "/etc/k").fail_swap_on.value, "node.kubelet-config counts");
    }
    host.process(9, "kubelet", STATUS, OF_UNIT, &["kubelet", "--config=/etc/k"]);
    assert_eq!(host.found().told_by, Teller::Process(9));
    let masked = Host::new(&[(unit, "")]);
    assert_eq!(masked.config(), Ok(None));
}

#[test]
fn environment_files_have_wildcards_and_comments_of_any_encoding() {
    let unit = "/etc/systemd/system/kubelet.service";
    let text = |file: &str| {
        format!("[Service]\nEnvironmentFile=-{file}\nExecStart=/usr/bin/kubelet --config=/k $A\n")
    };
    let host = Host::new(&[
        (unit, &text("/etc/k*/env.d/*.env")),
        ("/k", &format!("{HEAD}failSwapOn: false\n")),
        ("/etc/kubernetes/env.d/a.env", "A=--fail-swap-on=false\n"),
        ("/etc/kubernetes/env.d/b.env", "A=--fail-swap-on=true\n"),
        ("/etc/kubernetes/env.d/.c.env", "A=\n"),
    ]);
    assert!(host.found().fail_swap_on.value, "the last of them counts");
    host.write(unit, &text("/etc/x"));
    let latin = b"# f\xfcr den Knoten\nA=--fail-swap-on=true\n";
    fs::write(host.roots.path("/etc/x"), latin).unwrap();
    assert!(host.found().fail_swap_on.value);
    let value = b"B=f\xfcr\nA=--fail-swap-on=true\n";
    fs::write(host.roots.path("/etc/x"), value).unwrap();
    assert!(!host.found().fail_swap_on.value, "systemd ignores this file");
    let of_unit = [b"# f\xfcr\n", text("/none").as_bytes()].concat();
    fs::write(host.roots.path(unit), of_unit).unwrap();
    assert_eq!(host.found().told_by, Teller::Unit(UNIT.to_owned()));
}

#[test]
fn a_fifo_does_not_block() {
    let unit = "[Service]\nEnvironmentFile=/etc/x\nExecStart=/usr/bin/kubelet --config=/k\n";
    let host = Host::new(&[("/etc/systemd/system/kubelet.service", unit)]);
    never(&host, "/etc/x");
    never(&host, "/k");
    let roots = host.roots.clone();
    let error = at_once(move || config(&roots, &Settings::defaults()).unwrap_err().to_string());
    assert!(error.contains("/k: not a regular file"), "{error}");
}

/// Runs `look` and fails if it blocks.
fn at_once<T: Send + 'static>(look: impl FnOnce() -> T + Send + 'static) -> T {
    let (send, receive) = std::sync::mpsc::channel();
    std::thread::spawn(move || send.send(look()));
    receive.recv_timeout(Duration::from_secs(30)).expect("it reads what it must not")
}

/// Creates a file that no program ever writes to: its reader blocks.
fn never(host: &Host, path: &str) {
    host.write(path, "");
    fs::remove_file(host.roots.path(path)).unwrap();
    nix::unistd::mkfifo(&host.roots.path(path), nix::sys::stat::Mode::S_IRWXU).unwrap();
}

#[test]
fn the_units_own_cgroup_tells_the_kubelet_and_no_other_process_is_read() {
    let host = Host::new(&[("/k", HEAD)]);
    host.process(9, "kubelet", STATUS, OF_UNIT, &["kubelet", "--config=/k"]);
    host.write("/sys/fs/cgroup/system.slice/kubelet.service/cgroup.procs", "7\n9\n");
    host.write("/proc/7/comm", "du\n");
    never(&host, "/proc/3/comm");
    let roots = host.roots.clone();
    let found = at_once(move || config(&roots, &Settings::defaults()).unwrap().unwrap());
    assert_eq!(found.told_by, Teller::Process(9));
}

#[test]
fn of_a_tenants_process_that_is_called_kubelet_only_the_cgroup_is_read() {
    let host = Host::new(&[("/k", HEAD)]);
    let of_tenant = "/kubepods.slice/kubepods-podx.slice/crio-x.scope";
    host.process(3, "kubelet", STATUS, of_tenant, &["kubelet", "--config=/none"]);
    never(&host, "/proc/3/status");
    host.process(9, "kubelet", STATUS, "/kubelet.slice/x.service", &["kubelet", "--config=/k"]);
    let roots = host.roots.clone();
    let found = at_once(move || config(&roots, &Settings::defaults()).unwrap().unwrap());
    assert_eq!(found.told_by, Teller::Process(9));
}

#[test]
fn while_the_kubelet_restarts_what_it_was_told_counts() {
    let unit = "[Service]\nExecStart=/usr/bin/kubelet --config=/a\n";
    let host =
        Host::new(&[("/etc/systemd/system/kubelet.service", unit), ("/a", HEAD), ("/b", HEAD)]);
    let mut kubelet = Kubelet::default();
    let settings = Settings::defaults();
    let mut found = || {
        let config = kubelet.config(&host.roots, &settings).unwrap().unwrap();
        (config.file.unwrap().display().to_string(), config.told_by, kubelet.is_by_unit())
    };
    assert_eq!(found(), ("/a".to_owned(), Teller::Unit(UNIT.to_owned()), true));
    host.process(9, "kubelet", STATUS, OF_UNIT, &["kubelet", "--config=/b"]);
    assert_eq!(found(), ("/b".to_owned(), Teller::Process(9), false));
    fs::remove_dir_all(host.roots.path("/proc/9")).unwrap();
    assert_eq!(found(), ("/b".to_owned(), Teller::LastProcess(9), false));
    host.process(12, "kubelet", STATUS, OF_UNIT, &["kubelet", "--config=/a"]);
    assert_eq!(found(), ("/a".to_owned(), Teller::Process(12), false));
    fs::remove_dir_all(host.roots.path("/proc/12")).unwrap();
    kubelet.forget();
    let told = kubelet.config(&host.roots, &settings).unwrap().unwrap().told_by;
    assert_eq!(told, Teller::Unit(UNIT.to_owned()));
}

#[test]
fn without_a_kubelet_there_is_none_and_a_broken_one_is_named() {
    let host = Host::new(&[]);
    assert_eq!(host.config(), Ok(None));
    host.write("/etc/kubernetes/kubelet.conf", "kind: [");
    let error = host.config().unwrap_err();
    assert!(error.starts_with("cannot read /etc/kubernetes/kubelet.conf: "), "{error}");
    host.write("/etc/kubernetes/kubelet.conf", &format!("{HEAD}failSwapOn: false\n"));
    assert_eq!(host.found().told_by, Teller::Nobody);
    let folder = "/etc/openshift/kubelet.conf.d/a";
    host.write(&format!("{folder}/9.conf"), "failSwapOn: true\n");
    let error = host.config().unwrap_err();
    assert!(error.starts_with(&format!("cannot read {folder}/9.conf: ")), "{error}");
    let mut settings = Settings::defaults();
    settings.kubelet_config = Some("/etc/other".into());
    host.write("/etc/other", &format!("{HEAD}failSwapOn: false\nfailSwapOn: false\n"));
    let found = config(&host.roots, &settings).unwrap().unwrap();
    assert_eq!(found.warnings, ["/etc/other: failSwapOn occurs twice; the kubelet uses the last"]);
}

/// Source: Kubernetes `cmd/kubelet/app/server.go`, `kubeletConfigFlagPrecedence`: gates of flags
/// override, and gates that only the files name stay.
#[test]
fn the_gate_node_swap_is_read_from_file_drop_in_and_flag() {
    let kubelet = "/etc/kubernetes/kubelet.conf";
    let host = Host::new(&[(kubelet, HEAD)]);
    let gate_of = |host: &Host| host.found().gates.remove(NODE_SWAP);
    assert_eq!(gate_of(&host), None);
    host.write(kubelet, &format!("{HEAD}featureGates:\n  NodeSwap: true\n  Other: false\n"));
    let gate = |host: &Host| gate_of(host).map(|gate| (gate.value, gate.origin));
    assert_eq!(gate(&host), Some((true, Origin::File(kubelet.into()))));
    let drop_in = "/etc/openshift/kubelet.conf.d/9.conf";
    host.write(drop_in, &format!("{HEAD}featureGates:\n  NodeSwap: false\n"));
    assert_eq!(gate(&host), Some((false, Origin::DropIn(drop_in.into()))));
    host.write(
        "/etc/systemd/system/kubelet.service",
        "[Service]\nExecStart=/usr/bin/kubelet --config=/etc/kubernetes/kubelet.conf \
         --config-dir=/etc/openshift/kubelet.conf.d --feature-gates=X=true,NodeSwap=true\n",
    );
    let unit = Teller::Unit("kubelet.service".into());
    assert_eq!(gate(&host), Some((true, Origin::Flag(unit))));
}

/// Pastes `lines` into a shell; returns true if they restart the kubelet.
fn pasted(host: &Host, lines: &[String]) -> bool {
    let root = host.roots.path("/");
    let restarted = root.join("restarted");
    let script = format!(
        "systemctl() {{ [ \"$*\" = 'restart kubelet' ] && touch {}; }}\n{}",
        restarted.display(),
        lines.join("\n").replace(" /k", &format!(" {}/k", root.display()))
    );
    let shell = std::process::Command::new("bash").args(["-e", "-c", &script]).output().unwrap();
    let restarted = fs::remove_file(restarted).is_ok();
    let said = String::from_utf8_lossy(&shell.stderr);
    assert_eq!(shell.status.success(), restarted, "{script}: {said}");
    restarted
}

/// Both remedies of `wasp-agent check`, from one report, in this order and in the other.
#[test]
fn the_remedies_of_two_keys_work_together() {
    use crate::{decide::kubelet::commands_to_set, model::system::System};
    let rhel = System::default();
    let block = "failSwapOn: true # x\nmemorySwap:\n  swapBehavior: LimitedSwap\n";
    let json = |space: &str| {
        format!(
            "{{\"apiVersion\":\"kubelet.config.k8s.io/v1beta1\",\"kind\":\"KubeletConfiguration\",\
             {space}\"failSwapOn\":true,{space}\"memorySwap\":{{\"swapBehavior\": \"LimitedSwap\"}}}}"
        )
    };
    let head = |text: &str| format!("{HEAD}{text}");
    for (file, drop_ins) in [
        (head(block), None),
        (head("'failSwapOn': true\n\"memorySwap\": {swapBehavior: 'LimitedSwap'}\n"), None),
        (head("memorySwap:\n  swapBehavior: LimitedSwap\n"), None),
        (head("failSwapOn: yes\nmemorySwap: {\"swapBehavior\": \"LimitedSwap\"}\n"), None),
        (json(""), None),
        (json("\n  "), None),
        (head(block), Some(&[][..])),
        (json(""), Some(&["1.conf"])),
        (head(""), Some(&["99-wasp-agent.conf"])),
        (head(""), Some(&["99-wasp-agent-failSwapOn.conf"])),
        (head(""), Some(&["10.conf", "z/zzz-site.conf"])),
    ] {
        for turned in [false, true] {
            let host = Host::new(&[("/k", &file)]);
            for name in drop_ins.into_iter().flatten() {
                host.write(&format!("/kd/{name}"), &head(block));
            }
            let mut words = vec!["--config=/k".to_owned()];
            if drop_ins.is_some() {
                fs::create_dir_all(host.roots.path("/kd")).unwrap();
                words.push("--config-dir=/kd".to_owned());
            }
            let told_by = Teller::Process(1);
            let found =
                || by_flags(&host.roots, &parsed(&words, &told_by).unwrap(), &told_by).unwrap();
            let config = found();
            let (fails, behavior) = (&config.fail_swap_on, &config.swap_behavior);
            assert!(fails.value && behavior.value == "LimitedSwap", "{file}");
            let mut remedies = [
                commands_to_set(
                    &rhel,
                    &config,
                    &fails.origin,
                    "failSwapOn",
                    "false",
                    "--fail-swap-on",
                ),
                commands_to_set(
                    &rhel,
                    &config,
                    &behavior.origin,
                    "memorySwap.swapBehavior",
                    "NoSwap",
                    "",
                ),
            ];
            if turned {
                remedies.reverse();
            }
            for remedy in &remedies {
                assert!(pasted(&host, remedy), "{file} {drop_ins:?}: {remedy:?}");
            }
            let config = found();
            let now = (config.fail_swap_on.value, config.swap_behavior.value);
            assert_eq!(now, (false, "NoSwap".to_owned()), "{file} {drop_ins:?}: {remedies:?}");
        }
    }
    let split = "? failSwapOn\n: true\n";
    let host = Host::new(&[("/k", &head(split))]);
    let config = usual_of(&host, "/k");
    let remedy =
        commands_to_set(&rhel, &config, &config.fail_swap_on.origin, "failSwapOn", "false", "");
    assert!(!pasted(&host, &remedy), "it restarts an unchanged kubelet");
    let host = Host::new(&[("/k", "{\"kind\": \"KubeletConfiguration\"}")]);
    let remedy = commands_to_set(
        &rhel,
        &KubeletConfig { file: Some("/k".into()), ..KubeletConfig::default() },
        &Origin::Default,
        "failSwapOn",
        "false",
        "",
    );
    assert!(!pasted(&host, &remedy), "nothing is appended to JSON");
}

fn usual_of(host: &Host, path: &str) -> KubeletConfig {
    let mut settings = Settings::defaults();
    settings.kubelet_config = Some(path.into());
    config(&host.roots, &settings).unwrap().unwrap()
}

/// Go's `filepath.WalkDir` gives a link as it is, and does not follow it.
#[test]
fn a_config_dir_that_is_a_link_has_no_drop_ins() {
    let host = Host::new(&[("/k", HEAD), ("/srv/d/1.conf", &format!("{HEAD}failSwapOn: false\n"))]);
    fs::create_dir(host.roots.path("/etc")).unwrap();
    std::os::unix::fs::symlink("../srv/d", host.roots.path("/etc/kd")).unwrap();
    for (folder, fails) in [("/etc/kd", true), ("/etc/kd/", false), ("/srv/d", false)] {
        let words = ["--config=/k".to_owned(), format!("--config-dir={folder}")];
        let told_by = Teller::Process(1);
        let config = by_flags(&host.roots, &parsed(&words, &told_by).unwrap(), &told_by).unwrap();
        assert_eq!(config.fail_swap_on.value, fails, "{folder}");
        assert_eq!(config.drop_in_folder.is_none(), fails, "{folder}");
    }
}

proptest! {
    /// Any content of these files is read or rejected.
    #[test]
    fn no_text_panics(
        file in "(apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n)?(\\PC|[\n:{}\\[\\],&*!|>'\"%-]){0,80}",
        words in proptest::collection::vec("(--)?(config|eviction-hard|fail-swap-on|cgroup-root|v)?[=<,]?\\PC{0,8}", 0..6),
        unit in "(\\[Service\\]\n)?(ExecStart=|Environment=|EnvironmentFile=)?(\\PC|[\n\\\\\"'$%{}]){0,60}",
        text in "(\\PC|[%.+_-]){0,8}",
    ) {
        let _ = Document::parse(&file);
        let path = PathBuf::from("/k");
        let flags = flags::parse(&words);
        let texts = Texts {
            file: Some((path.clone(), file.clone())),
            drop_ins: Some(vec![(path, file.clone())]),
        };
        let found = effective(&texts, &flags.unwrap_or_default(), &Teller::Nobody);
        if let Ok(config) = found {
            let _ = config.thresholds(MEMORY_AVAILABLE, u64::MAX);
            let _ = config.pods_roots();
        }
        let mut service = Service::default();
        service.read("kubelet.service", &unit);
        let _ = service.command_line(|_| Some(unit.clone()));
        if let Ok(Some(bytes)) = threshold(&text, 1 << 40) {
            prop_assert!(!text.ends_with('%') || bytes <= 1 << 40, "{text}");
        }
    }
}
