//! Many agents against one API server: their requests over time, and the growth with the number of
//! nodes. `make bench-fleet`.
//!
//! The agents run in a separate process, each with a host's root, a kubelet's credentials and
//! two connections, with the agent's code: `observe::kube::pods` and `agent::announce`. Time is not
//! scaled: a minute takes a minute.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark fails by panicking"
)]
#![allow(clippy::print_stdout, clippy::cast_precision_loss, reason = "it prints a table")]

use std::{
    env, fs,
    io::{BufRead, BufReader, Write, stdin},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::sleep,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    runtime::watcher::{self, Event},
};
use serde_json::{Map, Value, json};
use test_apiserver::{ApiServer, Handle, Options, faults::Fault};
use tokio::sync::{mpsc, watch};
use wasp_agent::{
    agent::announce::{AnnounceWanted, Announcer},
    config::settings::Settings,
    decide::evict::condition::{ConditionValue, SwapCondition},
    observe::kube::{
        credentials,
        pods::{self, Update},
    },
    roots::Roots,
};

const PODS_PER_NODE: usize = 20;
/// Size of a plain pod on the wire. A VM's is three times that.
const POD_BYTES: usize = 8000;
const OUTAGE: Duration = Duration::from_secs(60);
/// Time after the last agent has returned, in which one may ask once more.
const SETTLES: Duration = Duration::from_secs(20);
const PATIENCE: Duration = Duration::from_secs(600);

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let number =
        |index: usize, default| arguments.get(index).map_or(default, |n| n.parse().unwrap());
    if arguments.first().is_some_and(|first| first == "agents") {
        return run_agents(Path::new(&arguments[2]), number(1, 0));
    }
    let (agents, steady) = (number(0, 1000), number(1, 600));
    let mut fleet = Fleet::new(agents);
    fleet.start();
    fleet.steady(steady as u64);
    fleet.whole_cluster();
    fleet.returns("watches closed by the API server", false, |server| {
        server.drop_watches().unwrap()
    });
    fleet.returns("back after 60 s, its history kept", false, |server| outage(server, false));
    fleet.returns("back after 60 s, its history lost", true, |server| outage(server, true));
    let file = env::current_exe().unwrap().parent().unwrap().join("../bench-fleet.json");
    fs::write(&file, Value::from(fleet.kept).to_string() + "\n").unwrap();
    println!("kept in {}", file.canonicalize().unwrap().display());
}

/// With its history, a watch continues as on another API server; without, as after the restart of
/// the only one, every agent lists again.
fn outage(server: &Handle, history_lost: bool) {
    let fault = json!({"closeListenerMs": u64::try_from(OUTAGE.as_millis()).unwrap()});
    server.fault(serde_json::from_value::<Fault>(fault).unwrap()).unwrap();
    // A pod without a node: the version advances, and no agent sees it, not even by a bookmark.
    sleep(Duration::from_secs(2));
    server.load([pod(usize::MAX, 0)]).unwrap();
    if history_lost {
        server.compact().unwrap();
    }
    sleep(OUTAGE);
}

fn node(number: usize) -> String {
    format!("node-{number}")
}

fn pod(node_number: usize, number: usize) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": format!("pod-{node_number}-{number}"),
            "annotations": {"rest": "x".repeat(POD_BYTES - 1200)},
        },
        "spec": {"nodeName": node(node_number), "containers": [{
            "name": "main", "image": "x",
            "resources": {"requests": {"memory": "100Mi"}, "limits": {"memory": "200Mi"}},
        }]},
        "status": {"phase": "Running"},
    })
}

fn tenths(time: SystemTime) -> u128 {
    time.duration_since(UNIX_EPOCH).unwrap().as_millis() / 100
}

struct Fleet {
    agents: usize,
    server: Handle,
    _data: tempfile::TempDir,
    process: Agents,
    kept: Map<String, Value>,
}

impl Fleet {
    fn new(agents: usize) -> Self {
        let data = tempfile::tempdir().unwrap();
        let mut options = Options::new(data.path());
        options.nodes = (0..agents).map(node).collect();
        options.disruption_controller = false;
        let server = ApiServer::start(options).unwrap();
        let all = (0..agents).flat_map(|node| (0..PODS_PER_NODE).map(move |n| pod(node, n)));
        server.load(all).unwrap();
        let process = Agents::prepare(agents, data.path());
        row("agents, pods", &format!("{agents}, {PODS_PER_NODE} on each node"));
        let mut kept = Map::new();
        kept.insert("agents".to_owned(), json!(agents));
        Self { agents, server, _data: data, process, kept }
    }

    fn n(&self) -> u64 {
        self.agents as u64
    }

    /// Starts all agents at the same instant; those of a real cluster start at different times.
    fn start(&mut self) {
        let since = SystemTime::now();
        self.process.go();
        self.await_requests(since, |requests| {
            requests.of("watch") >= self.n() && requests.of("patch") >= self.n()
        });
        let requests = self.requests(since);
        self.keep("start of all at the same time", &requests);
        for verb in ["list", "watch", "get", "patch"] {
            assert_eq!(requests.of(verb), self.n(), "{verb}: one of each agent");
        }
        let bytes = self.bytes("list", "system:node:node-0");
        row("bytes listed by an agent", &bytes.to_string());
        self.kept.insert("list_bytes".to_owned(), json!(bytes));
    }

    /// Changes one pod of each node every minute.
    fn steady(&mut self, seconds: u64) {
        let (since, before) = (SystemTime::now(), self.watched_bytes());
        let mut changes = 0;
        let pause = Duration::from_secs(60) / u32::try_from(self.agents).unwrap();
        while since.elapsed().unwrap() < Duration::from_secs(seconds) {
            let due = since.elapsed().unwrap().as_nanos() / pause.as_nanos();
            while changes < due {
                self.server.load([pod(changes as usize % self.agents, 0)]).unwrap();
                changes += 1;
            }
            sleep(Duration::from_millis(20));
        }
        let requests = self.requests(since);
        let name = format!("{seconds} s with {changes} changed pods");
        self.keep(&name, &requests);
        let per_minute = requests.all() as f64 * 60.0 / seconds as f64 / self.agents as f64;
        let watched = self.watched_bytes() - before;
        let per_change = watched as f64 / changes as f64;
        row("requests of an agent in a minute", &format!("{per_minute:.2}"));
        row("bytes watched, per changed pod, bookmarks included", &format!("{per_change:.0}"));
        self.kept.insert("requests_per_agent_minute".to_owned(), json!(per_minute));
        self.kept.insert("bytes_per_change".to_owned(), json!(per_change));
        assert_eq!((requests.of("list"), requests.of("get")), (0, 0), "nothing is read anew");
        let most = self.n() * (seconds / 200 + 1 + seconds / 240 + 1);
        assert!(requests.all() <= most, "{} requests, of {most} at most", requests.all());
        assert!(per_change < 1.5 * POD_BYTES as f64, "a change goes to one agent: {per_change}");
    }

    /// The comparison: a program on each node that watches all pods. Measures one of them.
    fn whole_cluster(&mut self) {
        let host = tempfile::tempdir().unwrap();
        fs::copy(self.server.admin_kubeconfig(), host.path().join("kubeconfig")).unwrap();
        let roots = Roots::at(host.path());
        let mut settings = wasp_agent::observe::settings::load(&roots, |_| None).unwrap().0;
        settings.kubeconfig = Some("/kubeconfig".into());
        settings.node_name = Some("all".to_owned());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (listed, heard) = runtime.block_on(async {
            let client = credentials::load(&roots, &settings).await.unwrap().client;
            let config = watcher::Config::default().any_semantic();
            let config = watcher::Config { page_size: None, ..config };
            let events = watcher::watcher(Api::<Pod>::all(client), config);
            futures::pin_mut!(events);
            let (mut listed, mut heard) = (0, 0);
            while heard < 100 {
                match events.next().await.unwrap().unwrap() {
                    Event::InitApply(_) => listed += 1,
                    Event::InitDone => {
                        for change in 0..100 {
                            self.server.load([pod(change % self.agents, 1)]).unwrap();
                        }
                    }
                    Event::Apply(_) => heard += 1,
                    Event::Init | Event::Delete(_) => {}
                }
            }
            (listed, heard)
        });
        let bytes = self.bytes("list", "kubernetes-admin");
        let own = self.bytes("list", "system:node:node-0");
        row("a watcher of the whole cluster lists", &format!("{listed} pods, {bytes} bytes"));
        row("and hears of 100 changes", &heard.to_string());
        row(
            "all such agents, to an agent for its own pods",
            &format!("{:.0} ×", bytes as f64 / own as f64),
        );
        self.kept.insert("whole_cluster_list_bytes".to_owned(), json!(bytes));
        assert!(bytes / own >= self.n() * 9 / 10, "{bytes} and {own}");
    }

    /// Runs `trouble`, which ends all watches, and records the agents' requests after it.
    fn returns(&mut self, name: &str, list_anew: bool, trouble: impl FnOnce(&Handle)) {
        let since = SystemTime::now();
        let failures = self.process.failures();
        trouble(&self.server);
        // Refused as too old, then a list, then a watch.
        let expected = if list_anew { [self.n(), 2 * self.n()] } else { [0, self.n()] };
        self.await_requests(since, |requests| requests.of("watch") >= expected[1]);
        sleep(SETTLES);
        let mut requests = self.requests(since);
        requests.0.retain(|(_, verb, _)| matches!(*verb, "list" | "watch"));
        self.keep(name, &requests);
        let failed = (self.process.failures() - failures) as f64 / self.agents as f64;
        row("    attempts of an agent that failed meanwhile", &format!("{failed:.1}"));
        assert_eq!([requests.of("list"), requests.of("watch")], expected, "nobody asks twice");
    }

    fn await_requests(&self, since: SystemTime, done: impl Fn(&Requests) -> bool) {
        while !done(&self.requests(since)) {
            assert!(since.elapsed().unwrap() < PATIENCE, "{:?}", self.requests(since));
            sleep(Duration::from_millis(100));
        }
    }

    fn requests(&self, since: SystemTime) -> Requests {
        let since = tenths(since);
        let arrivals = self.server.arrivals().unwrap().into_iter();
        let arrivals = arrivals.filter(|((at, _), _)| *at >= since);
        Requests(arrivals.map(|((at, verb), count)| ((at - since) / 10, verb, count)).collect())
    }

    fn keep(&mut self, name: &str, requests: &Requests) {
        let (peak, last) = (requests.peak(), requests.per_second().len());
        row(name, &format!("{} requests, at most {peak} in a second, in {last} s", requests.all()));
        let verbs = ["list", "watch", "get", "patch"];
        let counts: Vec<String> =
            verbs.iter().map(|verb| format!("{verb} {}", requests.of(verb))).collect();
        let first: Vec<_> = requests.per_second().into_iter().take(30).collect();
        println!("    {}; in each second {first:?}", counts.join(", "));
        let kept = json!({"requests": requests.all(), "peak": peak, "per_second": requests.per_second(),
            "by_verb": verbs.map(|verb| json!({verb: requests.of(verb)}))});
        self.kept.insert(name.to_owned(), kept);
    }

    /// Sums the server's counts by user and verb.
    fn bytes_of(&self, wanted: impl Fn(&Value) -> bool) -> u64 {
        let report = self.server.requests().unwrap();
        let rows = report["requests"].as_array().unwrap().iter();
        rows.filter(|row| wanted(row)).map(|row| row["bytes"].as_u64().unwrap()).sum()
    }

    fn bytes(&self, verb: &str, user: &str) -> u64 {
        self.bytes_of(|row| row["verb"] == verb && row["user"] == user && row["resource"] == "pods")
    }

    fn watched_bytes(&self) -> u64 {
        self.bytes_of(|row| row["verb"] == "watch")
    }
}

/// Second, verb, number of requests.
#[derive(Debug)]
struct Requests(Vec<(u128, &'static str, u64)>);

impl Requests {
    fn all(&self) -> u64 {
        self.0.iter().map(|(.., count)| count).sum()
    }

    fn of(&self, verb: &str) -> u64 {
        self.0.iter().filter(|(_, of, _)| *of == verb).map(|(.., count)| count).sum()
    }

    /// Returns the requests by second, from the first one on.
    fn per_second(&self) -> Vec<u64> {
        let at = || self.0.iter().map(|(second, ..)| *second);
        let (first, last) = (at().min().unwrap_or(0), at().max().unwrap_or(0));
        let mut seconds = vec![0; usize::try_from(last - first).unwrap() + 1];
        for (second, _, count) in &self.0 {
            seconds[usize::try_from(second - first).unwrap()] += count;
        }
        seconds
    }

    fn peak(&self) -> u64 {
        self.per_second().into_iter().max().unwrap_or(0)
    }
}

fn row(what: &str, figure: &str) {
    println!("{what:<55} {figure}");
}

/// The process of all agents. It ends with its standard input.
struct Agents(Child, ChildStdin, BufReader<ChildStdout>);

impl Agents {
    fn prepare(count: usize, data: &Path) -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["agents", &count.to_string()]).arg(data);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let input = child.stdin.take().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        output.read_line(&mut String::new()).unwrap();
        Self(child, input, output)
    }

    fn go(&mut self) {
        writeln!(self.1).unwrap();
    }

    /// Returns the number of failed requests of all agents, including refused connections.
    fn failures(&mut self) -> u64 {
        writeln!(self.1).unwrap();
        let mut line = String::new();
        self.2.read_line(&mut line).unwrap();
        line.trim().parse().unwrap()
    }
}

impl Drop for Agents {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Prints the agents' figures for each line that it reads. The first line starts them.
fn run_agents(data: &Path, count: usize) {
    let folder = tempfile::tempdir().unwrap();
    let roots: Vec<Roots> =
        (0..count).map(|agent| host(&folder.path().join(node(agent)), data, agent)).collect();
    let settings = wasp_agent::observe::settings::load(&roots[0], |_| None).unwrap().0;
    let failures = Arc::new(AtomicU64::new(0));
    println!("ready");
    let mut lines = stdin().lines();
    lines.next().unwrap().unwrap();
    let failed = failures.clone();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            for roots in roots {
                tokio::spawn(agent(roots, settings.clone(), failed.clone()));
            }
            std::future::pending::<()>().await;
        });
    });
    for line in lines {
        line.unwrap();
        println!("{}", failures.load(Ordering::Relaxed));
    }
}

/// Creates a root directory with the kubelet's credentials.
fn host(root: &Path, data: &Path, agent: usize) -> Roots {
    let kubeconfig = root.join("var/lib/kubelet/kubeconfig");
    fs::create_dir_all(kubeconfig.parent().unwrap()).unwrap();
    let own = data.join(format!("{}.kubeconfig", node(agent)));
    std::os::unix::fs::symlink(own, kubeconfig).unwrap();
    Roots::at(root)
}

/// Runs the part of the agent that uses the API server.
async fn agent(roots: Roots, settings: Settings, failures: Arc<AtomicU64>) {
    let (send, mut news) = mpsc::channel(64);
    tokio::spawn(pods::watch(roots.clone(), settings.clone(), send));
    let (_settings, receive) = watch::channel(settings);
    let (announcer, mut problems) = Announcer::start(roots, receive);
    loop {
        tokio::select! {
            Some(update) = news.recv() => match update {
                Update::Failed(_) => drop(failures.fetch_add(1, Ordering::Relaxed)),
                Update::ListEnds => announcer.want(AnnounceWanted {
                    condition: Some(SwapCondition {
                        status: ConditionValue::False,
                        reason: "SwapIsCalm",
                        message: "no signal".to_owned(),
                    }),
                    keep_away: false,
                    drained: false,
                    others_leave: false,
                }),
                _ => {}
            },
            Some(told) = problems.recv() => assert_eq!(told.problem, None),
        }
    }
}
