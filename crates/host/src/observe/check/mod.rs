//! Gathers the facts for `wasp-agent check`, each once.

pub mod agent;
pub mod api;
pub mod bus;
mod hook;
mod kernel;
pub mod swap;

use crate::{
    config::{layers::Resolved, settings::Settings, value::Problems},
    decide::check::without_wrong_lines,
    model::{
        check::{Asked, HostFacts, Instead, Wrong},
        kubelet::KubeletConfig,
        unknown::Unknown,
    },
    observe::{
        crio, guests, hooks, kubelet::KubeletError, node, obstacles, published::in_force, records,
        rivals, settings::origins, system::system, zoneinfo,
    },
    roots::Roots,
    state,
};

/// The programs to query in addition to the host's files, and the reasons for leaving out others.
#[derive(Clone, Copy, Debug)]
pub struct Scope {
    pub bus: Result<(), &'static str>,
    pub api: Result<(), &'static str>,
}

/// Gathers all facts within `scope`. `configuration` is the result of loading the configuration on
/// disk, `kubelet` the kubelet's configuration, `provisioning` the steps that `wasp-agent
/// provision` would take.
pub async fn gather(
    roots: &Roots,
    settings: &Settings,
    configuration: Result<&Resolved, &Problems>,
    kubelet: Result<Option<KubeletConfig>, KubeletError>,
    provisioning: Asked<Vec<String>>,
    scope: Scope,
) -> HostFacts {
    let roots = &match &kubelet {
        Ok(Some(config)) => roots.with_pods(&config.pods_roots()),
        Ok(None) | Err(_) => roots.clone(),
    };
    let node = node::memory(roots).map_err(Unknown::of);
    let page_bytes = node.as_ref().map_or(4096, |node| node.page_bytes);
    let api = match scope.api {
        Ok(()) => Asked::Answered(api::facts(roots, settings, configuration.ok()).await),
        Err(why) => Asked::NotAsked(why),
    };
    let minor = match &api {
        Asked::Answered(api) => api.kubelet_minor,
        Asked::NotAsked(_) | Asked::Failed(_) => None,
    };
    let kubelet = kubelet.map(|config| config.map(|config| config.of_version(minor)));
    let (system, agent) = (system(roots), agent::facts(roots, configuration.ok()));
    let instead = match in_force(roots) {
        None => Instead::Defaults,
        Some(_) if agent.running => Instead::InForce,
        Some(_) => Instead::LastInForce,
    };
    let runtime = crio::runtime(roots);
    HostFacts {
        live: roots.proc("meminfo").exists(),
        agent,
        available_bytes: node::available_bytes(roots),
        unreadable_state: state::unreadable(roots),
        obstacles: obstacles::obstacles(roots),
        configuration: configuration.map(|_| ()).map_err(|problems| Wrong {
            text: problems.to_string(),
            remedy: without_wrong_lines(&system, problems),
            instead,
        }),
        origins: origins(roots),
        kernel: kernel::facts(roots, settings),
        swap: swap::facts(roots, &settings.swap, provisioning),
        kubelet_remedy: kubelet
            .as_ref()
            .err()
            .map(|error| error.remedy(&system))
            .unwrap_or_default(),
        kubelet: kubelet.map_err(Unknown::of),
        watermarks: zoneinfo::watermarks(roots, page_bytes).map_err(Unknown::of),
        runtime_remedy: runtime
            .as_ref()
            .err()
            .map(|error| error.remedy(&system))
            .unwrap_or_default(),
        runtime: runtime.map_err(Unknown::of),
        crio: crio::drop_ins(roots),
        default_runtime: crio::default_runtime(roots).map_err(Unknown::of),
        hook: hook::facts(roots),
        rivals: rivals::rivals(roots),
        guests: guests::guests(roots, &records::pods(roots)),
        openshift_virtualization: rivals::openshift_virtualization(roots),
        leftovers: hooks::leftovers(roots, &settings.swap.path),
        bus: match scope.bus {
            Ok(()) => bus::facts(roots).await,
            Err(why) => Asked::NotAsked(why),
        },
        api,
        node,
        system,
    }
}
