//! The agent's own functions, measured by criterion, each with a baseline: the least that the same
//! work can take.

use std::{
    collections::BTreeMap,
    fs,
    hint::black_box,
    mem::take,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use criterion::{
    Criterion,
    measurement::{Measurement, ValueFormatter, WallTime},
};
use serde::de::IgnoredAny;
use serde_json::Value;
use wasp_agent::{
    act::cgroup::write_limit,
    config::settings::{ReclaimMode, ReclaimSettings, Settings},
    decide::{
        decision::{Action, Decision, Snapshot},
        evict::{
            efforts::Efforts,
            evictions::Evictions,
            machine::{self, Inputs},
            select::{Circumstances, rank},
            signals::Signals,
        },
        limits::decide,
        reclaim::{INTERVAL, ReclaimPace},
        state::LimitStates,
        suspend::Suspensions,
    },
    model::{
        clock::{SinceBoot, SinceStart, UnixTime},
        host::{CgroupLevel, ContainerFacts, NodeMemory},
        pod::{ContainerId, Pod, PodUid, Pods},
        pressure::{ContainerUsage, PodUsage},
        published::Published,
        reclaim::{Look, NodeLook, Reclaimed},
    },
    observe::{
        cgroup::Cgroup,
        kube::wire::{WirePod, pod as from_wire},
        node,
        pressure::{WorkingSet, activity, sample, usage},
        reclaim::pod_memory,
        tree::Tree,
        zoneinfo,
    },
    report::metrics::prometheus,
    roots::Roots,
};

use crate::{
    bare::cpu_time,
    site::{real_pod, with_uid},
    support::{FakeHost, MIB, container_id},
    table::{Row, Unit},
};

/// The largest allowed ratio of a row to its baseline.
pub(crate) const LAWS: [(&str, f64); 2] = [("read /proc/vmstat", 4.0), (RECLAIM, 1.0)];

/// Its baseline is what it may cost: 0.2 % of a core.
const RECLAIM: &str = "reclaim's look at 100 pods";
const RECLAIM_SHARE: f64 = 0.002;

const PODS: [usize; 3] = [50, 250, 1000];
const NODE: NodeMemory =
    NodeMemory { ram_bytes: 256 << 30, swap_bytes: 128 << 30, page_bytes: 4096 };

/// The thread's CPU time: nothing here waits, and other programs use the machine too.
struct CpuTime;

impl Measurement for CpuTime {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        cpu_time()
    }

    fn end(&self, start: Duration) -> Duration {
        cpu_time() - start
    }

    fn add(&self, one: &Duration, other: &Duration) -> Duration {
        *one + *other
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, time: &Duration) -> f64 {
        WallTime.to_f64(time)
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

struct Bench {
    criterion: Criterion<CpuTime>,
    folder: PathBuf,
    rows: Vec<Row>,
}

/// Measures all functions; criterion keeps its own results in this directory.
pub(crate) fn measure(folder: &Path) -> Vec<Row> {
    let criterion = Criterion::default()
        .with_measurement(CpuTime)
        .without_plots()
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(500))
        .sample_size(20)
        .output_directory(folder);
    let mut bench = Bench { criterion, folder: folder.to_owned(), rows: Vec::new() };
    let settings = Settings::defaults();
    for pods in PODS {
        bench.decide(pods, &settings);
    }
    for cgroups in PODS {
        bench.pass(cgroups, &settings);
    }
    for pods in PODS {
        bench.rank(pods, &settings);
    }
    bench.kernel_files();
    bench.look(&settings);
    bench.reclaim();
    bench.api();
    bench.rows
}

impl Bench {
    fn compare<A, B>(
        &mut self,
        what: &str,
        grows: &'static str,
        function: impl FnMut() -> A,
        baseline: &str,
        least: impl FnMut() -> B,
    ) {
        let took = self.time(what, function);
        let at_least = self.time(&format!("{what} - baseline"), least);
        self.rows.push(Row::new(what, took, Unit::Seconds, grows).against(baseline, at_least));
    }

    /// Returns the median, in seconds.
    fn time<A>(&mut self, name: &str, mut function: impl FnMut() -> A) -> f64 {
        let name = name.replace(['/', ' ', ','], "-");
        self.criterion.bench_function(&name, |bencher| bencher.iter(&mut function));
        let estimates = self.folder.join(&name).join("new/estimates.json");
        let estimates: Value = serde_json::from_slice(&fs::read(estimates).unwrap()).unwrap();
        estimates["median"]["point_estimate"].as_f64().unwrap() / 1e9
    }

    /// The decision of a thorough pass with all limits right: the most work for a decision.
    fn decide(&mut self, count: usize, settings: &Settings) {
        let mut node = Node::new(count, settings);
        let facts = node.facts();
        let keys: BTreeMap<&ContainerId, ()> = facts.iter().map(|facts| (&facts.id, ())).collect();
        let (mut state, decision) = node.decide(settings, &facts, LimitStates::default());
        assert_eq!(decision, Decision::default());
        self.compare(
            &format!("decide, {count} pods"),
            "the node's pods (n log n)",
            || {
                let (next, decision) = node.decide(settings, &facts, take(&mut state));
                state = next;
                decision
            },
            "look each container up in a BTreeMap",
            || facts.iter().filter(|facts| keys.contains_key(black_box(&facts.id))).count(),
        );
    }

    /// The agent's resync, on regular files.
    fn pass(&mut self, count: usize, settings: &Settings) {
        // Each pod has a container and a sandbox.
        let mut node = Node::new(count / 2, settings);
        let cgroups = node.cgroups.clone();
        let mut state = LimitStates::default();
        self.compare(
            &format!("full pass, {count} cgroups"),
            "the cgroups looked at (n log n)",
            || {
                let facts = node.facts();
                let (next, decision) = node.decide(settings, &facts, take(&mut state));
                state = next;
                decision
            },
            "read the same files",
            || {
                let files = ["memory.swap.max", "memory.swap.current"];
                let read =
                    |cgroup: &PathBuf| files.map(|file| fs::read(cgroup.join(file)).unwrap());
                cgroups.iter().map(read).collect::<Vec<_>>()
            },
        );
    }

    /// The order of eviction, with all pods above their requests.
    fn rank(&mut self, count: usize, settings: &Settings) {
        let pods = pods(count);
        let used = |(uid, pod): (&PodUid, &Arc<Pod>)| PodUsage {
            uid: uid.clone(),
            containers: vec![ContainerUsage {
                name: Some(pod.containers[0].name.clone()),
                working_set_bytes: 200 * MIB
                    + uid.as_str().as_bytes().iter().map(|b| u64::from(*b)).sum::<u64>(),
                swap_bytes: MIB,
            }],
            slice: None,
            effort: None,
        };
        let usage: Vec<PodUsage> = pods.iter().map(used).collect();
        let efforts = Efforts::default();
        let at = Circumstances { now: UnixTime::default(), ram_bytes: 64 << 30, efforts: &efforts };
        let numbers: Vec<u64> = usage.iter().map(PodUsage::bytes).collect();
        self.compare(
            &format!("rank for eviction, {count} pods"),
            "the node's pods (n log n)",
            || rank(&settings.eviction, &pods, &usage, at),
            "sort as many numbers",
            || {
                let mut numbers = numbers.clone();
                numbers.sort_unstable();
                numbers
            },
        );
    }

    /// Content of this machine's kernel files, in regular files: measures parsing, not the kernel.
    fn kernel_files(&mut self) {
        let host = FakeHost::new(MIB, MIB);
        let vm = ["sys/vm/min_free_kbytes", "sys/vm/watermark_scale_factor"];
        for name in ["meminfo", "vmstat", "zoneinfo", "swaps"].into_iter().chain(vm) {
            host.write(
                &format!("/proc/{name}"),
                &fs::read_to_string(format!("/proc/{name}")).unwrap(),
            );
        }
        let stat: String = (0..45).map(|number| format!("counter{number} 123456789\n")).collect();
        let cgroup = "/sys/fs/cgroup/c";
        for (name, text) in [
            ("memory.swap.max", "123456789\n"),
            ("memory.swap.current", "12345\n"),
            ("memory.current", "123456789\n"),
            ("memory.stat", &format!("{stat}inactive_file 5\npswpin 7\n")),
            ("memory.pressure", PRESSURE),
        ] {
            host.write(&format!("{cgroup}/{name}"), text);
        }
        let roots = Roots::at(host.root());
        let folder = host.path(cgroup);
        let mut file = |what: &str, files: &[&str], parse: &mut dyn FnMut() -> bool| {
            let files: Vec<PathBuf> = files.iter().map(|file| host.path(file)).collect();
            assert!(parse(), "{what} cannot be parsed");
            self.compare(&format!("read {what}"), "the file's length", parse, "fs::read", || {
                files.iter().map(|file| fs::read(file).unwrap().len()).sum::<usize>()
            });
        };
        file("/proc/meminfo", &["/proc/meminfo"], &mut || node::memory(&roots).is_ok());
        file("/proc/vmstat", &["/proc/vmstat"], &mut || node::swap_traffic(&roots).is_some());
        let of_zones = ["zoneinfo", vm[0], vm[1]].map(|name| format!("/proc/{name}"));
        file("/proc/zoneinfo", &of_zones.each_ref().map(String::as_str), &mut || {
            zoneinfo::watermarks(&roots, 4096).is_ok()
        });
        file("/proc/swaps", &["/proc/swaps"], &mut || {
            black_box(node::swap_devices(&roots)).len() < 99
        });
        let of_cgroup = |names: &[&str]| {
            names.iter().map(|name| format!("{cgroup}/{name}")).collect::<Vec<_>>()
        };
        let mut cgroup_files = |what: &str, names: &[&str], parse: &mut dyn FnMut() -> bool| {
            let paths = of_cgroup(names);
            file(what, &paths.iter().map(String::as_str).collect::<Vec<_>>(), parse);
        };
        cgroup_files(
            "memory.swap.max and .current",
            &["memory.swap.max", "memory.swap.current"],
            &mut || {
                Cgroup::open(&folder)
                    .unwrap()
                    .unwrap()
                    .level(CgroupLevel::Container)
                    .unwrap()
                    .is_some()
            },
        );
        cgroup_files(
            "memory.stat, .current, .swap.current",
            &["memory.stat", "memory.current", "memory.swap.current"],
            &mut || usage(&folder, None).is_some(),
        );
        cgroup_files("memory.stat and .pressure", &["memory.stat", "memory.pressure"], &mut || {
            activity(&folder).1.is_some()
        });
    }

    /// A look at the node: every five or ten seconds, every second under swap pressure.
    fn look(&mut self, settings: &Settings) {
        let host = FakeHost::new(MIB, MIB);
        let files = ["/proc/meminfo", "/proc/vmstat", "/proc/pressure/memory"];
        for path in ["/proc/meminfo", "/proc/vmstat"] {
            host.write(path, &fs::read_to_string(path).unwrap());
        }
        host.write("/proc/pressure/memory", PRESSURE);
        host.write("/sys/fs/cgroup/kubepods/memory.pressure", PRESSURE);
        let files = files.map(|path| host.path(path));
        let roots = Roots::at(host.root());
        let (mut signals, mut evictions) = (Signals::default(), Evictions::default());
        let mut efforts = Efforts::default();
        let (pods, mut seconds) = (Pods::new(), 0);
        self.compare(
            "one look at the node, decision included",
            "nothing",
            || {
                seconds += 1;
                let at = SinceBoot(Duration::from_secs(seconds));
                let slices = ["system.slice".to_owned()];
                let sample = sample(&roots, at, &slices, WorkingSet::AnonAndFile).unwrap();
                let inputs = Inputs {
                    sample,
                    wall_clock: UnixTime::default(),
                    pods: &pods,
                    usage: &[],
                    pods_are_fresh: true,
                    others_relieve: false,
                };
                machine::decide(
                    &settings.eviction,
                    inputs,
                    &mut signals,
                    &mut efforts,
                    &mut evictions,
                )
            },
            "read the same files",
            || files.iter().map(|file| fs::read(file).unwrap().len()).sum::<usize>(),
        );
    }

    /// The CPU time of the agent for one examination by reclaim: it reads all pods, decides, and
    /// requests memory from each. The kernel's time for a write is not included.
    fn reclaim(&mut self) {
        let host = FakeHost::new(MIB, MIB);
        let stat: String = (0..45).map(|number| format!("counter{number} 123456789\n")).collect();
        let pods: Vec<(PodUid, PathBuf)> = (0..100)
            .map(|number| {
                let uid = format!("9192cfa8-679c-444e-9bb8-{number:012}");
                let cgroup = format!("/sys/fs/cgroup/kubepods/pod{uid}");
                for (name, text) in [
                    ("memory.stat", format!("anon 4294967296\n{stat}inactive_file 5\n")),
                    ("memory.current", "4294967296\n".to_owned()),
                    ("memory.min", "0\n".to_owned()),
                    ("memory.low", "0\n".to_owned()),
                    ("memory.swap.current", "12345\n".to_owned()),
                    ("memory.swap.max", "4294967296\n".to_owned()),
                    ("memory.pressure", CALM.to_owned()),
                    ("io.pressure", CALM.to_owned()),
                ] {
                    host.write(&format!("{cgroup}/{name}"), &text);
                }
                (PodUid::new(&uid).unwrap(), host.path(&cgroup))
            })
            .collect();
        let settings = ReclaimSettings {
            mode: ReclaimMode::On,
            write_bytes_per_second: 1 << 30,
            ..Settings::defaults().reclaim
        };
        let (mut control, mut at, mut steps) = (ReclaimPace::default(), SinceBoot::default(), 0);
        let took = self.time(RECLAIM, || {
            at = at + INTERVAL;
            let look = |(uid, folder): &(PodUid, PathBuf)| Look {
                uid: uid.clone(),
                memory: pod_memory(folder),
                left_alone: None,
            };
            let looks: Vec<Look> = pods.iter().map(look).collect();
            let node = NodeLook {
                at,
                swap_bytes: 1 << 40,
                page_bytes: 4096,
                sampled: at,
                pods_are_fresh: true,
                ..NodeLook::default()
            };
            let verdict = control.decide(&settings, &node, &looks);
            for step in &verdict.steps {
                steps += 1;
                let done = Reclaimed { asked_bytes: step.bytes, ..Reclaimed::default() };
                control.reclaimed(&step.uid, at, done);
            }
            verdict
        });
        assert!(steps > 100, "the pods are asked for memory: {steps}");
        let may_take = INTERVAL.as_secs_f64() * RECLAIM_SHARE;
        let row = Row::new(RECLAIM, took, Unit::Seconds, "the pods that take part");
        self.rows.push(row.against("0.2 % of a core", may_take));
    }

    fn api(&mut self) {
        let json = with_uid(real_pod("p", 1), 1).to_string();
        self.compare(
            &format!("parse a pod of {:.1} kB", json.len() as f64 / 1e3),
            "the pod's length",
            || from_wire(serde_json::from_str::<WirePod>(&json).unwrap(), &[]).unwrap(),
            "check the JSON, keep nothing",
            || serde_json::from_str::<IgnoredAny>(&json).unwrap(),
        );
        let published = Published::default();
        self.compare(
            "render metrics",
            "nothing",
            || prometheus(&published).unwrap(),
            "the same as JSON",
            || serde_json::to_string(&published).unwrap(),
        );
    }
}

const PRESSURE: &str = "some avg10=0.00 avg60=0.00 avg300=0.00 total=70620019\n\
                        full avg10=0.00 avg60=0.00 avg300=0.00 total=30178536\n";

const CALM: &str = "some avg10=0.00 avg60=0.00 avg300=0.00 total=70620019\n";

fn pods(count: usize) -> Pods {
    let pod = |number| {
        let json = with_uid(real_pod(&format!("p{number}"), number), number).to_string();
        let pod = from_wire(serde_json::from_str(&json).unwrap(), &[]).unwrap();
        (pod.uid.clone(), Arc::new(pod))
    };
    (0..count).map(pod).collect()
}

/// A host with pods of one container and a sandbox each, all running and with the right limits.
struct Node {
    _host: FakeHost,
    _runtime: tokio::runtime::Runtime,
    pods: Pods,
    cgroups: Vec<PathBuf>,
    tree: Tree,
}

impl Node {
    fn new(count: usize, settings: &Settings) -> Self {
        let host = FakeHost::new(MIB, MIB);
        host.write("/proc/7/comm", "qemu-kvm\n");
        host.write("/proc/7/cmdline", "/usr/libexec/qemu-kvm\0");
        let pods = pods(count);
        let mut cgroups = Vec::new();
        for (number, uid) in pods.keys().enumerate() {
            for (name, id) in [("main", number), ("POD", count + number)] {
                let cgroup = host.container(uid.as_str(), &container_id(id), name, "0\n");
                host.write(&format!("{cgroup}/cgroup.procs"), "7\n");
                cgroups.push(host.path(&cgroup));
            }
        }
        // inotify's queue needs a reactor.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let entered = runtime.enter();
        let roots = Roots::at(host.root());
        let (tree, _) = Tree::new(&roots).unwrap();
        drop(entered);
        let mut node = Self { _host: host, _runtime: runtime, pods, cgroups, tree };
        let facts = node.facts();
        for action in node.decide(settings, &facts, LimitStates::default()).1.actions {
            let Action::WriteLimit { path, inode, to, .. } = action else { continue };
            write_limit(&roots.cgroup().join(path), inode, to).unwrap();
        }
        node
    }

    fn facts(&mut self) -> Vec<ContainerFacts> {
        let ids: Vec<ContainerId> = self.tree.ids().cloned().collect();
        let of = |id: &ContainerId| {
            let pod = self.tree.pod_of(id).and_then(|uid| self.pods.get(uid)).cloned();
            self.tree.facts(id, pod.as_deref()).unwrap().unwrap()
        };
        ids.iter().map(of).collect()
    }

    fn decide(
        &self,
        settings: &Settings,
        containers: &[ContainerFacts],
        state: LimitStates,
    ) -> (LimitStates, Decision) {
        let suspensions = Suspensions::default();
        let snapshot = Snapshot {
            node: NODE,
            suspensions: &suspensions,
            pods: &self.pods,
            containers,
            slices: &[],
            swap_is_certain: true,
            thorough: true,
        };
        decide(settings, snapshot, state, SinceStart::default())
    }
}
