//! SIGHUP: applies new settings, or keeps the old ones and reports the error.

use super::{Agent, effects::Effects};
use crate::{
    config::{
        settings::{Grants, Settings},
        value::Problems,
    },
    decide::{
        check::{not_read, without_wrong_lines},
        remedy::RELOAD,
        wish,
    },
    messages,
    model::{
        system::System,
        trouble::{Problem, Trouble},
    },
    observe::{check::agent::differs, system::system},
};

/// Describes a configuration on disk that the agent cannot load.
fn invalid(system: &System, problems: &Problems) -> Problem {
    let first = problems.0.first().map(ToString::to_string).unwrap_or_default();
    let more = match problems.0.len() {
        0 | 1 => String::new(),
        count => format!(" and {} more", count - 1),
    };
    let text = format!(
        "the configuration on disk is invalid, and the agent did not load it: {first}{more} (see \
         wasp-agent check-config)"
    );
    Problem::new(Trouble::Reload, text).with_remedy(without_wrong_lines(system, problems))
}

impl<E: Effects> Agent<E> {
    /// Reports a configuration on disk that is invalid, or that no reload has loaded.
    pub(super) fn check_settings(&mut self) {
        let loaded = crate::observe::settings::load(&self.roots, |name| std::env::var(name).ok());
        let problem = match loaded {
            Err(problems) => Some(invalid(&self.system, &problems)),
            Ok((_, on_disk)) => {
                let differs = differs(&self.roots, &on_disk);
                let shown = differs
                    .iter()
                    .map(|(key, disk, force)| format!("{key}: {disk} on disk, {force} in effect"));
                let remedy = vec![RELOAD.to_owned()];
                (!differs.is_empty()).then(|| {
                    Problem::new(Trouble::Reload, shown.collect::<Vec<_>>().join("; "))
                        .with_remedy(remedy)
                })
            }
        };
        self.health.problem_is(Trouble::Reload, problem);
    }

    /// Saves the settings in effect, for commands that find a wrong configuration on disk, and for
    /// `wasp-agent check`.
    pub(super) fn keep_in_force(&mut self, text: &str) {
        let path = self.roots.settings_in_force();
        let failed = self.effects.replace_file(&path, text, 0o600).err();
        // Without it, those commands use only the disk. /run has its own problem report.
        if let Some(error) = failed {
            tracing::debug!("cannot write {}: {error}", path.display());
        }
    }

    /// Reports files beside the configuration that the agent does not read.
    pub(super) fn look_for_unread(&mut self) {
        let found = not_read(&self.system, &crate::observe::settings::not_read(&self.roots));
        let problem =
            found.map(|(text, fix)| Problem::new(Trouble::NotRead, text).with_remedy(fix));
        self.health.problem_is(Trouble::NotRead, problem);
    }

    /// Returns true if the watch of pods must start over.
    pub(super) fn reload(&mut self) -> bool {
        self.notifier.reloading();
        self.system = system(&self.roots);
        self.look_for_unread();
        let loaded = crate::observe::settings::load(&self.roots, |name| std::env::var(name).ok());
        let watch_anew = match loaded {
            Ok((settings, resolved)) => {
                let settings = self.effects.admitted(settings);
                self.keep_in_force(&crate::config::show::effective(&resolved));
                self.health.problem(Trouble::Reload, None);
                messages::Reloaded.emit(format_args!("configuration reloaded"));
                self.verbosity.set(settings.verbosity);
                let watch_anew = settings.node_name != self.settings.node_name
                    || settings.kubeconfig != self.settings.kubeconfig
                    || settings.eviction.opt_out_annotations
                        != self.settings.eviction.opt_out_annotations;
                self.guards_settings.send_replace(settings.clone());
                self.granting.configured = (settings.grants, settings.grant.clone());
                // The granting program is decided below; if the kubelet's configuration cannot be
                // read, it stays the same.
                let wishes = self.settings.grant_rules().wishes.clone();
                let grants = self.settings.grants;
                let grant = match grants {
                    Grants::Kubelet => self.settings.grant.clone(),
                    Grants::Agent | Grants::Auto => settings.grant.clone(),
                };
                self.settings = Settings { grants, grant, ..settings };
                self.eviction.withdraw();
                self.eviction.look_now();
                self.granting.kubelet.forget();
                self.ask_for_kubelet();
                self.reclaim.look_now();
                self.check_kubelet();
                for pod in self.pods.values() {
                    self.report_wishes(pod, &wish::problems(&wishes, pod));
                }
                self.check_hook();
                self.timers.resync = self.now();
                self.everything_is_dirty();
                watch_anew
            }
            Err(problems) => {
                messages::ReloadRefused.emit(format_args!(
                    "configuration NOT reloaded, the previous one stays in effect: {problems}"
                ));
                self.health.problem_is(Trouble::Reload, Some(invalid(&self.system, &problems)));
                false
            }
        };
        self.notifier.ready(self.longest_pause());
        watch_anew
    }
}
