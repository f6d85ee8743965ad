//! SIGHUP: new settings, or the old ones and a clear word.

use super::Agent;
use crate::{
    act::Actuator,
    config::settings::{Grants, Settings},
    messages,
};

impl<A: Actuator> Agent<A> {
    /// Whether pods must be watched anew.
    pub(super) fn reload(&mut self) -> bool {
        self.notifier.reloading();
        let loaded = crate::observe::settings::load(&self.roots, |name| std::env::var(name).ok());
        let watch_anew = match loaded {
            Ok((settings, _)) => {
                self.problem("reload", None);
                messages::Reloaded.emit(format_args!("configuration reloaded"));
                self.verbosity.set(settings.verbosity);
                let watch_anew = settings.node_name != self.settings.node_name
                    || settings.kubeconfig != self.settings.kubeconfig
                    || settings.eviction.opt_out_annotations
                        != self.settings.eviction.opt_out_annotations;
                self.guards_settings.send_replace(settings.clone());
                self.configured = (settings.grants, settings.grant);
                // Who grants is decided below; where the kubelet's configuration cannot be read, what was
                // in force stays.
                let Settings { grants, grant, .. } = self.settings;
                let grant = if grants == Grants::Kubelet { grant } else { settings.grant };
                self.settings = Settings { grants, grant, ..settings };
                self.eviction.look_now();
                self.check_kubelet();
                self.check_hook();
                self.timers.resync = self.now();
                self.everything_is_dirty();
                watch_anew
            }
            Err(problems) => {
                messages::ReloadRefused.emit(format_args!(
                    "configuration NOT reloaded, the old one stays: {problems}"
                ));
                let text = "the configuration on disk is wrong and was not loaded (see wasp-agent \
                            check-config)";
                self.problem("reload", Some(text.to_owned()));
                false
            }
        };
        self.notifier.ready(self.longest_pause());
        watch_anew
    }
}
