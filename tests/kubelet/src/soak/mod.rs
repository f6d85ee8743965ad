//! A soak test of any length: pods come and go, limits are overwritten, and services that the agent
//! needs fail and return. It checks every limit continuously, and the agent's resources from time
//! to time.

mod churn;
mod ledger;
mod sample;
mod trouble;

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use fastrand::Rng;
use serde_json::{Value, json};

use crate::api::Api;
use crate::node::Node;
use ledger::Ledger;
use sample::Sample;

const LOOK: Duration = Duration::from_millis(200);
const SAMPLE: Duration = Duration::from_secs(15);
/// Number of containers of a large wave, which lasts at most a minute.
const WAVE: usize = 2000;
/// Each period ends with a quiet part, in which nothing swaps, so that reclaim works.
const PERIOD: Duration = Duration::from_secs(360);
const QUIET: Duration = Duration::from_secs(150);

#[derive(Args)]
pub(crate) struct Soak {
    #[arg(long)]
    minutes: u32,
    /// Seed of all random choices
    #[arg(long)]
    seed: u64,
}

/// Evicted pods that are not gone yet, and their total number.
#[derive(Debug, Default)]
struct Evicted {
    leaving: BTreeMap<String, Instant>,
    count: u64,
}

struct Driver {
    rng: Rng,
    started: Instant,
    api: Api,
    kubeconfig: PathBuf,
    node: Node,
    swap_bytes: u64,
    ledger: Arc<Ledger>,
    evicted: Arc<Mutex<Evicted>>,
    pods: BTreeMap<String, churn::Live>,
    numbers: u64,
    quiet: bool,
    kills: u64,
    counts: BTreeMap<&'static str, u64>,
    samples: Vec<Sample>,
    sampled: Instant,
    rates: Vec<u64>,
}

pub(crate) fn meminfo(name: &str) -> Result<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let kib: u64 =
        line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).context("meminfo")?;
    Ok(kib * 1024)
}

pub(crate) fn run(soak: &Soak, kubeconfig: PathBuf) -> Result<()> {
    let mut driver = Driver {
        rng: Rng::with_seed(soak.seed),
        started: Instant::now(),
        api: Api::from_kubeconfig(&kubeconfig)?,
        node: Node::read()?,
        swap_bytes: meminfo("SwapTotal")?,
        ledger: Arc::default(),
        evicted: Arc::default(),
        pods: BTreeMap::new(),
        numbers: 0,
        quiet: false,
        kills: 0,
        counts: BTreeMap::new(),
        samples: Vec::new(),
        sampled: Instant::now(),
        rates: Vec::new(),
        kubeconfig,
    };
    println!("# seed {}, {} minutes", soak.seed, soak.minutes);
    driver.ledger.set_calm(true);
    let stop = Arc::new(AtomicBool::new(false));
    let lookers = driver.start_lookers(&stop)?;
    let done = driver.drive(Duration::from_secs(u64::from(soak.minutes) * 60));
    let done = done.and_then(|baseline| driver.calm_down(&baseline));
    stop.store(true, Ordering::Relaxed);
    for looker in lookers {
        looker.join().map_err(|_| anyhow::anyhow!("a thread has panicked"))?;
    }
    driver.conclude(soak, done)
}

impl Driver {
    /// Checks limits and evictions, in separate threads.
    fn start_lookers(&self, stop: &Arc<AtomicBool>) -> Result<Vec<thread::JoinHandle<()>>> {
        let (ledger, stopped) = (self.ledger.clone(), stop.clone());
        let limits = move || {
            while !stopped.load(Ordering::Relaxed) {
                ledger.look();
                thread::sleep(LOOK);
            }
        };
        let (ledger, stopped, evicted) = (self.ledger.clone(), stop.clone(), self.evicted.clone());
        let api = Api::from_kubeconfig(&self.kubeconfig)?;
        let evictions = move || {
            while !stopped.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_secs(2));
                // The API server may be unreachable.
                if let Ok(list) = api.get("/api/v1/pods") {
                    note_evictions(&list, &evicted, &ledger);
                }
            }
        };
        Ok(vec![thread::spawn(limits), thread::spawn(evictions)])
    }

    /// Acts at random until the time is over; returns the agent's resources without pods.
    fn drive(&mut self, time: Duration) -> Result<Sample> {
        // Kill agents early: the last one has to live long to show a leak.
        let mut plan = VecDeque::from([
            (0.02, Plan::Kill),
            (0.05, Plan::KillDuringOutage),
            (0.1, Plan::Baseline),
            (0.15, Plan::Wave),
            (0.6, Plan::Wave),
        ]);
        let mut baseline = Sample::new();
        self.start_cold()?;
        while self.started.elapsed() < time {
            self.turn_quiet()?;
            let share = self.started.elapsed().as_secs_f64() / time.as_secs_f64();
            let due = !self.quiet && plan.front().is_some_and(|(at, _)| *at <= share);
            if due && let Some((_, next)) = plan.pop_front() {
                match next {
                    Plan::Kill => self.kill_agent()?,
                    Plan::KillDuringOutage => self.api_outage(true)?,
                    Plan::Baseline => baseline = self.baseline()?,
                    Plan::Wave => self.wave(WAVE)?,
                }
            }
            self.step()?;
            self.stop_evicted()?;
            self.sample_if_due()?;
        }
        Ok(baseline)
    }

    fn baseline(&mut self) -> Result<Sample> {
        self.stop_pods()?;
        thread::sleep(Duration::from_secs(5));
        let baseline = sample::take()?;
        println!("# without pods {baseline:?}");
        self.start_cold()?;
        Ok(baseline)
    }

    fn turn_quiet(&mut self) -> Result<()> {
        let second = self.started.elapsed().as_secs() % PERIOD.as_secs();
        let quiet = second >= (PERIOD - QUIET).as_secs();
        if quiet && !self.quiet {
            self.stop_hogs()?;
            self.start_cold()?;
            self.count("quiet times");
        }
        self.quiet = quiet;
        Ok(())
    }

    fn step(&mut self) -> Result<()> {
        match self.rng.u32(0..1000) {
            0..700 if self.quiet => {
                thread::sleep(Duration::from_millis(self.rng.u64(0..2000)));
                Ok(())
            }
            700..800 if self.quiet => self.set_property(),
            800..900 if self.quiet => self.scrape(),
            _ if self.quiet => self.drift(),
            _ if self.pods.len() < 5 => self.start_pod(),
            0..150 if self.pods.len() < 11 => self.start_pod(),
            150..240 => self.stop_one(),
            240..330 => self.restart_one(),
            330..350 => self.start_hog(),
            350..355 => self.api_outage(false),
            355..365 => self.reload_agent(),
            365..368 => self.restart_bus(),
            368..380 => self.reload_systemd(),
            380..410 => self.scrape(),
            410..430 => {
                let containers = self.rng.usize(10..100);
                self.wave(containers)
            }
            430..480 => self.set_property(),
            480..900 => self.drift(),
            _ => {
                thread::sleep(Duration::from_millis(self.rng.u64(0..2000)));
                Ok(())
            }
        }
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    fn sample_if_due(&mut self) -> Result<()> {
        if self.sampled.elapsed() < SAMPLE {
            return Ok(());
        }
        self.sampled = Instant::now();
        let sample = sample::take()?;
        let state = sample::property("ActiveState")?;
        if state != "active" {
            self.ledger.violation(format!("the agent is {state}"));
        }
        let (violations, above, _) = self.ledger.result();
        println!(
            "# {:>5} s: {} pods, {} scopes, RSS {} KiB ({} anonymous), {} fds, {} watches, {} matches, {} drop-ins, swap {} MiB, longest above a grant {:.1?}, {} violations",
            self.started.elapsed().as_secs(),
            self.pods.len(),
            sample["scopes"],
            sample["rss_kib"],
            sample["rss_anon_kib"],
            sample["fds"],
            sample["inotify_watches"],
            sample["bus_matches"],
            sample["drop_ins"],
            sample["node_swap_used_kib"] / 1024,
            above,
            violations.len(),
        );
        self.samples.push(sample);
        Ok(())
    }

    /// Ends the faults: every limit becomes right, and without pods the agent holds no resources.
    fn calm_down(&mut self, baseline: &Sample) -> Result<()> {
        self.stop_hogs()?;
        self.await_all("every limit right", |driver| match driver.ledger.first_wrong() {
            Some(wrong) => bail!("{wrong}"),
            None => driver.in_systemd(),
        })?;
        self.await_all("STATUS true", |driver| {
            let status = sample::property("StatusText")?;
            let wanted = format!("of {0} containers in {0} pods ", driver.pods.len());
            if !status.contains(&wanted) {
                bail!("STATUS {status:?}, wanted {wanted:?}");
            }
            Ok(())
        })?;
        self.stop_pods()?;
        self.await_all("nothing held", |_| {
            let back = sample::is_back(&sample::take()?, baseline);
            back.map_err(|more| anyhow::anyhow!("{more}; cgroups {:?}", sample::cgroups_of_pods()))
        })?;
        let restarts = sample::property("NRestarts")?;
        if restarts != self.kills.to_string() {
            self.ledger
                .violation(format!("{restarts} restarts of the agent, {} kills", self.kills));
        }
        println!("# at the end {:?}", sample::take()?);
        Ok(())
    }

    /// Waits for `is`; more than two minutes is a violation.
    fn await_all(&mut self, what: &str, is: impl Fn(&Self) -> Result<()>) -> Result<()> {
        let start = Instant::now();
        while let Err(wrong) = is(self) {
            self.stop_evicted()?;
            if start.elapsed() > Duration::from_secs(120) {
                self.ledger.violation(format!("not {what} after 120 s: {wrong:#}"));
                return Ok(());
            }
            thread::sleep(Duration::from_millis(500));
        }
        println!("# {what} after {:.1?}", start.elapsed());
        Ok(())
    }

    fn conclude(mut self, soak: &Soak, done: Result<()>) -> Result<()> {
        if let Err(error) = &done {
            self.ledger.violation(format!("the soak ends early: {error:#}"));
        }
        let last = self.samples.last().map_or(0, |sample| sample["pid"]);
        let samples = self.samples.clone();
        self.samples.retain(|sample| sample["pid"] == last);
        println!("# the last agent, {} samples:", self.samples.len());
        let (table, grown) = sample::compare(&self.samples);
        grown.into_iter().for_each(|text| self.ledger.violation(text));
        let evicted = self.evicted.lock().unwrap_or_else(PoisonError::into_inner).count;
        let (violations, above, looks) = self.ledger.result();
        println!("# done: {:?}", self.counts);
        println!("# containers a minute in great waves: {:?}", self.rates);
        println!(
            "# {looks} looks at every limit; longest above a grant while all was well: {above:.1?}"
        );
        println!(
            "# {evicted} evictions; pages swapped in {}, out {}",
            sample::pages("pswpin"),
            sample::pages("pswpout")
        );
        let report = json!({
            "seed": soak.seed, "minutes": soak.minutes, "done": self.counts, "evictions": evicted,
            "wave_containers_per_minute": self.rates, "looks": looks,
            "longest_above_seconds": above.as_secs_f64(), "violations": violations,
            "last_agent": table, "samples": samples,
        });
        println!("# json: {report}");
        if violations.is_empty() {
            Ok(())
        } else {
            bail!("{} violations: {violations:#?}", violations.len())
        }
    }
}

enum Plan {
    Kill,
    KillDuringOutage,
    Baseline,
    Wave,
}

/// Records pods that end without the test's action. They were evicted, because the test deletes its
/// pods immediately.
fn note_evictions(list: &Value, evicted: &Mutex<Evicted>, ledger: &Ledger) {
    let mut evicted = evicted.lock().unwrap_or_else(PoisonError::into_inner);
    let mut leaving = BTreeMap::new();
    for pod in list["items"].as_array().into_iter().flatten() {
        let meta = &pod["metadata"];
        if meta["deletionTimestamp"].is_null() {
            continue;
        }
        let name = meta["name"].as_str().unwrap_or_default().to_owned();
        let since = evicted.leaving.get(&name).copied();
        if since.is_none() {
            println!("# {name} is evicted");
            evicted.count += 1;
            if meta["namespace"] != "default" || name.starts_with("critical") {
                ledger.violation(format!("{name} is protected, and evicted"));
            }
        }
        leaving.insert(name, since.unwrap_or_else(Instant::now));
    }
    if leaving.len() > 1 {
        ledger.violation(format!("several evictions at the same time: {:?}", leaving.keys()));
    }
    evicted.leaving = leaving;
}

impl Driver {
    /// Evicted pods take a while to end; a container that the kernel has killed ends its pod.
    fn stop_evicted(&mut self) -> Result<()> {
        let patience = Duration::from_secs(8);
        let evicted = self.evicted.lock().unwrap_or_else(PoisonError::into_inner);
        let due = evicted.leaving.iter().filter(|(_, since)| since.elapsed() > patience);
        let due: Vec<String> = due.map(|(name, _)| name.clone()).collect();
        drop(evicted);
        while let Some(name) = self.any(|live| live.scopes().any(|(scope, _)| !scope.exists())) {
            println!("# {name} has died");
            self.stop_pod(&name)?;
            self.count("pods that died");
        }
        for name in due {
            if self.pods.contains_key(&name) {
                self.stop_pod(&name)?;
                self.count("evicted pods stopped");
            }
        }
        Ok(())
    }

    fn in_systemd(&self) -> Result<()> {
        for (scope, grant) in self.pods.values().flat_map(churn::Live::scopes) {
            let unit = scope.file_name().unwrap_or_default().to_string_lossy();
            let told = sample::limit_in_systemd(&unit).map(|limit| limit / 4096 * 4096);
            if told != Some(grant / 4096 * 4096) {
                bail!("systemd has {told:?} for {unit}, not {grant}");
            }
        }
        Ok(())
    }

    fn grant(&self, request: u64) -> u64 {
        // The kubelet's arithmetic: double precision, truncated.
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "as the kubelet does"
        )]
        let grant =
            (request as f64 / self.node.memory_bytes as f64 * self.swap_bytes as f64) as u64;
        grant
    }
}
