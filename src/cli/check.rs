//! `wasp-agent check`: reports the problems of the host, why they matter and how to fix them.

use std::{io::Write, process::ExitCode};

use crate::{
    config::{layers::Resolved, settings::Settings, value::Problems},
    decide::check::{check as decide, exit_status},
    model::{
        check::{Asked, CheckLevel, CheckLine},
        unknown::sentence,
    },
    observe::{
        check::{Scope, gather},
        kubelet,
    },
    provision::Provisioning,
    report::{
        check::{brief as in_brief, human, json as as_json},
        log,
    },
    roots::Roots,
};

const BRIEF: &str = "not with --brief";
const ELSEWHERE: &str = "--root: the check asks no running service";

/// Same as for a failed check.
const EXIT_BROKEN: u8 = 2;

/// `configuration` is the result of loading the configuration on disk; `settings` are the loaded
/// ones, or those in effect if loading failed.
pub(crate) fn check(
    roots: &Roots,
    settings: &Settings,
    configuration: Result<&Resolved, &Problems>,
    json: bool,
    brief: bool,
) -> ExitCode {
    made(roots, settings, configuration, json, brief)
        .unwrap_or_else(|error| super::fail(EXIT_BROKEN, &sentence(error.as_ref())))
}

fn made(
    roots: &Roots,
    settings: &Settings,
    configuration: Result<&Resolved, &Problems>,
    json: bool,
    brief: bool,
) -> anyhow::Result<ExitCode> {
    let asked = match () {
        () if *roots != Roots::host() => Err(ELSEWHERE),
        () if brief => Err(BRIEF),
        () => Ok(()),
    };
    let runtime = super::runtime()?;
    let unit = match asked {
        Ok(()) => runtime.block_on(kubelet::service(roots)),
        Err(_) => None,
    };
    let provisioning = match brief {
        true => Asked::NotAsked(BRIEF),
        false => preview(roots, settings, unit.as_ref()),
    };
    let scope = Scope { bus: asked, api: asked };
    let kubelet = kubelet::config_of(roots, settings, unit.as_ref());
    let facts = gather(roots, settings, configuration, kubelet, provisioning, scope);
    let facts = runtime.block_on(facts);
    let mut lines = decide(&facts, settings, brief);
    if !nix::unistd::geteuid().is_root() {
        lines.iter_mut().for_each(leave_open_if_denied);
    }
    let text = match () {
        () if json => as_json(&lines)?,
        () if brief => in_brief(&lines, log::is_journal(std::io::stdout())),
        () => human(&lines),
    };
    match anstream::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => return Err(error.into()),
        _ => {}
    }
    Ok(ExitCode::from(exit_status(&lines)))
}

/// Without root, a file or a service that may not be used is no fault: the fix would be wrong.
fn leave_open_if_denied(line: &mut CheckLine) {
    const DENIED: [&str; 2] = ["(os error 13)", "(os error 1)"];
    if DENIED.iter().any(|denied| line.found.contains(denied)) {
        line.level = CheckLevel::Skip;
        line.found += "; run `wasp-agent check` as root";
        line.fix.clear();
    }
}

fn preview(
    roots: &Roots,
    settings: &Settings,
    unit: Option<&kubelet::Service>,
) -> Asked<Vec<String>> {
    let provisioning =
        Provisioning { roots, settings, kubelet_unit: unit, dry_run: true, progress: &|_, _| {} };
    match provisioning.preview() {
        Ok(None) => Asked::NotAsked("no swap is configured (overcommit-percent, swap.size)"),
        Ok(Some(plan)) => match plan.kept {
            Some(refusal) => Asked::Failed(refusal.to_string()),
            None => Asked::Answered(plan.steps.iter().map(ToString::to_string).collect()),
        },
        Err(error) => Asked::Failed(error.to_string()),
    }
}
