use std::os::unix::fs::MetadataExt;

use super::*;
use crate::{
    act::{slices::SlicesBefore, tunables::TunablesBefore},
    decide::evict::evictions::Evictions,
    model::{hook::EstimateSettings, published::Published},
};

fn file<T: StateContent>(text: &str) -> (tempfile::TempDir, StateFile<T>) {
    let folder = tempfile::tempdir().unwrap();
    let file = StateFile::new(&Roots::at(folder.path()));
    fs::create_dir_all(file.path().parent().unwrap()).unwrap();
    fs::write(file.path(), text).unwrap();
    (folder, file)
}

#[test]
fn absent_is_none_and_unreadable_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let absent: StateFile<TunablesBefore> = StateFile::new(&Roots::at(folder.path()));
    assert_eq!(absent.load().unwrap(), None);

    for (text, wrong) in [
        ("", "it is empty"),
        (r#"{"version":1,"values":{"/proc/sys/vm/swap"#, "it is cut off after 41 bytes"),
        ("garbage", "it is not JSON (line 1, column 1)"),
        (r#"{"version":2,"values":{}}"#, "its version is 2, but this program supports 1"),
        (r#"{"version":1}"#, "the field values is missing (line 1, column 13)"),
        ("[]", "is not"),
    ] {
        let (_folder, cut) = file::<TunablesBefore>(text);
        let error = cut.load().unwrap_err().to_string();
        assert!(error.starts_with("cannot use /run/wasp-agent/tunables.json: "), "{error}");
        assert!(error.contains(wrong), "{text}: {error}");
    }
    let (_folder, blocked) = file::<TunablesBefore>("");
    fs::remove_file(blocked.path()).unwrap();
    fs::create_dir(blocked.path()).unwrap();
    let error = blocked.load().unwrap_err().to_string();
    assert_eq!(error, "cannot read /run/wasp-agent/tunables.json: not a regular file");
}

#[test]
fn unreadable_files_are_found_without_their_types() {
    let folder = tempfile::tempdir().unwrap();
    let roots = Roots::at(folder.path());
    let put = |path: &str, text: &str| {
        let path = roots.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let found = || unreadable(&roots).into_iter().map(|file| file.text).collect::<Vec<_>>();
    put("/run/wasp-agent/protection.json", r#"{"version":1,"slices":{}}"#);
    assert!(found().is_empty(), "absent files are no problem");
    put("/run/wasp-agent/protection.json", r#"{"version":9,"slices":{}}"#);
    put("/run/wasp-agent/tunables.json", "{");
    // The agent reports these by problems of their own.
    put("/run/wasp-agent/evictions.json", "{");
    put("/run/wasp-agent/suspended.json", "{");
    assert_eq!(
        found(),
        [
            "cannot use /run/wasp-agent/tunables.json: it is cut off after 1 byte",
            "cannot use /run/wasp-agent/protection.json: its version is 9, but this program supports 1",
        ]
    );
}

#[test]
fn what_is_saved_is_loaded_and_written_on_change_only() {
    let folder = tempfile::tempdir().unwrap();
    let file: StateFile<EstimateSettings> = StateFile::new(&Roots::at(folder.path()));
    let settings = wasp_core::fixtures::hook_settings();
    file.save(&settings).unwrap();
    let metadata = || fs::metadata(file.path()).unwrap();
    let first = metadata();
    assert_eq!(first.mode() & 0o777, 0o600);
    assert_eq!(file.load().unwrap().as_ref(), Some(&settings));
    file.save(&settings).unwrap();
    assert_eq!(metadata().ino(), first.ino());
    file.remove().unwrap();
    file.remove().unwrap();
    assert_eq!(file.load().unwrap(), None);
}

/// Files in the form of the release before versions existed.
#[test]
fn files_without_a_version_are_converted() {
    let (_folder, tunables) = file::<TunablesBefore>(r#"{"/proc/sys/vm/swappiness":"60"}"#);
    assert_eq!(tunables.load().unwrap().unwrap().values["/proc/sys/vm/swappiness"], "60");
    let slices = r#"{"system.slice":{"swap_max":"max","io_latency":[["/dev/vda",50]]}}"#;
    let (_folder, slices) = file::<SlicesBefore>(slices);
    assert_eq!(slices.load().unwrap().unwrap().slices["system.slice"].io_latency.len(), 1);
    let evictions = r#"{"in_flight":[],"backoff":{},"cooldown_until":{"secs":0,"nanos":0}}"#;
    let (_folder, evictions) = file::<Evictions>(evictions);
    assert_eq!(evictions.load().unwrap(), Some(Evictions::default()));
}

/// The content that an agent wrote before the names of version 2.
#[test]
fn a_status_of_version_1_is_converted() {
    let text = include_str!("../../../../fuzz/corpus/saved_state/status");
    let text = text.trim_start_matches(|c| c != '{').replace(
        r#""problems": ["…"]"#,
        r#""problems": ["x"], "problem_list": [
            {"about": "hook", "severity": "warn", "text": "x", "pods": [], "remedy": []}]"#,
    );
    let (_folder, status) = file::<Published>(&text);
    let status = status.load().unwrap().unwrap();
    assert_eq!((&*status.problems[0].kind, &*status.problems[0].text), ("hook", "x"));
    assert_eq!(status.node.swap_configured_bytes, Some(34_359_738_368));
    assert_eq!(status.containers.above_grant, 1);
}

#[test]
fn every_file_has_its_own_path_in_our_folders() {
    let mut paths: Vec<&str> = ALL.iter().map(|file| file.path).collect();
    paths.sort_unstable();
    paths.dedup();
    assert_eq!(paths.len(), ALL.len());
    for file in ALL {
        let folder = match file.lasts {
            Lasts::UntilBoot => "/run/wasp-agent/",
            Lasts::OverBoots => "/var/lib/wasp-agent/",
        };
        assert!(file.path.starts_with(folder), "{}", file.path);
    }
}
