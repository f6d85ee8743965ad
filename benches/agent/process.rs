//! The agent as a process: memory, idle load, the cost of a change, and the time until a wrong
//! limit is repaired.

use std::{
    fs,
    time::{Duration, Instant},
};

use crate::{
    bare,
    site::{Counted, Site, memory, real_pod},
    support::{self, Agent, FakeHost, MIB, PATIENCE, container_id},
    table::{Row, Unit, median},
};

/// Pods of the node.
const FEW: usize = 10;
const SOME: usize = 250;
const MANY: usize = 1000;
const ELSEWHERE: usize = 2000;
const ROUNDS: usize = 300;
/// The agent repairs eight drifts of a container immediately, then one a second.
const COUNTED_ROUNDS: usize = 60;
const UPDATES: usize = 100;
const IDLE: Duration = Duration::from_secs(60);
/// Looks per minute at a node whose kernel reports nothing and that has nothing swapped.
const LOOKS: f64 = 12.0;
/// Upper bounds in bytes: of memory, of memory per pod of the node with its sandbox, and of the
/// binary.
const SOME_RSS: f64 = 16.5e6;
const MANY_RSS: f64 = 20e6;
const OF_A_POD: f64 = 5e3;
const BINARY: f64 = 8e6;
/// Per minute: the looks, and one in twenty seconds for everything else.
const WAKE_UPS: f64 = LOOKS + 3.0;
/// Half of a request of 100 MiB: the node has twice as much RAM as swap.
const RIGHT: u64 = 50 * MIB;

pub(crate) fn measure(rows: &mut Vec<Row>, broken: &mut Vec<String>) {
    let binary = fs::metadata(support::agent_binary()).unwrap().len() as f64;
    let row = Row::new("binary, stripped", binary, Unit::Bytes, "nothing");
    rows.push(row.against("the most it may be", BINARY));
    expect(broken, binary <= BINARY, || format!("the binary has {binary} bytes"));

    let sites = [FEW, SOME, MANY].map(Site::new);
    let started = Instant::now();
    drop(Agent::start(&sites[1].host));
    let ready = started.elapsed().as_secs_f64();
    rows.push(Row::new(
        format!("ready, {SOME} pods, {} cgroups", 2 * SOME),
        ready,
        Unit::Seconds,
        "the node's pods",
    ));
    let alone = memory(&sites[1].start());
    let agents = sites.each_ref().map(Site::start);
    of_cluster(&sites[1], &agents[1], alone, rows, broken);
    of_node(&sites, &agents, rows, broken);
    idle(&agents, rows, broken);
    for (site, agent) in sites.iter().zip(&agents) {
        drifts(site, agent, rows);
    }
    let reads = |agent: usize| reads_per_drift(&sites[agent], &agents[agent]);
    let (few, many) = (reads(0), reads(2));
    rows.push(
        Row::new(format!("reads per drift, {MANY} pods"), many, Unit::Count, "nothing")
            .against(format!("{FEW} pods"), few),
    );
    expect(broken, many - few <= 1.0, || {
        format!("a drift costs {few:.1} reads with {FEW} pods and {many:.1} with {MANY}")
    });
    starts(&sites[1], rows);
    for (site, agent) in sites.iter().zip(&agents) {
        updates(site, agent, rows);
    }
    for agent in agents {
        assert_eq!(agent.stop().0, Some(0));
    }
}

fn expect(broken: &mut Vec<String>, holds: bool, sentence: impl FnOnce() -> String) {
    if !holds {
        broken.push(sentence());
    }
}

/// The cost of pods on other nodes: none.
fn of_cluster(
    site: &Site,
    agent: &Agent,
    alone: [f64; 2],
    rows: &mut Vec<Row>,
    broken: &mut Vec<String>,
) {
    let before = (Counted::of(agent), site.watched_bytes());
    site.elsewhere(ELSEWHERE);
    let counted = Counted::of(agent) - before.0;
    let bytes = (site.watched_bytes() - before.1) as f64;
    rows.push(Row::new(
        format!("received while {ELSEWHERE} pods come elsewhere"),
        bytes,
        Unit::Bytes,
        "nothing",
    ));
    rows.push(Row::new("CPU meanwhile", counted.cpu_seconds, Unit::Seconds, "nothing"));
    // A bookmark may arrive.
    expect(broken, bytes < ELSEWHERE as f64, || {
        format!("the agent received {bytes} bytes about {ELSEWHERE} pods of other nodes")
    });
    let crowded = memory(&site.start());
    for (what, alone, crowded) in
        [("RSS", alone[0], crowded[0]), ("anonymous memory", alone[1], crowded[1])]
    {
        let what = format!("{what}, {SOME} pods, {ELSEWHERE} elsewhere");
        expect(broken, (crowded / alone - 1.0).abs() < 0.1, || {
            format!("{what}: {crowded} bytes; none elsewhere: {alone}")
        });
        let row = Row::new(what, crowded, Unit::Bytes, "nothing in the cluster");
        rows.push(row.against("none elsewhere", alone));
    }
}

fn of_node(sites: &[Site; 3], agents: &[Agent; 3], rows: &mut Vec<Row>, broken: &mut Vec<String>) {
    let small = memory(&agents[0]);
    for (site, agent) in sites.iter().zip(agents) {
        let [rss, anonymous] = memory(agent);
        for (what, figure, small) in
            [("RSS", rss, small[0]), ("anonymous memory", anonymous, small[1])]
        {
            rows.push(
                Row::new(
                    format!("{what}, {} pods", site.pods()),
                    figure,
                    Unit::Bytes,
                    "the node's pods",
                )
                .against(format!("{FEW} pods"), small),
            );
        }
    }
    let [few, some, many] = agents.each_ref().map(memory);
    for (pods, rss, most) in [(SOME, some[0], SOME_RSS), (MANY, many[0], MANY_RSS)] {
        expect(broken, rss <= most, || format!("RSS with {pods} pods: {rss} bytes, above {most}"));
    }
    let of_a_pod = (many[1] - few[1]) / (MANY - FEW) as f64;
    let row = Row::new("anonymous memory of a pod", of_a_pod, Unit::Bytes, "nothing");
    rows.push(row.against("the most it may be", OF_A_POD));
    expect(broken, of_a_pod <= OF_A_POD, || format!("a pod takes {of_a_pod:.0} bytes"));
}

/// Measures all agents at the same time. One has a node with pages in swap and a kernel that
/// reports no stalls: it looks every second.
fn idle(agents: &[Agent; 3], rows: &mut Vec<Row>, broken: &mut Vec<String>) {
    let site = Site::new(FEW);
    let meminfo = fs::read_to_string(site.host.path("/proc/meminfo")).unwrap();
    site.host.write("/proc/meminfo", &meminfo.replacen("SwapFree: ", "SwapFree: 1 kB\nOther: ", 1));
    let closely = site.start();
    let all = || [&agents[0], &agents[1], &agents[2], &closely].map(Counted::of);
    let before = all();
    std::thread::sleep(IDLE);
    let after = all();
    let counted: Vec<Counted> = after.into_iter().zip(before).map(|(a, b)| a - b).collect();
    let names = [FEW, SOME, MANY].map(|pods| format!("idle for {} s, {pods} pods", IDLE.as_secs()));
    for (name, counted) in names.iter().zip(&counted) {
        let wake_ups =
            Row::new(format!("wake-ups, {name}"), counted.wake_ups as f64, Unit::Count, "nothing");
        rows.push(wake_ups.against("a timer of 5 s", LOOKS));
        let wake_ups = counted.wake_ups as f64;
        expect(broken, wake_ups <= WAKE_UPS, || format!("{wake_ups} wake-ups, {name}"));
        rows.push(Row::new(
            format!("CPU, {name}"),
            counted.cpu_seconds,
            Unit::Seconds,
            "the node's pods, once a minute",
        ));
    }
    let (few, many) = (counted[0].wake_ups, counted[2].wake_ups);
    expect(broken, few.abs_diff(many) <= 5, || {
        format!(
            "in {} s the agent woke {few} times with {FEW} pods, {many} with {MANY}",
            IDLE.as_secs()
        )
    });
    let looks = IDLE.as_secs_f64();
    let row = Row::new(
        "wake-ups, looking every second for 60 s",
        counted[3].wake_ups as f64,
        Unit::Count,
        "nothing",
    );
    rows.push(row.against("a timer of 1 s", looks));
    let cpu = Row::new(
        "CPU, looking every second for 60 s",
        counted[3].cpu_seconds,
        Unit::Seconds,
        "nothing",
    );
    rows.push(cpu.against(format!("idle, {FEW} pods"), counted[0].cpu_seconds));
}

/// Returns the sorted times of all rounds.
fn times(rounds: usize, round: impl FnMut(usize) -> Duration) -> Vec<Duration> {
    let mut times: Vec<Duration> = (0..rounds).map(round).collect();
    times.sort();
    times
}

fn drift(host: &FakeHost, cgroup: &str, right: &str) -> Duration {
    host.set_limit(cgroup, "max");
    host.await_limit(cgroup, right)
}

fn repair(site: &Site, rounds: usize) -> Vec<Duration> {
    let right = RIGHT.to_string();
    times(rounds, |round| drift(&site.host, &site.cgroups[round % site.pods()], &right))
}

fn drifts(site: &Site, agent: &Agent, rows: &mut Vec<Row>) {
    let bare = bare::Repair::start();
    let rounds = if site.pods() == FEW { COUNTED_ROUNDS } else { ROUNDS };
    let baseline = times(rounds, |_| drift(&bare.host, &bare.cgroup, "0"));
    let before = Counted::of(agent);
    let took = repair(site, rounds);
    let cpu = (Counted::of(agent) - before).cpu_seconds / rounds as f64;
    let row = Row::of_times(format!("drift to repair, {} pods", site.pods()), &took, "nothing");
    rows.push(row.against("a thread that does only this", median(&baseline)));
    rows.push(Row::new(
        format!("CPU per drift, {} pods", site.pods()),
        cpu,
        Unit::Seconds,
        "the node's pods",
    ));
}

fn reads_per_drift(site: &Site, agent: &Agent) -> f64 {
    std::thread::sleep(Duration::from_secs(6));
    let before = Counted::of(agent);
    repair(site, COUNTED_ROUNDS);
    (Counted::of(agent) - before).reads as f64 / COUNTED_ROUNDS as f64
}

/// From the appearance of a container's cgroup, with a known pod, to its right limit.
fn starts(site: &Site, rows: &mut Vec<Row>) {
    let Site { host, admin, .. } = site;
    let bare = bare::Repair::start();
    let baseline = times(ROUNDS, |_| drift(&bare.host, &bare.cgroup, "0"));
    let took = times(ROUNDS, |round| {
        let uid = admin.create(real_pod(&format!("new{round}"), round));
        let record = host.path(&format!("/run/wasp-agent/pods/{uid}.json"));
        let asked = Instant::now();
        while !record.exists() {
            assert!(asked.elapsed() < PATIENCE, "{} is not there", record.display());
            std::thread::sleep(Duration::from_micros(200));
        }
        let cgroup = host.container(&uid, &container_id(3 * SOME + round), "main", "max");
        host.await_limit(&cgroup, &RIGHT.to_string())
    });
    let row = Row::of_times("a container's cgroup to its limit, pod known", &took, "nothing");
    rows.push(row.against("a drift's, by a thread that does only this", median(&baseline)));
}

/// Resizes a container in place, back and forth.
fn updates(site: &Site, agent: &Agent, rows: &mut Vec<Row>) {
    let Site { host, server, admin, cgroups, .. } = site;
    let length = real_pod("p0", 0).to_string().len();
    let events = bare::watch(server.admin_kubeconfig());
    let (mut took, mut bare_took, mut bare_cpu) = (Vec::new(), Vec::new(), Vec::new());
    let before = (Counted::of(agent), site.watched_bytes());
    for round in 0..UPDATES {
        let (request, limit) = if round % 2 == 0 { ("200Mi", 2 * RIGHT) } else { ("100Mi", RIGHT) };
        let begun = Instant::now();
        std::thread::scope(|scope| {
            scope.spawn(|| admin.resized("p0", request));
            took.push(host.await_limit(&cgroups[0], &limit.to_string()));
        });
        let (at, cpu) = events.recv_timeout(PATIENCE).unwrap();
        bare_took.push(at.duration_since(begun));
        bare_cpu.push(cpu);
    }
    let after = (Counted::of(agent) - before.0, site.watched_bytes() - before.1);
    took.sort();
    bare_took.sort();
    let each = |sum: f64| sum / UPDATES as f64;
    let (first, last) = (bare_cpu[0], bare_cpu[bare_cpu.len() - 1]);
    let pods = site.pods();
    let row = Row::of_times(format!("pod update to its limit, {pods} pods"), &took, "nothing");
    rows.push(row.against("kube's watch, Pod decoded and dropped", median(&bare_took)));
    let cpu = each(after.0.cpu_seconds);
    let row =
        Row::new(format!("CPU per pod update, {pods} pods"), cpu, Unit::Seconds, "the node's pods");
    rows.push(row.against("kube's watch", (last - first).as_secs_f64() / (UPDATES - 1) as f64));
    let row = Row::new(
        format!("received per pod update, {pods} pods"),
        each(after.1 as f64),
        Unit::Bytes,
        "the pod's length",
    );
    rows.push(row.against("the pod's JSON", length as f64));
}
