//! All that `wasp-agent check` goes by, gathered once.

pub mod api;
pub mod bus;
mod hook;
mod kernel;
mod swap;

use crate::{
    act::records::Records,
    config::settings::Settings,
    model::{
        check::{Asked, Facts, Leftovers},
        kubelet::KubeletConfig,
    },
    observe::{crio, guests, hooks, node, rivals, zoneinfo},
    roots::Roots,
};

/// Who is asked beside the host's files, and why not.
#[derive(Clone, Copy, Debug)]
pub struct Scope {
    pub bus: Result<(), &'static str>,
    pub api: Result<(), &'static str>,
}

/// Gathers everything within `scope`. `configuration` is what became of loading `settings`,
/// `kubelet` what its configuration is, `provisioning` what `wasp-agent provision` would do.
pub async fn gather(
    roots: &Roots,
    settings: &Settings,
    configuration: Result<(), String>,
    kubelet: Result<Option<KubeletConfig>, String>,
    provisioning: Asked<Vec<String>>,
    scope: Scope,
) -> Facts {
    let roots = &match &kubelet {
        Ok(Some(config)) => roots.with_pods(&config.pods_roots()),
        Ok(None) | Err(_) => roots.clone(),
    };
    let node = node::memory(roots).map_err(|error| error.to_string());
    let page_bytes = node.as_ref().map_or(4096, |node| node.page_bytes);
    Facts {
        live: roots.proc("meminfo").exists(),
        configuration,
        kernel: kernel::facts(roots, settings),
        swap: swap::facts(roots, provisioning),
        kubelet,
        watermarks: zoneinfo::watermarks(roots, page_bytes).map_err(|error| error.to_string()),
        runtime: crio::runtime(roots),
        default_runtime: crio::default_runtime(roots),
        hook: hook::facts(roots),
        rivals: rivals::rivals(roots),
        guests: guests::guests(roots, &Records::new(roots).load()),
        openshift_virtualization: rivals::openshift_virtualization(roots),
        leftovers: Leftovers { hooks: hooks::rival_files(roots), units: hooks::rival_units(roots) },
        bus: match scope.bus {
            Ok(()) => bus::facts(roots).await,
            Err(why) => Asked::NotAsked(why),
        },
        api: match scope.api {
            Ok(()) => Asked::Answered(api::facts(roots, settings).await),
            Err(why) => Asked::NotAsked(why),
        },
        node,
    }
}
