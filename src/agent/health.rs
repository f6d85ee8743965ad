//! Collects the problems: the list that STATUS, `wasp-agent status`, metrics and `wasp-agent check`
//! show.

use crate::model::counted::counted;
use std::{cmp::Reverse, collections::BTreeMap};

use super::{Agent, effects::Effects, timers::StartClock};
use crate::{
    decide::health::{Quiet, of_limits},
    messages,
    model::{
        clock::SinceStart,
        plain::plain,
        trouble::{Problem, Trouble},
    },
    report::status,
};

/// Problems of the host by kind, so that each is logged when it begins and ends.
#[derive(Debug, Default)]
pub(super) struct Health {
    clock: StartClock,
    /// A problem has begun, changed or ended since the last publication.
    news: bool,
    problems: BTreeMap<Trouble, Problem>,
    quiet: BTreeMap<Trouble, Quiet>,
    /// Problems that have begun, and were not logged because there were too many lines.
    withheld: BTreeMap<Trouble, ()>,
}

/// The change of a problem.
#[derive(Debug, PartialEq, Eq)]
enum ProblemChange {
    Same,
    /// To log, with the number of lines withheld before it; `None` if this one is withheld too.
    Began(Option<u64>),
    Over {
        text: String,
        logged: bool,
    },
}

impl Health {
    pub(super) fn new(clock: StartClock) -> Self {
        Self { clock, ..Self::default() }
    }

    /// Returns true if a problem has begun, changed or ended since the last publication.
    pub(super) fn has_news(&self) -> bool {
        self.news
    }

    pub(super) fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }

    /// Records that a problem begins (`Some`) or ends; logs each once.
    pub(super) fn problem(&mut self, about: Trouble, problem: Option<String>) {
        self.problem_is(about, problem.map(|text| Problem::new(about, text)));
    }

    /// As [`Health::problem`], with a specific remedy.
    pub(super) fn problem_is(&mut self, about: Trouble, problem: Option<Problem>) {
        // The text may quote files, systemd and the API server.
        let problem =
            problem.map(|problem| Problem { text: plain(&problem.text).into_owned(), ..problem });
        let now = self.clock.now();
        let about_word = about.word();
        match self.set(about, problem, now) {
            ProblemChange::Same => return,
            ProblemChange::Began(None) | ProblemChange::Over { logged: false, .. } => {}
            ProblemChange::Began(Some(withheld)) => {
                let text = self.problems.get(&about).map_or("", |problem| &problem.text);
                let more = match withheld {
                    0 => String::new(),
                    more => {
                        let times = counted(more, "more time", "more times");
                        format!(" (changed {times} since the last message)")
                    }
                };
                messages::ProblemBegan { problem: &about_word }.emit(format_args!("{text}{more}"));
            }
            ProblemChange::Over { text, logged: true } => {
                messages::ProblemOver { problem: &about_word }
                    .emit(format_args!("resolved: {text}"));
            }
        }
        self.news = true;
    }

    /// Returns the current problems, by their words.
    pub(super) fn current(&self) -> BTreeMap<&'static str, String> {
        self.problems.iter().map(|(about, problem)| (about.word(), problem.text.clone())).collect()
    }

    pub(super) fn has(&self, about: Trouble) -> bool {
        self.problems.contains_key(&about)
    }

    fn set(&mut self, about: Trouble, problem: Option<Problem>, now: SinceStart) -> ProblemChange {
        match problem {
            Some(problem) if self.problems.get(&about) == Some(&problem) => ProblemChange::Same,
            Some(problem) => {
                let same_words = self.problems.get(&about).is_some_and(|p| p.text == problem.text);
                self.problems.insert(about, problem);
                if same_words {
                    return ProblemChange::Same;
                }
                let logged = self.quiet.entry(about).or_default().may_log(now);
                match logged {
                    None => drop(self.withheld.insert(about, ())),
                    Some(_) => drop(self.withheld.remove(&about)),
                }
                ProblemChange::Began(logged)
            }
            None => match self.problems.remove(&about) {
                None => ProblemChange::Same,
                Some(problem) => {
                    let logged = self.withheld.remove(&about).is_none();
                    ProblemChange::Over { text: problem.text, logged }
                }
            },
        }
    }
}

impl<E: Effects> Agent<E> {
    /// Returns all current problems, the worst first.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let mut problems: Vec<Problem> = self.health.problems.values().cloned().collect();
        problems.extend(self.eviction.status.clone());
        problems.extend(self.api.problem(self.now()));
        // Each pod is logged separately.
        problems.extend(self.api.unreadable().map(|text| Problem::new(Trouble::Pods, text)));
        problems.extend(self.limits.problem(self.lookup()));
        problems.extend(of_limits(&self.limits.state, |holder| {
            self.lookup().pod_of(holder).map(|pod| format!("{}/{}", pod.namespace, pod.name))
        }));
        problems.sort_by_key(|problem| (Reverse(problem.about.severity()), problem.about));
        problems
    }

    /// Reports to systemd and publishes the state.
    pub(super) fn report(&mut self) {
        let problems = self.problems();
        if self.health.take_news() {
            self.publisher.mark_stale();
        }
        let line = status::line(&status::StatusFacts {
            protected: &self.protection.protected,
            settings: &self.settings,
            node: self.node,
            state: &self.limits.state,
            pods: self.pods.len(),
            problems: &problems,
        });
        self.timers.status = self.notifier.status(&line, self.now());
        self.publish(&line, &problems);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_problem_is_logged_when_it_comes_and_goes_and_not_each_time_it_flaps() {
        let mut health = Health::default();
        let at = |second| SinceStart(Duration::from_secs(second));
        let problem = |text: &str| Some(Problem::new(Trouble::Records, text));
        let text = "x".to_owned();
        assert_eq!(
            health.set(Trouble::Records, problem("x"), at(0)),
            ProblemChange::Began(Some(0))
        );
        assert_eq!(health.set(Trouble::Records, problem("x"), at(1)), ProblemChange::Same);
        let over = ProblemChange::Over { text: text.clone(), logged: true };
        assert_eq!(health.set(Trouble::Records, None, at(1)), over);
        for second in 2..7 {
            assert_eq!(
                health.set(Trouble::Records, problem("x"), at(second)),
                ProblemChange::Began(Some(0))
            );
            health.set(Trouble::Records, None, at(second));
        }
        assert_eq!(health.set(Trouble::Records, problem("x"), at(8)), ProblemChange::Began(None));
        let over = ProblemChange::Over { text, logged: false };
        assert_eq!(health.set(Trouble::Records, None, at(8)), over);
        // Another problem is not withheld because of it.
        let other = Some(Problem::new(Trouble::Swap, "y"));
        assert_eq!(health.set(Trouble::Swap, other, at(8)), ProblemChange::Began(Some(0)));
        assert_eq!(
            health.set(Trouble::Records, problem("x"), at(61)),
            ProblemChange::Began(Some(1))
        );
    }
}
