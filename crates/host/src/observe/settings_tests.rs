use std::{fs, os::unix::fs::symlink, time::Duration};

use super::*;
use crate::config::{
    keys::KEYS,
    settings::{
        Eligibility, EvictionMode, Grants, Policy, Settings, Share, Signal, SignalSettings,
        SwapKind, SwapSize,
    },
    show,
    value::SettingOrigin,
};

/// A host with these files.
pub(super) fn host(files: &[(&str, &str)]) -> (tempfile::TempDir, Roots) {
    let folder = tempfile::tempdir().unwrap();
    let roots = Roots::at(folder.path());
    for (path, text) in files {
        let path = roots.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    (folder, roots)
}

fn load(files: &[(&str, &str)]) -> Result<(Settings, Resolved), Problems> {
    let (_folder, roots) = host(files);
    super::load(&roots, |_| None)
}

fn problems(files: &[(&str, &str)]) -> Vec<String> {
    load(files).unwrap_err().0.iter().map(ToString::to_string).collect()
}

const MAIN: &str = "/etc/wasp-agent/wasp-agent.toml";

#[test]
fn nothing_configured_is_the_defaults() {
    let (settings, _) = load(&[]).unwrap();
    assert_eq!(settings.grants, Grants::Auto);
    assert_eq!(settings.grant.policy, Policy::Limited);
    assert_eq!(settings.grant.eligibility, Eligibility::Burstable);
    assert_eq!(settings.grant.system_reserved_percent, 0);
    assert_eq!(settings.limits.resync, Duration::from_secs(60));
    assert_eq!(settings.limits.follow, Duration::from_secs(2));
    assert_eq!(settings.eviction.thresholds.window, Duration::from_secs(30));
    assert_eq!(settings.eviction.thresholds.max_swap_in_pages_per_second, 1000);
    assert_eq!(settings.eviction.thresholds.max_swap_out_pages_per_second, 1000);
    assert!((settings.eviction.thresholds.swap_utilization_factor - 0.8).abs() < f64::EPSILON);
    assert_eq!((settings.node_name, settings.kubeconfig, settings.verbosity), (None, None, 1));
}

/// tests/golden/settings.txt shows which field each key sets.
#[test]
fn values_are_read_in_every_spelling_of_toml() {
    let file = r#"
        grants = "agent"
        node.name = "node-a"
        [swap]
        kind = "partition"
        size = "8Gi"
        path = "/dev/disk/by-partlabel/swap"
        reserve = "20%"
        [protection]
        protected-slices = ["system.slice", "a-b.slice"]
        io-weight = 500
        cpu-weight = "keep"
        [kernel]
        zswap = "off"
        [eviction]
        swap-utilization-factor = 1
        max-average-swap-in-pages-per-second = 0x10
        max-average-swap-out-pages-per-second = 2_000
        overcommit = { enabled = true, sustain-seconds = 3, release = 0.7, max-ratio = 1.25 }
        [eviction.pressure]
        sustain-seconds = 4
        [metrics]
        listen = "[::1]:9753"
        certificate = "/srv/tls.crt"
        key = "/srv/tls.key"
    "#;
    let (settings, resolved) = load(&[(MAIN, file)]).unwrap();
    let origin = |path| &resolved.get(path).unwrap().1;
    assert!(matches!(origin("eviction.overcommit.max-ratio"), SettingOrigin::File { .. }));
    assert_eq!(*origin("eviction.overtake-seconds"), SettingOrigin::Default);
    assert_eq!(settings.grants, Grants::Agent);
    assert_eq!(settings.node_name.as_deref(), Some("node-a"));
    assert_eq!(
        (settings.swap.size, settings.swap.kind),
        (SwapSize::Bytes(8 << 30), SwapKind::Partition)
    );
    assert_eq!(settings.swap.path, Path::new("/dev/disk/by-partlabel/swap"));
    assert_eq!(settings.swap.reserve, Some(Share::Percent(20)));
    assert_eq!(settings.protection.slices, ["system.slice", "a-b.slice"]);
    assert_eq!((settings.protection.io_weight, settings.protection.cpu_weight), (Some(500), None));
    assert_eq!(settings.kernel.zswap, Some(false));
    let thresholds = settings.eviction.thresholds;
    assert!((thresholds.swap_utilization_factor - 1.0).abs() < f64::EPSILON);
    assert!((thresholds.max_overcommit_ratio - 1.25).abs() < f64::EPSILON);
    assert_eq!(thresholds.max_swap_in_pages_per_second, 16);
    assert_eq!(thresholds.max_swap_out_pages_per_second, 2000);
    let overcommit =
        SignalSettings { enabled: true, sustain: Duration::from_secs(3), release: 0.7 };
    assert_eq!(settings.eviction.signals[Signal::Overcommit], overcommit);
    assert_eq!(settings.eviction.signals[Signal::Pressure].sustain, Duration::from_secs(4));
    assert_eq!(settings.metrics.listen, Some("[::1]:9753".parse().unwrap()));
}

#[test]
fn only_the_highest_main_file_counts_and_drop_ins_override_it() {
    let percent = |n: u8| format!("limits.system-reserved-percent = {n}\n");
    let files = [
        ("/usr/lib/wasp-agent/wasp-agent.toml", format!("log.verbosity = 9\n{}", percent(1))),
        (MAIN, percent(2)),
    ];
    let with = |more: &[(&'static str, String)]| {
        let all: Vec<(&str, &str)> =
            files.iter().chain(more).map(|(p, t)| (*p, t.as_str())).collect();
        let (settings, _) = load(&all).unwrap();
        assert_eq!(settings.verbosity, 1, "the lower main file is not read");
        settings.grant.system_reserved_percent
    };
    assert_eq!(with(&[]), 2);
    let vendor = ("/usr/lib/wasp-agent/config.d/50-vendor.toml", percent(3));
    assert_eq!(with(std::slice::from_ref(&vendor)), 3, "a drop-in beats every main file");
    let same_name = ("/run/wasp-agent/config.d/50-vendor.toml", percent(4));
    assert_eq!(with(&[vendor.clone(), same_name]), 4, "the same name in a higher directory wins");
    let earlier = ("/etc/wasp-agent/config.d/10-admin.toml", percent(5));
    assert_eq!(with(&[vendor, earlier]), 3, "file names order before directories");
}

#[test]
fn dev_null_masks_a_drop_in() {
    let (_folder, roots) =
        host(&[("/usr/lib/wasp-agent/config.d/50-vendor.toml", "log.verbosity = 9\n")]);
    fs::create_dir_all(roots.path("/etc/wasp-agent/config.d")).unwrap();
    symlink("/dev/null", roots.path("/etc/wasp-agent/config.d/50-vendor.toml")).unwrap();
    assert_eq!(super::load(&roots, |_| None).unwrap().0.verbosity, 1);
}

#[test]
fn all_that_is_wrong_is_said_at_once_with_file_line_key_value_and_range() {
    let main = "grants = \"nobody\"\n[limits]\npolcy = \"max\"\nsystem-reserved-percent = 101\n\
                resync-seconds = \"often\"\nfollow-seconds = -1\n";
    let drop_in = "node = 3\n[node]\n";
    assert_eq!(
        problems(&[
            (MAIN, main),
            ("/etc/wasp-agent/config.d/10.toml", "limits = 3\nextra = true\n")
        ]),
        [
            "/etc/wasp-agent/config.d/10.toml:1: limits is a table: write [limits]",
            "/etc/wasp-agent/config.d/10.toml:2: unknown key extra",
            "/etc/wasp-agent/wasp-agent.toml:1: grants = \"nobody\" is not one of \"auto\", \"agent\", \"kubelet\"",
            "/etc/wasp-agent/wasp-agent.toml:3: unknown key limits.polcy; did you mean limits.policy?",
            "/etc/wasp-agent/wasp-agent.toml:4: limits.system-reserved-percent = 101 is not a whole number from 0 to 100",
            "/etc/wasp-agent/wasp-agent.toml:5: limits.resync-seconds = \"often\" is not a whole number from 10 to 3600",
            "/etc/wasp-agent/wasp-agent.toml:6: limits.follow-seconds = -1 is not a whole number from 1 to 60",
        ]
    );
    let broken = problems(&[
        (MAIN, "log.verbosity = 99\n= 3\n"),
        ("/etc/wasp-agent/config.d/10.toml", drop_in),
    ]);
    assert!(
        broken.iter().any(|p| p.contains("wasp-agent.toml:2: not TOML (column ")),
        "{broken:?}"
    );
    assert!(
        broken.iter().any(|p| p.contains("wasp-agent.toml:1: log.verbosity = 99")),
        "{broken:?}"
    );
    assert!(broken.iter().any(|p| p.contains("10.toml:2: not TOML (column ")), "{broken:?}");
}

#[test]
fn the_stop_of_evictions_is_valid_with_every_setting() {
    for mode in ["on", "observe"] {
        let main = format!("reclaim.mode = \"{mode}\"\neviction.scheduling-guard = \"cordon\"\n");
        let files =
            [(MAIN, &*main), ("/etc/wasp-agent/config.d/zz-stop.toml", "eviction.mode = \"off\"")];
        assert_eq!(load(&files).unwrap().0.eviction.mode, EvictionMode::Off);
    }
}

#[test]
fn contradictions_are_reported_beside_other_problems_but_not_if_they_may_follow_from_them() {
    let contradiction = "follow-seconds = 30\nresync-seconds = 20\n";
    let found = problems(&[(MAIN, &format!("grants = 1\n[limits]\n{contradiction}"))]);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[1].contains("limits.follow-seconds = 30 contradicts"), "{found:?}");
    let misspelt = "grants = \"kubelet\"\n[limits]\npolicy = \"max\"\npolici = \"limited\"\n";
    assert_eq!(problems(&[(MAIN, misspelt)]).len(), 1);
    let main = format!("[limits]\n{contradiction}");
    let invalid = ("/etc/wasp-agent/config.d/1.toml", "limits.resync-seconds = \"x\"\n");
    assert_eq!(problems(&[(MAIN, &main), invalid]).len(), 1);
    let found = problems(&[(MAIN, &format!("[limits]\n{contradiction}?\n"))]);
    assert!(!found.iter().any(|problem| problem.contains("contradicts")), "{found:?}");
}

#[test]
fn a_directory_of_drop_ins_that_cannot_be_listed_is_a_problem() {
    let folder = tempfile::tempdir().unwrap();
    let etc = folder.path().join("etc");
    let (agent, drop_ins) = (etc.join("wasp-agent"), etc.join("wasp-agent/config.d"));
    let roots = Roots::at(folder.path());
    let problems = || match super::load(&roots, |_| None) {
        Ok(_) => String::new(),
        Err(problems) => problems.to_string(),
    };
    fs::create_dir_all(&agent).unwrap();
    assert_eq!(problems(), "", "missing");
    fs::write(&drop_ins, "").unwrap();
    assert!(problems().contains("/etc/wasp-agent/config.d: cannot be read: Not a dir"), "a file");
    fs::remove_file(&drop_ins).unwrap();
    symlink("/nowhere", &drop_ins).unwrap();
    assert!(problems().contains("it is a link to /nowhere, which does not exist"), "a link");
    fs::remove_file(&drop_ins).unwrap();
    symlink("/dev/null", &drop_ins).unwrap();
    assert_eq!(problems(), "", "masked");
    fs::remove_dir_all(&agent).unwrap();
    fs::write(&agent, "").unwrap();
    assert!(problems().contains("wasp-agent.toml: cannot be read: Not a directory"), "no place");
}

#[test]
fn contradictions_name_both_sides() {
    let main = "grants = \"kubelet\"\n[limits]\npolicy = \"max\"\nresync-seconds = 10\nfollow-seconds = 20\n";
    assert_eq!(
        problems(&[(MAIN, main)]),
        [
            "/etc/wasp-agent/wasp-agent.toml:3: limits.policy = \"max\" contradicts grants = \"kubelet\": the kubelet supports only \"limited\"",
            "/etc/wasp-agent/wasp-agent.toml:5: limits.follow-seconds = 20 contradicts limits.resync-seconds = 10: following must be the quicker of the two",
        ]
    );
}

#[test]
fn the_daemonsets_variables_keep_working() {
    let sysconfig = "SWAP_UTILIZATION_THRESHOLD_FACTOR=0.7\n\
                     MAX_AVERAGE_SWAP_IN_PAGES_PER_SECOND=\"500\"\n\
                     MAX_AVERAGE_SWAP_OUT_PAGES_PER_SECOND=600\nAVERAGE_WINDOW_SIZE_SECONDS=20\n\
                     NODE_NAME=node-a\nVERBOSITY=3\nFSROOT=/host\n";
    let (_folder, roots) = host(&[
        ("/etc/sysconfig/wasp-agent", sysconfig),
        (MAIN, "[log]\nverbosity = 2\n[node]\nname = \"node-b\"\n"),
    ]);
    let environment = |name: &str| (name == "VERBOSITY").then(|| "6".to_owned());
    let (settings, resolved) = super::load(&roots, environment).unwrap();
    assert!((settings.eviction.thresholds.swap_utilization_factor - 0.7).abs() < f64::EPSILON);
    assert_eq!(settings.eviction.thresholds.max_swap_in_pages_per_second, 500);
    assert_eq!(settings.eviction.thresholds.max_swap_out_pages_per_second, 600);
    assert_eq!(settings.eviction.thresholds.window, Duration::from_secs(20));
    assert_eq!(settings.node_name.as_deref(), Some("node-a"));
    assert_eq!(settings.verbosity, 6);
    let shown = show::effective(&resolved);
    assert!(shown.contains("verbosity = 6"), "{shown}");
    assert!(shown.contains("# environment variable VERBOSITY"), "{shown}");
    assert!(shown.contains("# /etc/sysconfig/wasp-agent:5"), "{shown}");
}

#[test]
fn bad_variables_are_problems_like_any_other() {
    let text = "VERBOSITY=loud\nnonsense\nSWAP_THRESHOLD=1\n";
    let all = problems(&[("/etc/sysconfig/wasp-agent", text)]);
    assert_eq!(
        all[0],
        "/etc/sysconfig/wasp-agent:1: VERBOSITY=loud (log.verbosity) is not a whole number from 0 to 10"
    );
    assert_eq!(all[1], "/etc/sysconfig/wasp-agent:2: not an assignment: write NAME=value");
    assert!(all[2].starts_with(
        "/etc/sysconfig/wasp-agent:3: unknown variable SWAP_THRESHOLD; known are NODE_NAME"
    ));
}

#[test]
fn what_is_shown_reads_back_the_same() {
    let (_, resolved) = load(&[(MAIN, "[limits]\npolicy = \"max\"\n")]).unwrap();
    let (_, again) = load(&[(MAIN, &show::effective(&resolved))]).unwrap();
    for key in KEYS {
        assert_eq!(
            resolved.get(key.path).unwrap().0,
            again.get(key.path).unwrap().0,
            "{}",
            key.path
        );
    }
}

#[test]
fn swap_has_one_size_and_a_path_that_fits_its_kind() {
    let problem = |file: &str| load(&[(MAIN, file)]).unwrap_err().to_string();
    let said = problem("overcommit-percent = 150\n[swap]\nsize = \"8Gi\"\n");
    assert!(said.contains("swap.size = \"8Gi\" contradicts overcommit-percent = 150"), "{said}");
    let said = problem("[swap]\nkind = \"partition\"\n");
    assert!(said.contains("swap.path = \"\" contradicts swap.kind"), "{said}");
    let said = problem("[swap]\nkind = \"zram\"\npath = \"/x\"\nsize = \"1Gi\"\n");
    assert!(said.contains("swap.path = \"/x\" contradicts swap.kind"), "{said}");
    for (text, allowed) in [
        ("[swap]\nsize = \"lots\"", "a size (8Gi, 512Mi), or \"\""),
        ("[swap]\nsize = \"-1Gi\"", "a size"),
        ("[swap]\nreserve = \"101%\"", "a percentage"),
        ("[kernel]\nswappiness = \"some\"", "from 0 to 200, or \"keep\""),
        ("[kernel]\nalign-watermarks = 1", "true or false"),
        ("[hook]\ndenied-namespaces = [\"*x\"]", "a list of namespaces"),
        ("[protection]\nprotected-slices = [\"system.service\"]", "a list of slices"),
        ("[protection]\nprotected-slices = [\"-.slice\"]", "a list of slices"),
        ("[protection]\nprotected-slices = [\"a.slice\", \"a.slice\"]", "a list of slices"),
    ] {
        let said = problem(text);
        assert!(said.contains(allowed), "{text}: {said}");
    }
}

/// The one that loads everything tells the same.
#[test]
fn the_origin_of_one_key_is_that_of_the_highest_layer_which_sets_it() {
    let (_folder, roots) = host(&[
        (MAIN, "node.name = \"a\"\n"),
        ("/etc/wasp-agent/config.d/10-a.toml", "[node]\nname = \"b\"\n"),
        ("/etc/wasp-agent/config.d/20-b.toml", "log.verbosity = 2\n"),
    ]);
    let by_load = |key: &str| {
        let (_, resolved) = super::load(&roots, |_| None).unwrap();
        Some(resolved.get(key)?.1.clone())
    };
    let by_origin = |key: &str| origin(&roots, |_| None, key);
    for key in ["node.name", "log.verbosity", "limits.resync-seconds"] {
        assert_eq!(by_origin(key), by_load(key), "{key}");
    }
    assert_eq!(by_origin("no.such.key"), None);
    let in_environment = |name: &str| (name == "NODE_NAME").then(|| "c".to_owned());
    let found = origin(&roots, in_environment, "node.name");
    assert_eq!(found, Some(SettingOrigin::Environment { name: "NODE_NAME" }));
    // A layer below the one that sets the key is not read; one above it, that is not valid, may set
    // it.
    fs::write(roots.path(MAIN), "nonsense = 1\n").unwrap();
    assert!(matches!(by_origin("node.name"), Some(SettingOrigin::File { line: 2, .. })));
    fs::write(roots.path("/etc/wasp-agent/config.d/20-b.toml"), "nonsense = 1\n").unwrap();
    assert_eq!(by_origin("node.name"), None);
}
