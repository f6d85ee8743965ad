//! A host that waits for the OCI hook: files in a directory, created once and restored before each
//! run.

use std::{cell::LazyCell, fs, path::PathBuf};

use wasp_agent::{
    hook::{self, Done, Nothing, Progress},
    roots::Roots,
};

/// The most that all pods together may swap; no estimate may exceed it.
pub const SWAP_FOR_PODS: u64 = 1_000_000;
/// The published grant of container `c`.
pub const GRANT: u64 = 777_000;
/// The pod of `tests/fixtures/oci/burstable-request-200Mi.json`.
const UID: &str = "9ce832f3-695f-417d-92ca-d8c057154274";
const SETTINGS: &str = r#"{
    "version": 1, "policy": "limited", "eligibility": "burstable", "when_unknown": "estimate",
    "denied_namespaces": ["openshift*"], "ram_bytes": 4294967296, "swap_for_pods_bytes": 1000000
}"#;

#[derive(Debug)]
pub struct Host {
    roots: Roots,
    levels: [PathBuf; 2],
    record: PathBuf,
    folder: tempfile::TempDir,
}

impl Host {
    pub fn new(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let pod = format!("kubepods-burstable-pod{}.slice", UID.replace('-', "_"));
        let id = "00dd39bc46e3672b4c7662a49f4b1403";
        let scope = format!("kubepods.slice/kubepods-burstable.slice/{pod}/crio-{id}.scope");
        for (path, text) in [
            ("bundle/config.json", config),
            ("proc/4242/cgroup", &format!("0::/{scope}/container\n")),
            ("proc/1/cgroup", "0::/init.scope\n"),
            ("run/wasp-agent/hook.json", SETTINGS),
            ("run/wasp-agent/pods/.keep", ""),
            (&format!("sys/fs/cgroup/{scope}/container/memory.swap.max"), "max\n"),
        ] {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Self {
            roots: Roots::at(folder.path()),
            levels: ["", "/container"].map(|level| {
                folder.path().join(format!("sys/fs/cgroup/{scope}{level}/memory.swap.max"))
            }),
            record: folder.path().join(format!("run/wasp-agent/pods/{UID}.json")),
            folder,
        }
    }

    pub fn set_config(&self, config: &[u8]) {
        fs::write(self.folder.path().join("bundle/config.json"), config).unwrap();
    }

    fn state(&self) -> Vec<u8> {
        let bundle = self.folder.path().join("bundle");
        format!(r#"{{"pid": 4242, "bundle": {bundle:?}}}"#).into_bytes()
    }

    pub fn publish(&self) {
        let text = format!(r#"{{"version": 1, "pod": {{}}, "grants": {{"c": "{GRANT}"}}}}"#);
        fs::write(&self.record, text).unwrap();
    }

    pub fn forget(&self) {
        let _ = fs::remove_file(&self.record);
    }

    /// Runs the hook where the runtime has left swap unlimited. Returns `None` for limits that are
    /// still so.
    pub fn run(&self, state: &[u8]) -> (Result<Done, Nothing>, [Option<u64>; 2]) {
        for level in &self.levels {
            fs::write(level, "max\n").unwrap();
        }
        let result = hook::run(&self.roots, state, &Progress::default());
        let limits = self.levels.each_ref().map(|level| {
            let text = fs::read_to_string(level).unwrap();
            (text.trim() != "max").then(|| text.trim().parse().unwrap())
        });
        (result, limits)
    }
}

/// Any bytes as the container's `config.json`: the container gets its grant, an estimate within the
/// node's swap, or 0, but never keeps the runtime's limit.
pub fn oci_config(config: &[u8]) {
    thread_local! {
        static HOST: LazyCell<Host> = LazyCell::new(|| Host::new(""));
    }
    HOST.with(|host| {
        host.set_config(config);
        host.forget();
        let (result, limits) = host.run(&host.state());
        let done = result.expect("the state is good");
        assert_eq!(done.failed, [""; 0]);
        assert_eq!(limits[0], limits[1]);
        assert!(limits[0].is_some_and(|limit| limit <= SWAP_FOR_PODS), "{limits:?} {done:?}");

        host.publish();
        let (result, limits) = host.run(&host.state());
        let done = result.expect("the state is good");
        assert_eq!(limits[0], limits[1]);
        assert!(matches!(limits[0], Some(0 | GRANT)), "{limits:?} {done:?}");
    });
}

/// Any bytes as the runtime's state: the hook acts on the container in it, or on none.
pub fn runtime_state(state: &[u8]) {
    const CONFIG: &str = include_str!("../../tests/fixtures/oci/burstable-request-200Mi.json");
    thread_local! {
        static HOST: LazyCell<Host> = LazyCell::new(|| {
            let host = Host::new(CONFIG);
            // So that a state can name its bundle by a relative path.
            std::env::set_current_dir(host.folder.path()).unwrap();
            host
        });
    }
    HOST.with(|host| {
        let (result, limits) = host.run(state);
        match result {
            Ok(done) => {
                assert_eq!(done.failed, [""; 0]);
                assert_eq!(limits[0], limits[1]);
                assert!(
                    limits[0].is_some_and(|limit| limit <= SWAP_FOR_PODS),
                    "{limits:?} {done:?}"
                );
            }
            Err(nothing) => assert_eq!(limits, [None; 2], "{nothing}"),
        }
    });
}
