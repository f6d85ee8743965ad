//! Finds problems with limits, and limits how often the journal gets a problem.

use crate::model::counted::counted;
use std::time::Duration;

use super::state::{LimitState, LimitStates, ToldLimit};
use crate::model::{
    clock::SinceStart,
    host::Holder,
    trouble::{Problem, Trouble},
};

/// The number of pods that a problem names.
const NAMED: usize = 3;

/// The kind of limits that a problem counts.
#[derive(Clone, Copy, PartialEq)]
enum LimitOwner {
    All,
    Containers,
    Pods,
}

/// A kind of problem with limits: the limits that it counts, a predicate, and its name in singular
/// and plural.
type LimitProblem = (Trouble, LimitOwner, fn(&LimitState) -> bool, [&'static str; 2]);

const KINDS: [LimitProblem; 5] = [
    (
        Trouble::Untold,
        LimitOwner::All,
        |limit| matches!(limit.told, ToldLimit::Failed { .. }),
        [
            "limit that systemd does not have and a daemon-reload would undo",
            "limits that systemd does not have and a daemon-reload would undo",
        ],
    ),
    (
        Trouble::Contended,
        LimitOwner::All,
        |limit| limit.contended,
        ["limit that another writer keeps changing", "limits that another writer keeps changing"],
    ),
    (
        Trouble::Differs,
        LimitOwner::All,
        |limit| limit.differs,
        ["limit that differs from LimitedSwap", "limits that differ from LimitedSwap"],
    ),
    (
        Trouble::Above,
        LimitOwner::Containers,
        |limit| limit.above,
        ["container still above its grant", "containers still above their grant"],
    ),
    (
        Trouble::PodsAbove,
        LimitOwner::Pods,
        |limit| limit.above,
        [
            "pod that still holds more swap than the grants of its containers",
            "pods that still hold more swap than the grants of their containers",
        ],
    ),
];

/// Returns the problems of limits. `name` returns `namespace/name` of a holder's pod, if known.
pub fn of_limits(state: &LimitStates, name: impl Fn(&Holder) -> Option<String>) -> Vec<Problem> {
    let containers = state.containers().map(|(id, limit)| (Holder::Container(id.clone()), limit));
    let pods = state.pods().map(|(uid, limit)| (Holder::Pod(uid.clone()), limit));
    let all: Vec<(Holder, &LimitState)> = containers.chain(pods).collect();
    let mut problems = Vec::new();
    for (about, of, has, [one, many]) in KINDS {
        let counts = |holder: &Holder| match of {
            LimitOwner::All => true,
            LimitOwner::Containers => holder.container().is_some(),
            LimitOwner::Pods => holder.pod().is_some(),
        };
        let found = all.iter().filter(|(holder, limit)| counts(holder) && has(limit));
        let found: Vec<&Holder> = found.map(|(holder, _)| holder).collect();
        if found.is_empty() {
            continue;
        }
        let mut names: Vec<String> = found.iter().filter_map(|holder| name(holder)).collect();
        names.sort();
        names.dedup();
        let text = counted(found.len(), one, many) + &named(&names);
        problems.push(Problem { pods: names, ..Problem::new(about, text) });
    }
    problems
}

/// Formats the first few names, in brackets.
pub fn named(names: &[String]) -> String {
    let shown = names[..names.len().min(NAMED)].join(", ");
    match names.len().saturating_sub(NAMED) {
        _ if names.is_empty() => String::new(),
        0 => format!(" ({shown})"),
        more => format!(" ({shown} and {more} more)"),
    }
}

/// The number of lines that a problem may write to the journal in [`WINDOW`].
const LINES: u32 = 6;
const WINDOW: Duration = Duration::from_secs(60);

/// Keeps a problem that comes and goes, or changes its text, from flooding the journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quiet {
    since: Option<SinceStart>,
    lines: u32,
    withheld: u64,
}

impl Quiet {
    /// Returns the number of lines withheld before this one; `None` if this one is withheld too.
    pub fn may_log(&mut self, now: SinceStart) -> Option<u64> {
        if self.since.is_none_or(|since| now.since(since) >= WINDOW) {
            (self.since, self.lines) = (Some(now), 0);
        }
        if self.lines >= LINES {
            self.withheld += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.withheld))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trouble_that_changes_all_the_time_has_few_lines_and_is_counted() {
        let mut quiet = Quiet::default();
        let at = |second| SinceStart(Duration::from_secs(second));
        let logged: Vec<u64> = (0..60).filter_map(|second| quiet.may_log(at(second))).collect();
        assert_eq!(logged, [0; 6]);
        assert_eq!(quiet.may_log(at(60)), Some(54));
        assert_eq!(quiet.may_log(at(61)), Some(0));
    }

    #[test]
    fn few_pods_are_named() {
        let names = |count: usize| (0..count).map(|n| format!("a/{n}")).collect::<Vec<_>>();
        assert_eq!(named(&names(0)), "");
        assert_eq!(named(&names(3)), " (a/0, a/1, a/2)");
        assert_eq!(named(&names(5)), " (a/0, a/1, a/2 and 2 more)");
    }
}
