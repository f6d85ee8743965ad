//! Checks that a host is fit for memory overcommit, one small function each.

mod agent;
mod api;
mod kernel;
mod kubelet;
mod limits;
mod runtime;
mod swap;
mod table;
#[cfg(test)]
mod tests;

pub use agent::{aside, not_read, without_wrong_lines};
pub use api::{EXPIRES_SOON, node_name_remedy, renew};
pub use kernel::swap_control_remedy;
pub use table::CHECKS;

use crate::{
    config::settings::Settings,
    model::{
        check::{Asked, CheckLevel, CheckLine, HostFacts},
        trouble::{Problem, Severity, Trouble},
    },
};

/// A check: its texts for the manual, and its function.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    pub id: &'static str,
    pub looks_at: &'static str,
    pub why: &'static str,
    /// The fix as the manual shows it; an output line has this host's names and figures.
    pub fix: &'static str,
    pub when: When,
    run: fn(&HostFacts, &Settings) -> CheckOutcome,
}

/// The runs in which a check is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Also with `--brief`.
    Always,
    /// Also with `--brief`, on a running kernel.
    Live,
    /// Not with `--brief`: it takes time, or the agent makes the same check when it starts.
    Full,
    /// As `Full`, on a running kernel.
    FullLive,
}

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
struct CheckOutcome {
    level: CheckLevel,
    found: String,
    fix: Vec<String>,
}

impl CheckOutcome {
    fn with(self, fix: Vec<String>) -> Self {
        Self { fix, ..self }
    }
}

fn ok(found: impl Into<String>) -> CheckOutcome {
    CheckOutcome { level: CheckLevel::Ok, found: found.into(), fix: Vec::new() }
}

fn skip(why: impl Into<String>) -> CheckOutcome {
    CheckOutcome { level: CheckLevel::Skip, found: why.into(), fix: Vec::new() }
}

fn warn<const N: usize>(found: impl Into<String>, fix: [&str; N]) -> CheckOutcome {
    let fix = fix.map(str::to_owned).into();
    CheckOutcome { level: CheckLevel::Warn, found: found.into(), fix }
}

fn fail<const N: usize>(found: impl Into<String>, fix: [&str; N]) -> CheckOutcome {
    CheckOutcome { level: CheckLevel::Fail, ..warn(found, fix) }
}

/// Returns the outcome of a check that finds a problem of the agent.
fn outcome(problem: Option<Problem>, well: impl Into<String>) -> CheckOutcome {
    match problem {
        None => ok(well),
        Some(Problem { about, text, remedy, .. }) => match about.severity() {
            Severity::Fail => fail(text, []).with(remedy),
            _ => warn(text, []).with(remedy),
        },
    }
}

/// Returns the answer, or an outcome that skips the check. Another check reports the failure
/// itself.
fn answered<T>(asked: &Asked<T>) -> Result<&T, CheckOutcome> {
    match asked {
        Asked::Answered(answer) => Ok(answer),
        Asked::NotAsked(why) => Err(skip(*why)),
        Asked::Failed(_) => Err(skip("no answer")),
    }
}

/// Runs the checks; with `brief` only those of `--brief`. The failures come first, then the
/// warnings, each in the order in which the agent reports the problems.
pub fn check(facts: &HostFacts, settings: &Settings, brief: bool) -> Vec<CheckLine> {
    let wanted = CHECKS.iter().filter(|check| !brief || check.in_brief());
    let mut lines: Vec<CheckLine> = wanted
        .map(|check| {
            let CheckOutcome { level, found, fix } = if check.needs_a_kernel() && !facts.live {
                skip("this directory is an image: it has no running kernel")
            } else {
                (check.run)(facts, settings)
            };
            CheckLine { id: check.id, level, found, why: check.why, fix }
        })
        .collect();
    lines.sort_by_cached_key(|line| match line.level {
        CheckLevel::Fail => (0, rank(line.id, facts, settings)),
        CheckLevel::Warn => (1, rank(line.id, facts, settings)),
        CheckLevel::Ok => (2, 0),
        CheckLevel::Skip => (3, 0),
    });
    lines
}

/// Returns the place of a check among those with the same level. A check without a problem of the
/// agent comes last, except the one of the agent's unit: if that fails, the agent reports nothing.
fn rank(id: &str, facts: &HostFacts, settings: &Settings) -> usize {
    let place = |kind: &Trouble| Trouble::ALL.iter().position(|trouble| trouble == kind);
    let kind = match id {
        "agent-service" => return 0,
        "agent-problems" => agent::worst(facts, settings),
        _ => Trouble::ALL.iter().find(|trouble| trouble.checks().contains(&id)).copied(),
    };
    kind.as_ref().and_then(place).map_or(usize::MAX, |place| place + 1)
}

impl Check {
    pub fn in_brief(&self) -> bool {
        matches!(self.when, When::Always | When::Live)
    }

    pub fn needs_a_kernel(&self) -> bool {
        matches!(self.when, When::Live | When::FullLive)
    }
}

/// Returns 0, or 1 if a line is a warning, or 2 if a line is a failure.
pub fn exit_status(lines: &[CheckLine]) -> u8 {
    match lines.iter().map(|line| line.level).max() {
        Some(CheckLevel::Fail) => 2,
        Some(CheckLevel::Warn) => 1,
        _ => 0,
    }
}
