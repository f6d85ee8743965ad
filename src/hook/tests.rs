use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use proptest::prelude::*;

use super::*;
use crate::{decide::grant::grant, model::host::NodeMemory};
use wasp_core::fixtures::{grant_settings, hook_settings as settings};

/// Real files of kubelet and CRI-O 1.36.
const FIXTURE: &str = include_str!("../../tests/fixtures/oci/burstable-request-200Mi.json");
const SIDECAR: &str = include_str!("../../tests/fixtures/oci/sidecar.json");
const UID: &str = "9ce832f3-695f-417d-92ca-d8c057154274";
const ID: &str = "00dd39bc46e3672b4c7662a49f4b14030c3020ad539add2671774a2c87436fb1";
const PID: i32 = 4242;

/// A host where a runtime has created the container's cgroups and waits for the hook.
struct Host {
    folder: tempfile::TempDir,
    roots: Roots,
    scope: String,
}

impl Host {
    fn new(config: &str, uid: &str, id: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::at(folder.path());
        let pod = format!("kubepods-burstable-pod{}.slice", uid.replace('-', "_"));
        let scope = format!("kubepods.slice/kubepods-burstable.slice/{pod}/crio-{id}.scope");
        let host = Self { folder, roots, scope };
        host.write("bundle/config.json", config);
        host.write(&format!("proc/{PID}/cgroup"), &format!("0::/{}/container\n", host.scope));
        for level in ["", "/container"] {
            let cgroup = format!("sys/fs/cgroup/{}{level}", host.scope);
            host.write(&format!("{cgroup}/memory.swap.max"), "max\n");
        }
        host
    }

    fn burstable() -> Self {
        Self::new(FIXTURE, UID, ID)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn publish(&self, grants: &str) {
        let text = format!(r#"{{"version":1,"pod":{{"any":"thing"}},"grants":{grants}}}"#);
        self.write(&format!("run/wasp-agent/pods/{UID}.json"), &text);
    }

    fn settings(&self) {
        self.write("run/wasp-agent/hook.json", &crate::state::text(&settings()).unwrap());
    }

    fn state(&self) -> String {
        let bundle = self.folder.path().join("bundle");
        serde_json::json!({"ociVersion": "1.3.0", "id": self.id(), "pid": PID, "bundle": bundle})
            .to_string()
    }

    fn id(&self) -> &str {
        self.scope.rsplit_once("/crio-").unwrap().1.trim_end_matches(".scope")
    }

    fn scope(&self) -> PathBuf {
        self.roots.cgroup().join(&self.scope)
    }

    /// Returns all files.
    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let (mut found, mut folders) = (BTreeMap::new(), vec![self.folder.path().to_owned()]);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap().flatten() {
                match entry.path() {
                    path if path.is_dir() => folders.push(path),
                    path => drop(found.insert(path.clone(), fs::read(path).unwrap())),
                }
            }
        }
        found
    }

    fn run(&self) -> Result<Done, Nothing> {
        run(&self.roots, self.state().as_bytes(), &Progress::default())
    }

    fn limits(&self) -> [String; 2] {
        ["", "/container"].map(|level| {
            let file = format!("{}{level}/memory.swap.max", self.scope);
            fs::read_to_string(self.roots.cgroup().join(file)).unwrap().trim().to_owned()
        })
    }
}

#[test]
fn a_published_grant_is_applied_to_the_byte_at_every_level() {
    let host = Host::burstable();
    host.publish(r#"{"c": "123456789", "other": "max"}"#);
    let done = host.run().unwrap();
    assert_eq!((done.swap_max, done.why), (SwapMax::Bytes(123_456_789), Why::Published));
    assert_eq!(done.failed, [""; 0]);
    assert_eq!(host.limits(), ["123456789", "123456789"]);
}

#[test]
fn another_container_of_a_known_pod_gets_none() {
    let host = Host::burstable();
    host.settings();
    host.publish(r#"{"other": "max"}"#);
    assert_eq!(host.run().unwrap().why, Why::NotPublishedForThisContainer);
    assert_eq!(host.limits(), ["0", "0"]);
}

#[test]
fn without_a_published_grant_the_request_is_estimated() {
    let host = Host::burstable();
    host.settings();
    let done = host.run().unwrap();
    let why = Why::Estimated { per_mille: 50, swap_for_pods_bytes: 1000 };
    assert_eq!((done.why, done.container_name.as_deref()), (why, Some("c")));
    assert_eq!(host.limits(), ["50", "50"]);
}

/// CRI-O copies a pod's annotations to config.json under their own keys, like the fixture's
/// `example.com/note`.
fn annotated(key: &str, value: &str) -> Host {
    let note = r#""example.com/note": "hello""#;
    assert!(FIXTURE.contains(note));
    Host::new(&FIXTURE.replace(note, &format!(r#""{key}": "{value}""#)), UID, ID)
}

#[test]
fn an_annotation_lowers_an_estimate_and_a_published_grant() {
    for (key, value, estimated, published) in [
        ("swap.wasp.io/limit", "0", "0", "0"),
        ("swap.wasp.io/limit.c", "20", "20", "20"),
        ("swap.wasp.io/limit", "1Gi", "50", "1000"),
        // The published grant already includes it.
        ("swap.wasp.io/limit", "50%", "25", "1000"),
        ("swap.wasp.io/limit", "half", "0", "0"),
        ("swap.wasp.io/limit.other", "0", "50", "1000"),
    ] {
        let host = annotated(key, value);
        host.settings();
        host.run().unwrap();
        assert_eq!(host.limits(), [estimated; 2], "{key}: {value}");
        host.publish(r#"{"c": "1000"}"#);
        host.run().unwrap();
        assert_eq!(host.limits(), [published; 2], "{key}: {value}");
    }
    let host = annotated("swap.wasp.io/limit", "0");
    let mut ignored = settings();
    ignored.wishes.annotations = false;
    host.write("run/wasp-agent/hook.json", &crate::state::text(&ignored).unwrap());
    host.run().unwrap();
    assert_eq!(host.limits(), ["50", "50"], "limits.annotations = false");
}

/// The agent reads the pod from the API server, the hook reads config.json. The fixture's container
/// requests 50 per mille of the RAM: without an annotation, both grant 50 bytes.
#[test]
fn hook_and_agent_give_the_same_limit_for_the_same_annotation() {
    let node = NodeMemory { ram_bytes: 4000 << 20, swap_bytes: 1000, page_bytes: 1 };
    let long = format!("{}1", "0".repeat(70));
    #[rustfmt::skip]
    let values = [
        "0", "00", "1", "20", "+20", "-0", "-1", "49", "50", "51", "1k", "1Ki", "1ki", "1KiB",
        "2e1", "2E1", "0.02k", "20m", "20000m", "1e42", "9Ei", "9999Ei", ".5", "5.", ".", "0x14",
        "1_0", "1,0", "0%", "1%", "2%", "3%", "50%", "99%", "100%", "101%", "1000%", "-1%", "+50%",
        "050%", "50.5%", "50,5%", "50 %", " 50%", "50% ", "%", "%50", "50%%", "", " ", " 20", "20 ",
        "half", "null", "true", "\u{ff12}0", "\u{0664}%", "20\u{200b}", &long,
    ];
    let keys = ["limit", "limit.c", "limit.C", "limit.", "limit.c.c"];
    for (key, value) in keys.into_iter().flat_map(|key| values.map(|value| (key, value))) {
        let key = format!("swap.wasp.io/{key}");
        let json = serde_json::json!({
            "metadata": {"name": "p", "uid": UID, "annotations": {&key: value}},
            "spec": {"containers": [
                {"name": "c", "resources": {"requests": {"memory": "200Mi"}}},
            ]},
        });
        let wire = serde_json::from_value(json).unwrap();
        let pod = crate::observe::kube::wire::pod(wire, &[]).unwrap();
        let agent = grant(&grant_settings(), &node, &pod, pod.container("c").unwrap()).swap_max;
        let host = annotated(&key, value);
        host.settings();
        assert_eq!(host.run().unwrap().swap_max, agent, "{key}: {value:?}");
    }
}

#[test]
fn without_anything_of_the_agents_there_is_no_swap() {
    let host = Host::burstable();
    assert_eq!(host.run().unwrap().why, Why::NothingPublished);
    assert_eq!(host.limits(), ["0", "0"]);
}

#[test]
fn a_real_sidecar_is_read_too() {
    let uid = "c583dd8b-017a-45bc-978f-419586009fb9";
    let id = "30193e1843aaa0fee644b88be640c9f12965492830a66db7365be51e1894df8a";
    let host = Host::new(SIDECAR, uid, id);
    host.settings();
    assert_eq!(host.run().unwrap().container_name.as_deref(), Some("side"));
    assert_eq!(host.limits(), ["38", "38"]);
}

#[test]
fn what_makes_no_sense_is_answered_by_no_swap_and_said() {
    let spoilt = |path: &str, text: &str| {
        let host = Host::burstable();
        host.settings();
        host.write(path, text);
        let done = host.run().unwrap();
        assert_eq!(host.limits(), ["0", "0"], "{path}");
        done.doubt.unwrap()
    };
    let record = format!("run/wasp-agent/pods/{UID}.json");
    let said = spoilt(&record, "{");
    assert!(said.starts_with(&format!("cannot use /run/wasp-agent/pods/{UID}.json: ")), "{said}");
    assert!(spoilt(&record, r#"{"version":2,"grants":{"c":"max"}}"#).contains("version is 2"));
    assert!(spoilt(&record, r#"{"version":1,"grants":{"c":"lots"}}"#).contains("lots"));
    assert!(
        spoilt("run/wasp-agent/hook.json", "[]")
            .starts_with("cannot use /run/wasp-agent/hook.json: ")
    );
    let other = crate::state::text(&settings()).unwrap().replace(r#"version":1"#, r#"version":9"#);
    assert!(spoilt("run/wasp-agent/hook.json", &other).contains("version is 9"));
    assert!(spoilt("bundle/config.json", "{\"annotations\": 7}").contains("config.json"));
    assert!(spoilt("bundle/config.json", &"[".repeat(100_000)).contains("config.json"));
}

/// No program writes to these FIFOs: opening one without O_NONBLOCK would hang this test.
#[test]
fn what_is_no_regular_file_holds_nobody_up() {
    let record = format!("run/wasp-agent/pods/{UID}.json");
    for path in [record.as_str(), "run/wasp-agent/hook.json", "bundle/config.json"] {
        let host = Host::burstable();
        host.settings();
        let file = host.folder.path().join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        let _ = fs::remove_file(&file);
        nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(host.run().unwrap().doubt.unwrap().contains("not a regular file"), "{path}");
        assert_eq!(host.limits(), ["0", "0"], "{path}");
    }
}

#[test]
fn annotations_of_another_pod_are_not_believed() {
    let host = Host::new(&FIXTURE.replace(UID, "11111111-2222-3333-4444-555555555555"), UID, ID);
    host.settings();
    host.publish(r#"{"c": "max"}"#);
    assert_eq!(host.run().unwrap().why, Why::NotPublishedForThisContainer);
    assert_eq!(host.limits(), ["0", "0"]);
}

/// The kernel reports the container's place; the hook writes nowhere else, whatever the bundle
/// contains.
#[test]
fn hostile_words_lead_nowhere_else() {
    let long = "x".repeat(100_000);
    for (at, word) in [
        ("/linux/cgroupsPath", "../../system.slice"),
        ("/linux/cgroupsPath", "/sys/fs/cgroup/system.slice"),
        ("/linux/cgroupsPath", "system.slice:crio:x"),
        ("/linux/cgroupsPath", "a:b:c:../..\0\n"),
        ("/linux/cgroupsPath", &long),
        ("/annotations/io.kubernetes.pod.uid", "../../../../etc/passwd"),
        ("/annotations/io.kubernetes.pod.uid", &long),
        ("/annotations/io.kubernetes.container.name", "../c\n\u{1b}[2J"),
        ("/annotations/io.kubernetes.pod.namespace", "openshift\n\u{1b}[2J"),
    ] {
        let host = Host::burstable();
        host.settings();
        host.publish(r#"{"c": "4096"}"#);
        host.write("sys/fs/cgroup/system.slice/memory.swap.max", "max\n");
        let mut config: serde_json::Value = serde_json::from_str(FIXTURE).unwrap();
        *config.pointer_mut(at).unwrap() = word.into();
        host.write("bundle/config.json", &config.to_string());
        let before = host.files();
        let done = host.run().unwrap();
        assert_eq!(done.failed, [""; 0], "{at}");
        assert!(!done.why.to_string().contains(char::is_control), "{}", done.why);
        let after = host.files();
        assert!(before.keys().eq(after.keys()), "{at}: a file came or went");
        let written = after.iter().filter(|(path, text)| before[*path] != **text);
        for (path, _) in written {
            assert!(
                path.ends_with("memory.swap.max") && path.starts_with(host.scope()),
                "{path:?}"
            );
        }
        let expected =
            if at.contains("cgroupsPath") || at.contains("namespace") { "4096" } else { "0" };
        assert_eq!(host.limits(), [expected, expected], "{at}");
    }
}

#[test]
fn a_process_number_that_is_anothers_by_now_is_left_alone() {
    let host = Host::burstable();
    host.publish(r#"{"c": "123456789"}"#);
    let other = ID.replace('0', "1");
    let progress = Progress::default();
    let state = host.state().replace(ID, &other);
    let result = run(&host.roots, state.as_bytes(), &progress);
    assert_eq!(result, Err(Nothing::Another { pid: PID, id: other }));
    assert_eq!(give_up(&host.roots, &progress), None, "nor is it rescued");
    assert_eq!(host.limits(), ["max", "max"]);
    for id in [ID, &ID[..12], ""] {
        let state = host.state().replace(ID, id);
        assert!(run(&host.roots, state.as_bytes(), &Progress::default()).is_ok());
        assert_eq!(host.limits(), ["123456789", "123456789"], "{id}");
    }
}

#[test]
fn a_process_that_is_in_no_pod_is_left_alone() {
    let host = Host::burstable();
    host.settings();
    host.write(&format!("proc/{PID}/cgroup"), "0::/machine.slice/libpod-1.scope\n");
    assert_eq!(host.run().unwrap_err(), Nothing::NotInAPod);
    fs::remove_dir_all(host.roots.proc(&PID.to_string())).unwrap();
    assert!(matches!(host.run(), Err(Nothing::NoCgroup { pid: PID, .. })));
    for state in
        ["", "{}", "null", r#"{"pid": 0, "bundle": "/"}"#, r#"{"pid": 1e99, "bundle": "/"}"#]
    {
        let result = run(&host.roots, state.as_bytes(), &Progress::default());
        assert!(matches!(result, Err(Nothing::State(_))), "{state}: {result:?}");
    }
    assert_eq!(host.limits(), ["max", "max"]);
}

#[test]
fn a_cgroup_that_cannot_be_written_is_said() {
    let host = Host::burstable();
    let file = host.roots.cgroup().join(&host.scope).join("memory.swap.max");
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    let failed = host.run().unwrap().failed;
    assert_eq!(failed.len(), 1);
    assert!(failed[0].contains(Path::new(&host.scope).to_str().unwrap()), "{failed:?}");
    let child = host.roots.cgroup().join(&host.scope).join("container/memory.swap.max");
    assert_eq!(fs::read_to_string(child).unwrap(), "0", "the others are set all the same");
}

/// The state arrives, but the input has no end.
#[test]
fn a_state_that_does_not_end_is_taken_at_its_last_brace() {
    struct Stuck<'a>(&'a [u8]);
    impl Read for Stuck<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            assert!(!self.0.is_empty(), "it would wait for ever");
            self.0.read(buffer)
        }
    }
    let host = Host::burstable();
    host.publish(r#"{"c": "4096"}"#);
    let state = host.state();
    run(&host.roots, Stuck(state.as_bytes()), &Progress::default()).unwrap();
    assert_eq!(host.limits(), ["4096", "4096"]);
}

/// Runs the watchdog at each stage that the hook may have reached.
#[test]
fn a_hook_that_is_held_up_leaves_no_swap() {
    let host = Host::burstable();
    let progress = Progress::default();
    let said = give_up(&host.roots, &progress).unwrap();
    assert!(said.contains("not known"), "{said}");

    // The runtime's children: a container's process and the hook, which is in no pod.
    let parent = std::os::unix::process::parent_id();
    host.write(&format!("proc/{parent}/task/{parent}/children"), &format!("{PID} 77 "));
    host.write("proc/77/cgroup", "0::/system.slice/crio.service\n");
    let said = give_up(&host.roots, &Progress::default()).unwrap();
    assert_eq!(said, format!("container {ID} of pod {UID} starts with no swap"));
    assert_eq!(host.limits(), ["0", "0"]);

    // Two containers: which one waits is unknown, so the hook touches neither.
    let host = Host::burstable();
    host.write(&format!("proc/{parent}/task/1/children"), &format!("{PID} 78 "));
    host.write("proc/78/cgroup", &format!("0::/{}\n", host.scope.replace("-00dd", "-11dd")));
    fs::create_dir_all(host.roots.cgroup().join(host.scope.replace("-00dd", "-11dd"))).unwrap();
    assert!(give_up(&host.roots, &Progress::default()).unwrap().contains("not known"));
    assert_eq!(host.limits(), ["max", "max"]);

    // With the state, if the hook has read it. After the limits are written, the hook undoes
    // nothing.
    let progress = Progress::default();
    *progress.lock() = Reached::Container(HookTarget::of(&host.roots, PID).unwrap());
    assert!(give_up(&host.roots, &progress).unwrap().ends_with("no swap"));
    assert_eq!(host.limits(), ["0", "0"]);
    host.publish(r#"{"c": "4096"}"#);
    run(&host.roots, host.state().as_bytes(), &progress).unwrap();
    assert_eq!(give_up(&host.roots, &progress), None);
    assert_eq!(host.limits(), ["4096", "4096"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// For any content of the files, the limit is the grant, the estimate or 0.
    #[test]
    fn mutations_never_give_more(
        at in any::<prop::sample::Index>(),
        bytes in prop::collection::vec(any::<u8>(), 0..8),
        cut in any::<bool>(),
    ) {
        let mut config = FIXTURE.as_bytes().to_vec();
        let at = at.index(config.len());
        if cut {
            config.truncate(at);
        }
        let end = (at + bytes.len()).min(config.len());
        config.splice(at.min(end)..end, bytes);
        let host = Host::burstable();
        host.settings();
        fs::write(host.folder.path().join("bundle/config.json"), config).unwrap();
        let _ = host.run();
        for limit in host.limits() {
            // At most the swap of the node: a mutated oomScoreAdj is still an oomScoreAdj.
            prop_assert!(limit.parse::<u64>().is_ok_and(|limit| limit <= 1000), "{limit}");
        }
    }
}
