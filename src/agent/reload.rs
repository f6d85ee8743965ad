//! SIGHUP: new settings, or the old ones and a clear word.

use super::Agent;
use crate::{act::Actuator, config::settings::Settings, messages, model::trouble::Trouble};

impl<A: Actuator> Agent<A> {
    /// Whether pods must be watched anew.
    pub(super) fn reload(&mut self) -> bool {
        self.notifier.reloading();
        let loaded = crate::observe::settings::load(&self.roots, |name| std::env::var(name).ok());
        let watch_anew = match loaded {
            Ok((settings, _)) => {
                self.problem(Trouble::Reload, None);
                tracing::info!(message_id = messages::RELOADED.id, "configuration reloaded");
                self.verbosity.set(settings.verbosity);
                let watch_anew = settings.node_name != self.settings.node_name
                    || settings.kubeconfig != self.settings.kubeconfig
                    || settings.eviction.opt_out_annotations
                        != self.settings.eviction.opt_out_annotations;
                self.guards_settings.send_replace(settings.clone());
                self.grants = settings.grants;
                // Who grants is decided below; where the kubelet's configuration cannot be read, what was
                // in force stays.
                let in_force = self.settings.grants;
                self.settings = Settings { grants: in_force, ..settings };
                self.eviction.look_now();
                self.check_kubelet();
                self.check_hook();
                self.timers.resync = self.now();
                self.everything_is_dirty();
                watch_anew
            }
            Err(problems) => {
                tracing::error!(
                    message_id = messages::RELOAD_REFUSED.id,
                    "configuration NOT reloaded, the old one stays: {problems}"
                );
                let text = "the configuration on disk is wrong and was not loaded (see wasp-agent \
                            check-config)";
                self.problem(Trouble::Reload, Some(text.to_owned()));
                false
            }
        };
        self.notifier.ready(self.longest_pause());
        watch_anew
    }
}
