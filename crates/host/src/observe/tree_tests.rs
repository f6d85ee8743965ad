use std::{fs, time::Duration};

use nix::sys::inotify::AddWatchFlags;

use super::{watches::CONTROLLERS_FILE, *};
use crate::model::swap::SwapMax;

const POD: &str = "9192cfa8-679c-444e-9bb8-9701e3620c02";

struct Host {
    _folder: tempfile::TempDir,
    roots: Roots,
}

impl Host {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::at(folder.path());
        fs::create_dir_all(roots.cgroup()).unwrap();
        Self { _folder: folder, roots }
    }

    /// Creates a cgroup with these limits as systemd does: the directory first.
    fn cgroup(&self, path: &str, limit: &str) {
        let folder = self.roots.cgroup().join(path);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("memory.swap.current"), "0\n").unwrap();
        fs::write(folder.join(LIMIT_FILE), limit).unwrap();
    }

    fn write(&self, path: &str, text: &str) {
        fs::write(self.roots.cgroup().join(path), text).unwrap();
    }
}

fn id(digit: char) -> ContainerId {
    ContainerId::new(&digit.to_string().repeat(64)).unwrap()
}

fn pod_slice() -> String {
    let uid = POD.replace('-', "_");
    format!("kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{uid}.slice")
}

fn scope(digit: char) -> String {
    format!("{}/crio-{}.scope", pod_slice(), id(digit))
}

async fn changes(tree: &mut Tree) -> Changes {
    tokio::time::timeout(Duration::from_secs(10), tree.changed()).await.expect("no event").unwrap()
}

/// Waits until `id` is reported in one of the two ways.
async fn until(tree: &mut Tree, owner: impl Into<Holder>, gone: bool) {
    let owner = owner.into();
    loop {
        let changes = changes(tree).await;
        if if gone { changes.gone.contains(&owner) } else { changes.touched.contains(&owner) } {
            return;
        }
    }
}

fn touched(ids: &[ContainerId]) -> BTreeSet<Holder> {
    ids.iter().cloned().map(Holder::Container).collect()
}

/// Returns the holders without the pods.
fn containers(owners: &BTreeSet<Holder>) -> BTreeSet<Holder> {
    owners.iter().filter(|owner| owner.container().is_some()).cloned().collect()
}

fn the_pod() -> Holder {
    Holder::Pod(PodUid::new(POD).unwrap())
}

#[tokio::test]
async fn pods_are_found_below_the_kubelets_root() {
    let host = Host::new();
    let uid = POD.replace('-', "_");
    let slice = format!(
        "kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod{uid}.slice"
    );
    host.cgroup(&format!("{slice}/crio-{}.scope", id('a')), "max\n");
    host.cgroup(&scope('b'), "max\n");
    let (mut tree, found) = Tree::new(&host.roots).unwrap();
    let pod = || Holder::Pod(PodUid::new(POD).unwrap());
    let and_pod = |ids: &[ContainerId]| -> BTreeSet<Holder> {
        touched(ids).into_iter().chain([pod()]).collect()
    };
    assert_eq!(found.touched, and_pod(&[id('b')]), "not below another root");
    let below = host
        .roots
        .with_pods(&["kubelet.slice/kubelet-kubepods.slice".into(), "kubelet/kubepods".into()]);
    let mut found = Changes::default();
    tree.look_below(&below, &mut found);
    assert_eq!((found.touched, found.gone), (and_pod(&[id('a')]), and_pod(&[id('b')])));
    assert_eq!(tree.pod_of(&id('a')), PodUid::new(POD).as_ref());
    // The other driver's directories appear later, one after the other.
    let path = format!("kubelet/kubepods/burstable/pod{POD}/{}", id('c'));
    host.cgroup(&path, "max\n");
    until(&mut tree, id('c'), false).await;
}

#[tokio::test]
async fn finds_what_is_there_under_every_driver_and_runtime() {
    let host = Host::new();
    host.cgroup(&scope('a'), "max\n");
    host.cgroup(&format!("{}/container", scope('a')), "0\n");
    host.cgroup(&format!("kubepods/besteffort/pod{POD}/{}", id('b')), "max\n");
    host.cgroup(&format!("{}/cri-containerd-{}.scope", pod_slice(), id('c')), "7\n");
    host.cgroup("system.slice/crio.service", "max\n");
    host.cgroup(&format!("{}/inner", scope('a')), "max\n");
    let (mut tree, found) = Tree::new(&host.roots).unwrap();
    assert_eq!(containers(&found.touched), touched(&[id('a'), id('b'), id('c')]));
    assert_eq!(tree.pods().count(), 1, "of two cgroups with one UID one counts");

    let facts = tree.facts(&id('a'), None).unwrap().unwrap();
    assert_eq!(&*facts.path, Path::new(&scope('a')));
    assert_eq!(facts.pod.as_str(), POD);
    assert_eq!(facts.role, Role::Unknown);
    let levels: Vec<_> = facts.levels.iter().map(|l| (l.level, l.swap_max)).collect();
    assert_eq!(
        levels,
        [(CgroupLevel::Container, SwapMax::Max), (CgroupLevel::RuntimeChild, SwapMax::ZERO)],
        "the cgroups that the container itself made do not count"
    );
    let facts = tree.facts(&id('b'), None).unwrap().unwrap();
    assert_eq!(facts.manager, Manager::Cgroupfs);
}

#[tokio::test]
async fn notices_containers_children_writes_and_removal() {
    let host = Host::new();
    let (mut tree, found) = Tree::new(&host.roots).unwrap();
    assert_eq!(found, Changes::default());

    host.cgroup(&scope('a'), "max\n");
    until(&mut tree, id('a'), false).await;
    while tree.facts(&id('a'), None).unwrap().is_none() {
        changes(&mut tree).await;
    }

    host.write(&format!("{}/{LIMIT_FILE}", scope('a')), "5\n");
    until(&mut tree, id('a'), false).await;

    host.cgroup(&format!("{}/container", scope('a')), "0\n");
    until(&mut tree, id('a'), false).await;
    tree.watch_limits(&id('a').into());
    host.write(&format!("{}/container/{LIMIT_FILE}", scope('a')), "5\n");
    until(&mut tree, id('a'), false).await;

    fs::remove_dir_all(host.roots.cgroup().join(scope('a'))).unwrap();
    until(&mut tree, id('a'), true).await;
    assert_eq!(tree.ids().count(), 0);
    assert_eq!(tree.facts(&id('a'), None).unwrap(), None);

    host.cgroup(&scope('a'), "max\n");
    until(&mut tree, id('a'), false).await;
}

/// A container may create any number of them; only the next one that counts is reported.
#[tokio::test]
async fn cgroups_that_a_container_makes_itself_are_no_news() {
    let host = Host::new();
    host.cgroup(&scope('a'), "max\n");
    host.cgroup(&scope('b'), "max\n");
    let (mut tree, _) = Tree::new(&host.roots).unwrap();
    for name in ["x", "a\nb", &format!("crio-{}.scope", id('c')), "kubepods.slice"] {
        fs::create_dir(host.roots.cgroup().join(scope('a')).join(name)).unwrap();
    }
    host.write(&format!("{}/{LIMIT_FILE}", scope('b')), "5\n");
    let mut seen = changes(&mut tree).await.touched;
    while !seen.contains(&id('b').into()) {
        seen.append(&mut changes(&mut tree).await.touched);
    }
    assert_eq!(seen, touched(&[id('b')]));
}

#[tokio::test]
async fn a_limit_that_comes_with_its_controller_is_found() {
    let host = Host::new();
    fs::create_dir_all(host.roots.cgroup().join(scope('a'))).unwrap();
    host.write(&format!("{}/{CONTROLLERS_FILE}", pod_slice()), "");
    let (mut tree, _) = Tree::new(&host.roots).unwrap();
    assert_eq!(tree.facts(&id('a'), None).unwrap(), None, "no memory controller yet");
    host.cgroup(&scope('a'), "max\n");
    host.write(&format!("{}/{CONTROLLERS_FILE}", pod_slice()), "+memory");
    until(&mut tree, id('a'), false).await;
    assert!(tree.facts(&id('a'), None).unwrap().is_some());
    host.write(&format!("{}/{LIMIT_FILE}", scope('a')), "5\n");
    until(&mut tree, id('a'), false).await;
}

/// On cgroupfs a watch outlives its file, as here if the directory is moved away.
#[tokio::test]
async fn what_was_awaited_is_not_watched_for_longer_than_its_containers() {
    let host = Host::new();
    for digit in ['a', 'b'] {
        fs::create_dir_all(host.roots.cgroup().join(scope(digit))).unwrap();
    }
    host.write(&format!("{}/{CONTROLLERS_FILE}", pod_slice()), "");
    let (mut tree, _) = Tree::new(&host.roots).unwrap();
    let awaits = |tree: &Tree| {
        tree.watched.values().any(|watched| matches!(watched, Watched::Controllers(_)))
    };
    for (digit, others_wait) in [('a', true), ('b', false)] {
        assert!(awaits(&tree));
        let away = host.roots.cgroup().join(digit.to_string());
        fs::rename(host.roots.cgroup().join(scope(digit)), away).unwrap();
        until(&mut tree, id(digit), true).await;
        assert_eq!(awaits(&tree), others_wait);
    }
    let pods = |tree: &Tree| {
        tree.watched.values().filter(|watched| matches!(watched, Watched::Pod(..))).count()
    };
    assert_eq!(pods(&tree), 1);
    let root = host.roots.cgroup();
    fs::rename(root.join(pod_slice()), root.join("c")).unwrap();
    assert_eq!(tree.pods().count(), 1);
    changes(&mut tree).await;
    assert_eq!((pods(&tree), tree.pods().count()), (0, 0));
}

#[tokio::test]
async fn a_deaf_container_is_heard_again() {
    let host = Host::new();
    host.cgroup(&scope('a'), "max\n");
    host.cgroup(&scope('b'), "max\n");
    let (mut tree, _) = Tree::new(&host.roots).unwrap();
    tree.deafen(&id('a').into());
    host.write(&format!("{}/{LIMIT_FILE}", scope('a')), "5\n");
    host.write(&format!("{}/{LIMIT_FILE}", scope('b')), "5\n");
    assert_eq!(changes(&mut tree).await.touched, touched(&[id('b')]));
    tree.listen(&id('a').into());
    host.write(&format!("{}/{LIMIT_FILE}", scope('a')), "6\n");
    until(&mut tree, id('a'), false).await;
}

#[tokio::test]
async fn when_events_were_lost_everything_is_looked_at() {
    let host = Host::new();
    host.cgroup(&scope('a'), "max\n");
    host.cgroup(&scope('b'), "max\n");
    let (mut tree, _) = Tree::new(&host.roots).unwrap();
    fs::remove_dir_all(host.roots.cgroup().join(scope('b'))).unwrap();
    host.cgroup(&scope('c'), "max\n");
    let any = *tree.watched.keys().next().unwrap();
    let mut lost = Changes::default();
    tree.event(any, AddWatchFlags::IN_Q_OVERFLOW, None, &mut lost);
    assert_eq!(containers(&lost.touched), touched(&[id('a'), id('c')]));
    assert!(lost.touched.contains(&the_pod()));
    assert_eq!(lost.gone, touched(&[id('b')]));
}

#[tokio::test]
async fn a_container_whose_processes_are_in_cgroups_of_its_own_has_started() {
    let host = Host::new();
    let child = format!("{}/container", scope('a'));
    host.cgroup(&scope('a'), "0");
    host.cgroup(&child, "0");
    let (mut tree, _) = Tree::new(&host.roots).unwrap();
    let mut starting = || tree.facts(&id('a'), None).unwrap().unwrap().starting;
    assert!(starting(), "no process yet");
    host.write(&format!("{}/cgroup.events", scope('a')), "populated 0\nfrozen 0\n");
    assert!(starting(), "still none");
    host.write(&format!("{}/cgroup.events", scope('a')), "populated 1\nfrozen 0\n");
    host.write(&format!("{child}/cgroup.procs"), "4242\n");
    assert!(starting(), "of the runtime, or gone");
    host.write(&format!("{child}/cgroup.procs"), "");
    assert!(!starting());
}

#[tokio::test]
async fn a_pods_own_limit_is_watched_as_its_containers_are() {
    let host = Host::new();
    host.cgroup(&pod_slice(), "max\n");
    let (mut tree, found) = Tree::new(&host.roots).unwrap();
    assert_eq!(found.touched, BTreeSet::from([the_pod()]));
    let uid = PodUid::new(POD).unwrap();
    let facts = tree.pod_facts(&uid).unwrap().unwrap();
    assert_eq!((facts.level.level, facts.level.swap_max), (CgroupLevel::Pod, SwapMax::Max));
    let unit = facts.path.file_name().unwrap().to_str().unwrap();
    assert_eq!(facts.manager, Manager::Systemd(unit.into()));

    host.write(&format!("{}/{LIMIT_FILE}", pod_slice()), "5\n");
    until(&mut tree, uid.clone(), false).await;
    tree.deafen(&the_pod());
    host.write(&format!("{}/{LIMIT_FILE}", pod_slice()), "6\n");
    host.cgroup(&scope('a'), "max\n");
    until(&mut tree, id('a'), false).await;
    tree.listen(&the_pod());
    host.write(&format!("{}/{LIMIT_FILE}", pod_slice()), "7\n");
    until(&mut tree, uid.clone(), false).await;

    // Memory that a container held beyond its grant now counts for its pod.
    fs::remove_dir_all(host.roots.cgroup().join(scope('a'))).unwrap();
    let mut seen = Changes::default();
    while !seen.gone.contains(&id('a').into()) {
        seen = changes(&mut tree).await;
    }
    assert!(seen.touched.contains(&the_pod()), "{seen:?}");
    fs::remove_dir_all(host.roots.cgroup().join(pod_slice())).unwrap();
    until(&mut tree, uid.clone(), true).await;
    assert_eq!(tree.pod_facts(&uid).unwrap(), None);
    let limits = tree.watched.values().filter(|watched| matches!(watched, Watched::Limit(_)));
    assert_eq!(limits.count(), 0);
}

/// A process with locked memory blocks every reader of its command line. A pipe without a writer
/// blocks in the same way.
#[tokio::test]
async fn a_command_line_that_does_not_come_keeps_nobody_waiting() {
    let host = Host::new();
    let (started, starting) = (id('a'), id('b'));
    let process = |digit: char, pid: u32, comm: &str| {
        host.cgroup(&scope(digit), "0");
        host.write(&format!("{}/cgroup.procs", scope(digit)), &format!("{pid}\n"));
        let folder = host.roots.proc(&pid.to_string());
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("comm"), format!("{comm}\n")).unwrap();
        nix::unistd::mkfifo(&folder.join("cmdline"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    };
    process('a', 71, "virt-launcher");
    process('b', 72, "6");
    for (digit, pid) in [('c', 73), ('d', 74), ('e', 75)] {
        process(digit, pid, "exe");
    }
    let (mut tree, _) = Tree::new(&host.roots).unwrap();
    assert!(!tree.facts(&started, None).unwrap().unwrap().starting, "its name tells");
    for digit in ['b', 'c', 'd', 'e', 'b'] {
        assert!(tree.facts(&id(digit), None).unwrap().unwrap().starting, "{digit}");
    }
    host.write(&format!("{}/{LIMIT_FILE}", scope('a')), "5\n");
    until(&mut tree, started, false).await;

    // The tree waits for two only, and asks for the others again.
    let command_line = host.roots.proc("72/cmdline");
    let write = move || fs::write(command_line, "/usr/bin/qemu\0").unwrap();
    tokio::task::spawn_blocking(write).await.unwrap();
    until(&mut tree, starting.clone(), false).await;
    assert!(!tree.facts(&starting, None).unwrap().unwrap().starting);
    assert!(tree.facts(&id('d'), None).unwrap().unwrap().starting);
    let command_line = host.roots.proc("74/cmdline");
    let write = move || fs::write(command_line, "runc\0init\0").unwrap();
    tokio::task::spawn_blocking(write).await.unwrap();
    // Ends the last reader.
    let last = host.roots.proc("73/cmdline");
    tokio::task::spawn_blocking(move || fs::write(last, "sh\0").unwrap()).await.unwrap();
    until(&mut tree, id('c'), false).await;
    assert!(tree.facts(&id('d'), None).unwrap().unwrap().starting, "still the runtime's");
}

/// Once the container's program runs, the runtime creates nothing more.
#[tokio::test]
async fn what_a_started_container_makes_is_neither_watched_nor_a_level() {
    let host = Host::new();
    host.cgroup(&scope('a'), "0");
    host.write(&format!("{}/cgroup.procs", scope('a')), "71\n");
    fs::create_dir_all(host.roots.proc("71")).unwrap();
    fs::write(host.roots.proc("71/comm"), "sleep\n").unwrap();
    let (mut tree, _) = Tree::new(&host.roots).unwrap();
    assert!(!tree.facts(&id('a'), None).unwrap().unwrap().starting);
    host.cgroup(&format!("{}/container", scope('a')), "max");
    let mut seen = Changes::default();
    tree.scan(&mut seen);
    assert_eq!(containers(&seen.touched), touched(&[id('a')]));
    let facts = tree.facts(&id('a'), None).unwrap().unwrap();
    assert_eq!((facts.levels.len(), facts.starting), (1, false));
    let watched: Vec<_> = tree.watched.values().collect();
    assert!(!watched.iter().any(|watched| matches!(watched, Watched::Container(_))), "{watched:?}");
    host.write(&format!("{}/{LIMIT_FILE}", scope('a')), "5\n");
    until(&mut tree, id('a'), false).await;
}

/// Events of one container must not block the reader.
#[tokio::test]
async fn events_without_end_come_in_bounded_parts() {
    let host = Host::new();
    host.cgroup(&scope('a'), "0");
    let (tree, _) = Tree::new(&host.roots).unwrap();
    for index in 0..5000 {
        fs::create_dir(host.roots.cgroup().join(scope('a')).join(format!("x{index}"))).unwrap();
    }
    let mut parts = Vec::new();
    while parts.iter().sum::<usize>() < 5000 {
        parts.push(tree.events.next().await.unwrap().len());
    }
    assert!(parts.len() > 2 && parts.iter().all(|part| *part < 1500), "{parts:?}");
}
