//! `wasp-agent suspend`, `resume` and `suspended`: send requests to the running agent.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    time::Duration,
};

use anyhow::{Context, anyhow, bail};

use crate::{
    act::{
        freeze::{self, Thawed},
        offload, systemd,
    },
    config::settings::Settings,
    decide::suspend::Suspensions,
    json_fault::described,
    model::suspend::{Reply, SuspendRequest, Suspended},
    observe::kubelet,
    report::suspend::table,
    roots::Roots,
    state::StateFile,
};

/// A slow disk writes a pod's memory at some megabytes per second.
const PATIENCE: Duration = Duration::from_secs(30 * 60);
const LONGEST_BYTES: u64 = 16 << 20;

pub(crate) fn suspend(roots: &Roots, pod: &str, dry_run: bool, force: bool) -> anyhow::Result<()> {
    let (namespace, pod) = names(pod)?;
    show(ask(roots, &SuspendRequest::Suspend { namespace, pod, dry_run, force })?, false)
}

/// Without a running agent, uses its state file: a pod must not stay suspended because the agent
/// does not start.
pub(crate) fn resume(roots: &Roots, pod: &str) -> anyhow::Result<()> {
    let (namespace, pod) = names(pod)?;
    if is_served(roots) {
        return show(ask(roots, &SuspendRequest::Resume { namespace, pod })?, false);
    }
    match StateFile::<Suspensions>::new(roots).load() {
        Ok(found) => {
            let pods = found.unwrap_or_default();
            let Some(uid) = pods.named(&namespace, &pod).map(|found| found.uid.clone()) else {
                bail!("the agent is not running, and {namespace}/{pod} is not suspended");
            };
            told(roots, freeze::thaw_recorded(roots, pods, |pod| pod.uid == uid))
        }
        // The state file cannot tell which of the frozen cgroups are this pod's.
        Err(_) => wake_left(roots),
    }
}

pub(crate) fn suspended(roots: &Roots, json: bool) -> anyhow::Result<()> {
    if is_served(roots) {
        return show(ask(roots, &SuspendRequest::Suspended)?, json);
    }
    let mut pods = StateFile::<Suspensions>::new(roots).load()?.unwrap_or_default();
    offload::read_again(roots, &mut pods);
    let rows = pods.iter().flat_map(Suspended::rows).collect();
    show(Reply::Done { text: String::new(), rows }, json)
}

/// Returns true if an agent listens on the socket. The caller's request reports other errors of the
/// socket.
pub(crate) fn is_served(roots: &Roots) -> bool {
    let absent = |error: io::Error| {
        matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
    };
    !UnixStream::connect(roots.control_socket()).is_err_and(absent)
}

/// Resumes all pods that an agent has left suspended, and prints them.
pub(crate) fn wake_left(roots: &Roots) -> anyhow::Result<()> {
    let runtime = super::runtime()?;
    // The kubelet's configuration determines the place of the pods' cgroups, not ours.
    let unit = runtime.block_on(kubelet::service(roots));
    let roots = match kubelet::config_of(roots, &Settings::defaults(), unit.as_ref()) {
        Ok(Some(config)) => roots.with_pods(&config.pods_roots()),
        Ok(None) | Err(_) => roots.clone(),
    };
    told(&roots, freeze::thaw_left(&roots))
}

fn told(roots: &Roots, thawed: Thawed) -> anyhow::Result<()> {
    let result = thawed.result().map_err(|error| anyhow!(error));
    for what in &thawed.what {
        super::print(&format!("resumed {what}\n"))?;
    }
    // They run even if this fails in systemd; the next agent sets the limits there.
    let _ = super::runtime()?.block_on(async {
        let _ = freeze::tell_thawed(roots, &thawed.units).await;
        systemd::hold(roots, &thawed.limits).await
    });
    result
}

fn names(pod: &str) -> anyhow::Result<(String, String)> {
    let names = pod.split_once('/').filter(|(namespace, name)| {
        !namespace.is_empty() && !name.is_empty() && !name.contains('/')
    });
    let (namespace, name) = names.with_context(|| format!("{pod:?} is not NAMESPACE/POD"))?;
    Ok((namespace.to_owned(), name.to_owned()))
}

fn ask(roots: &Roots, request: &SuspendRequest) -> anyhow::Result<Reply> {
    let path = roots.control_socket();
    let shown = roots.shown(&path).display().to_string();
    let mut stream = UnixStream::connect(&path).with_context(|| {
        format!("cannot reach the agent at {shown} (is it running? are you root?)")
    })?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut text = serde_json::to_string(request)?;
    text.push('\n');
    // The agent answers a request even if it refuses to read it.
    let written = stream.write_all(text.as_bytes());
    let mut line = String::new();
    BufReader::new(stream.take(LONGEST_BYTES))
        .read_line(&mut line)
        .with_context(|| format!("the agent at {shown} did not answer"))?;
    if line.is_empty() {
        written.with_context(|| format!("cannot write to {shown}"))?;
    }
    serde_json::from_str(&line).map_err(|error| {
        anyhow::anyhow!(
            "the agent at {shown} ended, or sent an answer that cannot be parsed: {}",
            described(&error)
        )
    })
}

fn show(reply: Reply, json: bool) -> anyhow::Result<()> {
    match reply {
        Reply::Refused { text } => bail!(text),
        Reply::Done { rows, .. } if json => super::print(&(serde_json::to_string(&rows)? + "\n")),
        Reply::Done { text, rows } => super::print(&table(&text, &rows)),
    }
}
