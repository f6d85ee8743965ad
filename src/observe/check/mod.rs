//! All that `wasp-agent check` goes by, gathered once.

pub mod api;
pub mod bus;
mod hook;
mod kernel;
mod swap;

use crate::{
    config::settings::Settings,
    model::check::{Asked, Facts, Leftovers},
    observe::{crio, hooks, kubelet, node, zoneinfo},
    roots::Roots,
};

/// Who is asked beside the host's files, and why not.
#[derive(Clone, Copy, Debug)]
pub struct Scope {
    pub bus: Result<(), &'static str>,
    pub api: Result<(), &'static str>,
}

/// Gathers everything within `scope`. `configuration` is what became of loading `settings`,
/// `provisioning` what `wasp-agent provision` would do.
pub async fn gather(
    roots: &Roots,
    settings: &Settings,
    configuration: Result<(), String>,
    provisioning: Asked<Vec<String>>,
    scope: Scope,
) -> Facts {
    let node = node::memory(roots).map_err(|error| error.to_string());
    let page_bytes = node.as_ref().map_or(4096, |node| node.page_bytes);
    Facts {
        live: roots.proc("meminfo").exists(),
        configuration,
        kernel: kernel::facts(roots, settings),
        swap: swap::facts(roots, provisioning),
        kubelet: kubelet::config(roots, settings),
        watermarks: zoneinfo::watermarks(roots, page_bytes).map_err(|error| error.to_string()),
        runtime: crio::runtime(roots),
        default_runtime: crio::default_runtime(roots),
        hook: hook::facts(roots),
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
