//! The agent and its host: swap, the kubelet's configuration, cgroups, systemd and the hook.

use super::*;

#[test]
fn swap_that_changes_changes_every_grant() {
    let (host, (_data, server)) = (host(), api_server());
    host.use_kubeconfig(&server);
    let pod = server.apply(&pod("p", NODE, Some("100Mi"), None)).unwrap();
    let cgroup = host.container(uid(&pod), &container_id(1), "main", "max");
    let agent = Agent::start(&host);
    assert_eq!(host.limit(&cgroup), half(100));
    host.memory(4096 * MIB, 4096 * MIB);
    // A reload looks at everything; on a real node the kernel reports the change (tests/node:
    // swap-changes).
    agent.signal("-HUP");
    host.await_limit(&cgroup, &half(200));
    let record =
        fs::read_to_string(host.path(&format!("/run/wasp-agent/pods/{}.json", uid(&pod)))).unwrap();
    assert!(record.contains(&format!("\"main\":\"{}\"", half(200))), "{record}");
}

/// Regression: an agent that started while the kubelet's configuration could not be read granted
/// swap itself.
#[test]
fn while_the_kubelets_configuration_cannot_be_read_nobody_gets_swap() {
    let (host, (_data, server)) = (host(), api_server());
    host.use_kubeconfig(&server);
    let config = "/etc/kubernetes/kubelet.conf";
    host.write(config, "kind: [");
    let hook = host.path("/run/containers/oci/hooks.d/99-wasp-agent.json");
    host.write("/run/containers/oci/hooks.d/99-wasp-agent.json", "{}");
    let new = |name: &str, number: usize, swap_max: &str| {
        let pod = server.apply(&pod(name, NODE, Some("100Mi"), None)).unwrap();
        let cgroup = host.container(uid(&pod), &container_id(number), "main", swap_max);
        (pod, cgroup)
    };
    let (pod, none) = new("none", 1, "0");
    let (_, unlimited) = new("unlimited", 2, "max");
    let (_, as_before) = new("as-before", 3, &half(100));
    let mut agent = Agent::start(&host);
    let status = agent.hears("STATUS=cannot read /etc/kubernetes/kubelet.conf");
    assert!(status.contains("and raises no limit"), "{status}");
    assert_eq!(host.limit(&none), "0");
    assert_eq!(host.limit(&unlimited), "0");
    assert_eq!(host.limit(&as_before), half(100), "what an agent before has granted stays");
    assert!(!hook.exists(), "the hook is removed");
    let record =
        fs::read_to_string(host.path(&format!("/run/wasp-agent/pods/{}.json", uid(&pod)))).unwrap();
    assert!(record.contains(r#""grants":{"main":"0"}"#), "{record}");
    // A reload with the same file changes nothing; one with a readable file does.
    agent.signal("-HUP");
    agent.hears("READY=1");
    assert_eq!(host.limit(&none), "0");
    host.write(config, "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nfailSwapOn: false\n");
    agent.signal("-HUP");
    host.await_limit(&none, &half(100));
    host.await_limit(&unlimited, &half(100));
    // From now on an unreadable file keeps the settings in effect.
    host.write(config, "kind: [");
    agent.signal("-HUP");
    agent.hears("STATUS=cannot read /etc/kubernetes/kubelet.conf");
    assert_eq!(host.limit(&none), half(100));
}

#[test]
fn pods_below_the_kubelets_own_root_are_limited() {
    let (host, (_data, server)) = (host(), api_server());
    host.use_kubeconfig(&server);
    let config = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nfailSwapOn: false\ncgroupRoot: /kubelet\n";
    host.write("/etc/kubernetes/kubelet.conf", config);
    let pod = server.apply(&pod("p", NODE, Some("100Mi"), None)).unwrap();
    let id = container_id(1);
    let elsewhere = host.container(uid(&pod), &id, "main", "max");
    let cgroup = format!("/sys/fs/cgroup/kubelet/kubepods/burstable/pod{}/crio-{id}", uid(&pod));
    host.write(&format!("{cgroup}/memory.swap.current"), "0\n");
    host.write(&format!("{cgroup}/memory.swap.max"), "max\n");
    let mut agent = Agent::start(&host);
    agent.hears("Swap 2.0 GiB: 1 of ");
    assert_eq!(host.limit(&cgroup), half(100));
    assert_eq!(host.limit(&elsewhere), "max", "no pod of this kubelet");
    let status: serde_json::Value = serde_json::from_str(
        &fs::read_to_string(host.path("/run/wasp-agent/status.json")).unwrap(),
    )
    .unwrap();
    let values = status["kubelet"]["values"].as_array().unwrap();
    let root = values.iter().find(|value| value["key"] == "cgroupRoot").unwrap();
    assert_eq!(
        (&root["value"], &root["from"]),
        (&"/kubelet".into(), &"/etc/kubernetes/kubelet.conf".into())
    );
}

#[test]
fn a_host_without_cgroup_v2_is_said_and_survived() {
    let host = host();
    fs::remove_dir_all(host.path("/sys/fs/cgroup")).unwrap();
    fs::create_dir_all(host.path("/sys/fs/cgroup/memory")).unwrap();
    fs::remove_dir_all(host.path("/proc/pressure")).unwrap();
    let mut agent = Agent::start(&host);
    let status = agent.hears("STATUS=no credentials for the API server");
    assert!(status.contains("cgroup v2 is not mounted"), "{status}");
    assert!(status.contains("boot with psi=1"), "{status}");
}

/// As with `cgroup_disable=memory`: the hierarchy exists without the controller.
#[test]
fn a_kernel_without_a_memory_controller_is_named_in_the_status() {
    let host = host();
    host.write("/sys/fs/cgroup/cgroup.controllers", "cpuset cpu io hugetlb pids\n");
    let mut agent = Agent::start(&host);
    let status = agent.hears("STATUS=no credentials for the API server");
    assert!(status.contains("the kernel has no memory controller for cgroup v2"), "{status}");
    assert!(status.contains("remove cgroup_disable=memory"), "{status}");
}

#[test]
fn without_systemd_limits_hold_in_cgroupfs_and_the_status_says_so() {
    let (host, (_data, server)) = (host(), api_server());
    host.use_kubeconfig(&server);
    let pod = server.apply(&pod("p", NODE, Some("100Mi"), None)).unwrap();
    let slice = format!("kubepods-burstable-pod{}.slice", uid(&pod).replace('-', "_"));
    let id = container_id(1);
    host.container(uid(&pod), &id, "main", "max");
    let scope =
        format!("/sys/fs/cgroup/kubepods.slice/kubepods-burstable.slice/{slice}/crio-{id}.scope");
    fs::remove_dir_all(host.path("/sys/fs/cgroup/kubepods")).unwrap();
    host.write(&format!("{scope}/memory.swap.current"), "0\n");
    host.write(&format!("{scope}/memory.swap.max"), "max\n");
    host.write(&format!("{scope}/cgroup.procs"), "77\n");
    host.write("/proc/77/comm", "main\n");
    host.write("/proc/77/cmdline", "/main\0");
    let mut agent = Agent::start(&host);
    let status = agent.hears("1 limit that systemd does not have");
    assert!(status.contains("cannot reach systemd at"), "{status}");
    assert_eq!(host.limit(&scope), half(100));
}

#[test]
fn the_hook_is_installed_repaired_and_removed() {
    let (_data, server) = api_server();
    let host = FakeHost::new(4096 * MIB, 2048 * MIB);
    host.use_kubeconfig(&server);
    let foreign = "/run/containers/oci/hooks.d/50-foreign.json";
    host.write(foreign, "{}");
    let agent = Agent::start(&host);
    let definition = host.path("/run/containers/oci/hooks.d/99-wasp-agent.json");
    let text = fs::read_to_string(&definition).unwrap();
    let hook = agent_binary().with_file_name("wasp-hook");
    assert!(text.contains(hook.to_str().unwrap()), "{text}");
    let settings = fs::read_to_string(host.path("/run/wasp-agent/hook.json")).unwrap();
    let settings: serde_json::Value = serde_json::from_str(&settings).unwrap();
    assert_eq!(settings["swap_for_pods_bytes"], 2048 * MIB);
    assert_eq!(settings["denied_namespaces"][0], "openshift*");

    let comes_back = || {
        let start = Instant::now();
        while fs::read_to_string(&definition).ok().as_ref() != Some(&text) {
            assert!(start.elapsed() < PATIENCE, "the hook was not repaired");
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    fs::remove_file(&definition).unwrap();
    comes_back();
    fs::write(&definition, "{").unwrap();
    comes_back();

    let (code, log) = agent.stop();
    assert_eq!(code, Some(0), "{log}");
    assert!(definition.exists(), "without the agent, the hook counts most");
    let output = Agent::command(&host, &["cleanup"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(!definition.exists());
    assert!(!host.path("/run/wasp-agent/hook.json").exists());
    assert!(!host.path("/run/wasp-agent/pods").exists());
    assert_eq!(fs::read_to_string(host.path(foreign)).unwrap(), "{}");
}

#[test]
fn without_a_hooks_folder_the_agent_works_on_and_says_what_to_do() {
    let (_data, server) = api_server();
    let host = FakeHost::new(4096 * MIB, 2048 * MIB);
    host.use_kubeconfig(&server);
    // A file in the place of the directory, so that it cannot be created.
    host.write("/srv/hooks.d", "");
    let dir = "[crio.runtime]\nhooks_dir = [\"/srv/hooks.d\"]\n";
    host.write("/etc/crio/crio.conf.d/50-site.conf", dir);
    let mut agent = Agent::start(&host);
    let status =
        agent.hears("CRI-O reads /srv/hooks.d, where the agent cannot write (/srv/hooks.d: ");
    assert!(status.contains("/etc/crio/crio.conf.d/99-wasp-agent-hooks.conf"), "{status}");

    // When the directory can exist, the agent uses it immediately, long before the next resync.
    fs::remove_file(host.path("/srv/hooks.d")).unwrap();
    let start = Instant::now();
    while !host.path("/srv/hooks.d/99-wasp-agent.json").exists() {
        assert!(start.elapsed() < PATIENCE, "the hook was not installed");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(agent.stop().0, Some(0));
}
