//! `wasp-agent suspend`, `resume` and `suspended`: ask the agent that runs.

use std::{
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    time::Duration,
};

use anyhow::{Context, bail};

use crate::{
    model::suspend::{Reply, Request},
    report::suspend::table,
    roots::Roots,
};

/// A slow disk takes a pod's memory at some megabytes a second.
const PATIENCE: Duration = Duration::from_secs(30 * 60);
const LONGEST_BYTES: u64 = 16 << 20;

pub fn suspend(roots: &Roots, pod: &str, dry_run: bool, force: bool) -> anyhow::Result<()> {
    let (namespace, pod) = names(pod)?;
    show(ask(roots, &Request::Suspend { namespace, pod, dry_run, force })?, false)
}

pub fn resume(roots: &Roots, pod: &str) -> anyhow::Result<()> {
    let (namespace, pod) = names(pod)?;
    show(ask(roots, &Request::Resume { namespace, pod })?, false)
}

pub fn suspended(roots: &Roots, json: bool) -> anyhow::Result<()> {
    show(ask(roots, &Request::Suspended)?, json)
}

fn names(pod: &str) -> anyhow::Result<(String, String)> {
    let names = pod.split_once('/').filter(|(namespace, name)| {
        !namespace.is_empty() && !name.is_empty() && !name.contains('/')
    });
    let (namespace, name) = names.with_context(|| format!("{pod:?} is not NAMESPACE/POD"))?;
    Ok((namespace.to_owned(), name.to_owned()))
}

fn ask(roots: &Roots, request: &Request) -> anyhow::Result<Reply> {
    let path = roots.control_socket();
    let shown = roots.shown(&path).display().to_string();
    let mut stream = UnixStream::connect(&path).with_context(|| {
        format!("cannot reach the agent at {shown} (is it running? are you root?)")
    })?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut text = serde_json::to_string(request)?;
    text.push('\n');
    stream.write_all(text.as_bytes()).with_context(|| format!("cannot write to {shown}"))?;
    let mut line = String::new();
    BufReader::new(stream.take(LONGEST_BYTES))
        .read_line(&mut line)
        .with_context(|| format!("the agent at {shown} did not answer"))?;
    serde_json::from_str(&line)
        .with_context(|| format!("the agent at {shown} ended, or its answer was not understood"))
}

fn show(reply: Reply, json: bool) -> anyhow::Result<()> {
    match reply {
        Reply::Refused { text } => bail!(text),
        Reply::Done { rows, .. } if json => super::print(&(serde_json::to_string(&rows)? + "\n")),
        Reply::Done { text, rows } => super::print(&table(&text, &rows)),
    }
}
