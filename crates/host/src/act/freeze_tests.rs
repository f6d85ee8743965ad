use std::os::unix::fs::MetadataExt;

use super::*;
use crate::{
    act::offload::{
        CAREFUL_PAUSE, CAREFUL_STEP_BYTES, Orders, STEP_BYTES, TRIES, put_to_sleep, usage,
    },
    model::{
        pod::{ContainerId, Resources},
        suspend::Usage,
        swap::SwapMax,
    },
};

const SCOPE: &str = "kubepods.slice/x.scope";

/// A simulated host with one container.
fn host() -> (tempfile::TempDir, Roots, Sleeper) {
    let folder = tempfile::tempdir().unwrap();
    let roots = Roots::at(folder.path());
    let scope = roots.cgroup().join(SCOPE);
    fs::create_dir_all(&scope).unwrap();
    for (name, text) in [
        (FREEZE, "0\n"),
        (EVENTS, "populated 1\nfrozen 1\n"),
        ("memory.current", "62914560\n"),
        ("memory.swap.current", "0\n"),
        ("memory.swap.max", "max\n"),
        ("memory.reclaim", ""),
        ("memory.stat", "anon 50000000\nfile 10485760\nkernel 1000\nfile_mapped 7\nshmem 485760\n"),
    ] {
        fs::write(scope.join(name), text).unwrap();
    }
    fs::create_dir_all(roots.path("/proc")).unwrap();
    fs::write(
        roots.proc("meminfo"),
        "MemTotal: 100 kB\nSwapTotal: 100000 kB\nSwapFree: 90000 kB\n",
    )
    .unwrap();
    let sleeper = Sleeper {
        name: "c".into(),
        id: ContainerId::new(&"a".repeat(64)).unwrap(),
        unit: None,
        path: SCOPE.into(),
        inode: fs::metadata(&scope).unwrap().ino(),
        spec: Resources::default(),
        resources: Resources::default(),
        budget_bytes: 50 << 20,
        bound_bytes: None,
        lent_bytes: 0,
        swap_max: None,
        pending: Default::default(),
        processes: None,
        probed: false,
        before: Usage::default(),
        after: None,
    };
    (folder, roots, sleeper)
}

fn file(roots: &Roots, name: &str) -> String {
    fs::read_to_string(roots.cgroup().join(SCOPE).join(name)).unwrap()
}

#[tokio::test]
async fn a_cgroup_without_a_unit_is_frozen_and_thawed_by_its_file() {
    let (_folder, roots, sleeper) = host();
    freeze(&roots, &sleeper).await.unwrap();
    assert_eq!(file(&roots, FREEZE), "1");
    thaw(&roots, &sleeper).unwrap();
    assert_eq!(file(&roots, FREEZE), "0");
    tell_thawed(&roots, &[]).await.unwrap();
}

#[tokio::test]
async fn another_cgroup_at_the_same_path_is_left_alone() {
    let (_folder, roots, mut sleeper) = host();
    sleeper.inode += 1;
    assert!(freeze(&roots, &sleeper).await.unwrap_err().to_string().contains("is gone"));
    thaw(&roots, &sleeper).unwrap();
    assert_eq!(file(&roots, FREEZE), "0\n", "untouched");
    assert_eq!(put_to_sleep(&roots, &sleeper, 0, &Orders::default()).unwrap(), None);
    assert_eq!(file(&roots, "memory.reclaim"), "");
}

/// Without the bus nothing is frozen: systemd would undo a freeze that it does not know of.
#[tokio::test]
async fn a_unit_is_frozen_by_systemd_and_thawed_without_it() {
    let (_folder, roots, mut sleeper) = host();
    sleeper.unit = Some("x.scope".into());
    let error = freeze(&roots, &sleeper).await.unwrap_err();
    assert!(error.to_string().contains("systemd"), "{error}");
    assert_eq!(file(&roots, FREEZE), "0\n");
    fs::write(roots.cgroup().join(SCOPE).join(FREEZE), "1\n").unwrap();
    thaw(&roots, &sleeper).unwrap();
    assert_eq!(file(&roots, FREEZE), "0");
    assert!(tell_thawed(&roots, &["x.scope".into()]).await.is_err());
}

#[test]
fn files_are_what_can_be_dropped_without_swap() {
    let (_folder, roots, sleeper) = host();
    let expected = Usage { memory_bytes: 62_914_560, swap_bytes: 0, file_bytes: 10_000_000 };
    assert_eq!(usage(&roots, &sleeper.path, sleeper.inode).unwrap(), Some(expected));
    assert_eq!(usage(&roots, &sleeper.path, 1).unwrap(), None);
}

#[test]
fn nothing_is_reclaimed_without_room_in_swap_or_after_a_stop() {
    let (_folder, roots, sleeper) = host();
    let asked = || file(&roots, "memory.reclaim");
    let nothing = Sleeper { budget_bytes: 0, ..sleeper.clone() };
    put_to_sleep(&roots, &nothing, 0, &Orders::default()).unwrap();
    put_to_sleep(&roots, &sleeper, 90_000 << 10, &Orders::default()).unwrap();
    let stopped = Orders::default();
    stopped.stop();
    put_to_sleep(&roots, &sleeper, 0, &stopped).unwrap();
    assert_eq!(asked(), "");
    // A file does not reclaim: the agent gives up after a few tries, one after the other in the file.
    let each_time = |bytes: u64| bytes.to_string().repeat(TRIES as usize);
    put_to_sleep(&roots, &sleeper, 0, &Orders::default()).unwrap();
    assert_eq!(asked(), each_time(STEP_BYTES));
    fs::write(roots.cgroup().join(SCOPE).join("memory.reclaim"), "").unwrap();
    let careful = Orders::default();
    careful.careful(true);
    let began = std::time::Instant::now();
    put_to_sleep(&roots, &sleeper, 0, &careful).unwrap();
    assert!(began.elapsed() >= CAREFUL_PAUSE * TRIES);
    assert_eq!(asked(), each_time(CAREFUL_STEP_BYTES), "a signal is near");
}

/// Pages that are in swap already may be in RAM as well.
#[test]
fn where_the_limit_bounds_its_swap_reclaim_goes_on_until_nothing_more_comes() {
    let (_folder, roots, sleeper) = host();
    let folder = roots.cgroup().join(SCOPE);
    let full = Sleeper { budget_bytes: 4 << 20, ..sleeper };
    fs::write(folder.join("memory.swap.current"), "4194304\n").unwrap();
    put_to_sleep(&roots, &full, 0, &Orders::default()).unwrap();
    assert_eq!(file(&roots, "memory.reclaim"), "", "nothing keeps the kernel from taking more");
    fs::write(folder.join("memory.swap.max"), "4194304\n").unwrap();
    put_to_sleep(&roots, &full, 0, &Orders::default()).unwrap();
    assert_eq!(file(&roots, "memory.reclaim"), STEP_BYTES.to_string().repeat(TRIES as usize));
}

/// Regression: the limit from the beginning let the kernel take swap that had become short since.
#[test]
fn where_others_have_taken_the_swap_meanwhile_reclaim_ends() {
    let (_folder, roots, sleeper) = host();
    let folder = roots.cgroup().join(SCOPE);
    fs::write(folder.join("memory.swap.max"), "52428800\n").unwrap();
    put_to_sleep(&roots, &sleeper, 90_000 << 10, &Orders::default()).unwrap();
    assert_eq!(file(&roots, "memory.reclaim"), "", "nothing may be taken");
    put_to_sleep(&roots, &sleeper, 89_000 << 10, &Orders::default()).unwrap();
    let step = (1_000 << 10) + 10_000_000;
    assert_eq!(file(&roots, "memory.reclaim"), step.to_string().repeat(TRIES as usize));
}

#[test]
fn without_an_agent_a_resume_takes_a_loan_back_but_never_below_use() {
    let (_folder, roots, sleeper) = host();
    let folder = roots.cgroup().join(SCOPE);
    let slice = folder.parent().unwrap();
    fs::create_dir(folder.join("container")).unwrap();
    let container = folder.join("container");
    for (at, used) in [(&*folder, 9), (&*container, 5), (slice, 9)] {
        fs::write(at.join("memory.swap.current"), format!("{}\n", used << 20)).unwrap();
        fs::write(at.join("memory.swap.max"), "20971520\n").unwrap();
    }
    let limit = SwapMax::Bytes(6 << 20);
    let unit = Some("x.scope".into());
    let sleeper = Sleeper { unit, lent_bytes: 14 << 20, swap_max: Some(limit), ..sleeper };
    let pod = Suspended {
        uid: crate::model::pod::PodUid::new("11111111-2222-3333-4444-555555555555").unwrap(),
        namespace: "default".into(),
        name: "p".into(),
        qos_class: crate::model::pod::QosClass::Burstable,
        stage: crate::model::suspend::SuspendStage::Asleep,
        vm: false,
        since: crate::model::clock::SinceBoot::default(),
        resources: None,
        swap_max: Some(SwapMax::Bytes(12 << 20)),
        containers: vec![sleeper],
    };
    let mut thawed = Thawed::default();
    for _ in 0..2 {
        assert!(thawed.pod(&roots, &pod));
        let limit = |at: &std::path::Path| fs::read_to_string(at.join("memory.swap.max")).unwrap();
        assert_eq!(limit(&folder), (10 << 20).to_string(), "9 MiB are in use");
        assert_eq!(
            (limit(&container), limit(slice)),
            ((6 << 20).to_string(), (12 << 20).to_string())
        );
    }
    thawed.result().unwrap();
    let told = |request: &UnitRequest| (request.unit.to_string(), request.to);
    let told: Vec<_> = thawed.limits.iter().map(told).collect();
    let of_slice = ("kubepods.slice".to_owned(), SwapMax::Bytes(12 << 20));
    assert_eq!(told, [("x.scope".to_owned(), SwapMax::Bytes(10 << 20)), of_slice], "once");
    // Regression: the owner allows none by now.
    for at in [&*folder, &*container, slice] {
        fs::write(at.join("memory.swap.max"), "0\n").unwrap();
    }
    thawed.pod(&roots, &pod);
    for at in [&*folder, &*container, slice] {
        assert_eq!(fs::read_to_string(at.join("memory.swap.max")).unwrap(), "0\n");
    }
    // A VM is not frozen, but may have a loan as well. Regression: it stayed in the file.
    let mut pods = Suspensions::default();
    pods.begin(Suspended { vm: true, ..pod });
    thaw_recorded(&roots, pods, |_| true).result().unwrap();
    assert!(StateFile::<Suspensions>::new(&roots).load().unwrap().unwrap().is_empty());
}

/// Creates a cgroup below kubepods with these two files.
fn frozen_cgroup(roots: &Roots, path: &str, events: &str, freeze: &str) -> std::path::PathBuf {
    let folder = roots.cgroup().join(path);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(EVENTS), events).unwrap();
    fs::write(folder.join(FREEZE), freeze).unwrap();
    folder
}

#[test]
fn without_the_file_everything_frozen_below_the_pods_is_thawed_whatever_fails() {
    let folder = tempfile::tempdir().unwrap();
    let roots = Roots::at(folder.path());
    assert_eq!(thaw_all(&roots), Thawed::default(), "no pod yet");
    let runs = "populated 1\nfrozen 0\n";
    let frozen = "populated 1\nfrozen 1\n";
    frozen_cgroup(&roots, "kubepods.slice", runs, "0\n");
    frozen_cgroup(&roots, "kubepods.slice/a.slice", runs, "0\n");
    let unknown = frozen_cgroup(&roots, "kubepods.slice/a.slice/crio-1.scope", frozen, "1\n");
    let freezing = frozen_cgroup(&roots, "kubepods.slice/a.slice/crio-2.scope", runs, "1\n");
    let awake = frozen_cgroup(&roots, "kubepods.slice/a.slice/crio-3.scope", runs, "0\n");
    let others = frozen_cgroup(&roots, "system.slice/x.service", frozen, "1\n");
    let stuck = frozen_cgroup(&roots, "kubepods.slice/a.slice/crio-4.scope", frozen, "");
    fs::remove_file(stuck.join(FREEZE)).unwrap();
    fs::create_dir(stuck.join(FREEZE)).unwrap();
    let thawed = thaw_all(&roots);
    let of = |folder: &std::path::Path| fs::read_to_string(folder.join(FREEZE)).unwrap();
    assert_eq!((of(&unknown), of(&freezing)), ("0".to_owned(), "0".to_owned()));
    assert_eq!((of(&awake), of(&others)), ("0\n".to_owned(), "1\n".to_owned()), "untouched");
    assert_eq!(thawed.units.len(), 2, "{thawed:?}");
    assert!(thawed.result().unwrap_err().to_string().contains("crio-4.scope"), "{thawed:?}");
}
