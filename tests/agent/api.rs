//! The agent and its API server: credentials, outages, lists and watches.

use super::*;

#[test]
fn a_certificate_is_rotated_under_it() {
    let (host, (_data, server)) = (host(), api_server());
    host.use_kubeconfig(&server);
    let agent = Agent::start(&host);
    let issued = server.rotate(NODE, Validity::for_the_next(Duration::from_secs(3600))).unwrap();
    server.revoke_before(NODE, issued.serial).unwrap();
    server.drop_watches().unwrap();
    let pod = server.apply(&pod("after", NODE, Some("100Mi"), None)).unwrap();
    let cgroup = host.container(uid(&pod), &container_id(1), "main", "max");
    host.await_limit(&cgroup, &half(100));
    assert_eq!(agent.stop().0, Some(0));
}

#[test]
fn an_expiring_certificate_is_said() {
    let (host, (_data, server)) = (host(), api_server());
    host.use_kubeconfig(&server);
    server.rotate(NODE, Validity::for_the_next(Duration::from_secs(1800))).unwrap();
    let mut agent = Agent::start(&host);
    agent.hears("STATUS=the kubelet's client certificate expires in 2");
}

#[test]
fn without_the_api_server_it_goes_by_what_it_knew() {
    let (host, (_data, mut server)) = (host(), api_server());
    host.use_kubeconfig(&server);
    let known = server.apply(&pod("known", NODE, Some("100Mi"), None)).unwrap();
    let known_cgroup = host.container(uid(&known), &container_id(1), "main", "max");
    let agent = Agent::start(&host);
    host.await_limit(&known_cgroup, &half(100));
    let later = server.apply(&pod("later", NODE, Some("200Mi"), None)).unwrap();
    let record = host.path(&format!("/run/wasp-agent/pods/{}.json", uid(&later)));
    while !record.exists() {
        std::thread::sleep(Duration::from_millis(1));
    }
    agent.signal("-KILL");
    agent.ends();

    server.stop().unwrap();
    host.set_limit(&known_cgroup, "max");
    let later_cgroup = host.container(uid(&later), &container_id(2), "main", "max");
    let unknown_cgroup =
        host.container("9192cfa8-0000-4444-9bb8-9701e3620c02", &container_id(3), "main", "max");
    let mut agent = Agent::start(&host);
    agent.hears("STATUS=API server not reachable, no list of pods yet");
    host.await_limit(&known_cgroup, &half(100));
    host.await_limit(&later_cgroup, &half(200));
    assert_eq!(host.limit(&unknown_cgroup), "0");

    server.start().unwrap();
    let status = agent.hears("STATUS=Swap 2.0 GiB");
    assert!(status.contains("2 of ") && status.contains("may swap up to 150.0 MiB"), "{status}");
}

#[test]
fn troubles_of_the_api_server_pass() {
    let (host, (_data, server)) = (host(), api_server());
    host.use_kubeconfig(&server);
    for broken in [
        json!({"verb": "list", "resource": "pods", "code": 500, "times": 1}),
        json!({"verb": "list", "resource": "pods", "garbage": "truncated", "times": 1}),
        json!({"verb": "watch", "resource": "pods", "code": 410, "times": 1}),
        json!({"verb": "watch", "resource": "pods", "garbage": "invalid", "times": 1}),
        json!({"verb": "watch", "resource": "pods", "cutAfterEvents": 1, "times": 1}),
    ] {
        server.fault(fault(broken)).unwrap();
    }
    let agent = Agent::start(&host);
    for number in 1..=4 {
        let pod = server.apply(&pod(&format!("p{number}"), NODE, Some("100Mi"), None)).unwrap();
        let cgroup = host.container(uid(&pod), &container_id(number), "main", "max");
        host.await_limit(&cgroup, &half(100));
    }
    assert_eq!(agent.stop().0, Some(0));
}

#[test]
fn a_quiet_node_hears_that_the_api_server_is_back() {
    let (host, (_data, server)) = (host(), api_server());
    host.use_kubeconfig(&server);
    let mut agent = Agent::start(&host);
    agent.hears("STATUS=Swap 2.0 GiB");
    // STATUS changes at most once a second.
    server.fault(fault(json!({"closeListenerMs": 3000}))).unwrap();
    agent.hears("STATUS=API server not reachable, using its last list of pods");
    agent.hears("STATUS=Swap 2.0 GiB");
    assert_eq!(agent.stop().0, Some(0));
}

#[test]
fn every_list_and_watch_is_of_this_node_only() {
    let (host, (_data, server)) = (host(), api_server());
    host.use_kubeconfig(&server);
    let agent = Agent::start(&host);
    let requests = server.requests().unwrap();
    let rows = requests["requests"].as_array().unwrap_or_else(|| panic!("{requests}"));
    let ours: Vec<_> = rows.iter().filter(|row| row["user"] == "system:node:node-a").collect();
    assert!(!ours.is_empty(), "{requests}");
    for row in ours {
        assert_eq!(row["selector"], "fieldSelector=spec.nodeName=node-a", "{row}");
        assert_eq!(
            row["codes"].as_object().map(|codes| codes.keys().all(|c| c == "200")),
            Some(true),
            "{row}"
        );
    }
    drop(agent);
}

#[test]
fn a_kubeconfig_that_comes_later_is_found() {
    let (host, (_data, server)) = (host(), api_server());
    fs::create_dir_all(host.path("/var/lib/kubelet")).unwrap();
    let mut agent = Agent::start(&host);
    agent.hears(
        "STATUS=no credentials for the API server, no list of pods yet (no kubeconfig of the kubelet at",
    );
    host.use_kubeconfig(&server);
    agent.hears("STATUS=Swap 2.0 GiB");
}
