//! Checks of the kubelet's credentials and of their permissions.

use std::time::Duration;

use super::{CheckOutcome, answered, fail, ok, skip, warn};
use crate::{
    config::{
        settings::{EvictionMode, SchedulingGuard, Settings},
        value::SettingOrigin,
    },
    decide::remedy::set,
    model::check::{ApiFacts, CheckLevel, CredentialFacts, HostFacts, Permission},
};

/// The kubelet renews its certificate at 70 to 90 % of its lifetime. If it has not done so this
/// long before expiry, renewal has failed.
pub const EXPIRES_SOON: Duration = Duration::from_secs(3600);

/// The taint that the DaemonSet sets on a node that it evicts from.
const TAINT: &str = "waspEvictionTaint";

pub(super) fn kubeconfig(facts: &HostFacts, _: &Settings) -> CheckOutcome {
    match answered(&facts.api) {
        Err(outcome) => outcome,
        Ok(ApiFacts { credentials: Ok(c), .. }) => match &c.certificate_name {
            Some(name) if *name != c.node_name => fail(
                format!("node.name = {:?}, but the certificate is for node {name}", c.node_name),
                [],
            )
            .with(node_name_remedy(name, c.name_origin.as_ref())),
            _ => ok(format!("{} for {}, of {}", c.kubeconfig.display(), c.node_name, c.server)),
        },
        Ok(ApiFacts { credentials: Err(error), remedy, .. }) => {
            fail(error.clone(), []).with(remedy.clone())
        }
    }
}

/// Returns the API facts with valid credentials, or the outcome that explains why there are none.
fn with_credentials(facts: &HostFacts) -> Result<(&ApiFacts, &CredentialFacts), CheckOutcome> {
    let api = answered(&facts.api)?;
    match &api.credentials {
        Ok(credentials) => Ok((api, credentials)),
        Err(_) => Err(skip("no credentials")),
    }
}

pub(super) fn certificate(facts: &HostFacts, _: &Settings) -> CheckOutcome {
    let credentials = match with_credentials(facts) {
        Ok((_, credentials)) => credentials,
        Err(outcome) => return outcome,
    };
    if credentials.certificate_begins.is_some_and(|begins| credentials.now < begins) {
        return fail(
            "not yet valid: this node's clock is wrong",
            ["chronyc makestep", "systemctl restart kubelet"],
        );
    }
    let Some(expires) = credentials.certificate_expires else {
        return ok("no client certificate, so nothing expires");
    };
    match expires.duration_since(credentials.now) {
        Err(since) => fail(format!("expired {} ago", span(since.duration())), [])
            .with(renew(&credentials.node_name)),
        Ok(left) if left < EXPIRES_SOON => {
            warn(format!("expires in {}", span(left)), []).with(renew(&credentials.node_name))
        }
        Ok(left) => ok(format!("valid for another {}", span(left))),
    }
}

/// Returns the steps that renew the certificate. They name only this node's requests: approving every
/// pending request would give an identity to any requester.
pub fn renew(node_name: &str) -> Vec<String> {
    vec![
        format!(
            "# with cluster-admin: oc get csr | grep 'system:node:{node_name}.*Pending', then approve \
             that one: oc adm certificate approve NAME"
        ),
        "systemctl restart kubelet".to_owned(),
    ]
}

/// Returns the commands that set `node.name`, or remove it, where it takes effect: `origin` is where
/// the present value is set.
pub fn node_name_remedy(name: &str, origin: Option<&SettingOrigin>) -> Vec<String> {
    let origins = origin.map(|origin| ("node.name", origin.clone())).into_iter().collect();
    set(&origins, "node-name", &[("node.name", &format!("{name:?}"))])
}

/// Formats a duration in the largest unit of which it has at least two.
fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    let (number, unit) = match seconds {
        172_800.. => (seconds / 86_400, "days"),
        7_200.. => (seconds / 3600, "h"),
        120.. => (seconds / 60, "min"),
        _ => (seconds, "s"),
    };
    format!("{number} {unit}")
}

pub(super) fn server(facts: &HostFacts, settings: &Settings) -> CheckOutcome {
    let (api, credentials) = match with_credentials(facts) {
        Ok(with) => with,
        Err(outcome) => return outcome,
    };
    let failed = api.permissions.values().find_map(|answer| answer.as_ref().err());
    let url = &credentials.server;
    if failed.is_some() && certificate(facts, settings).level == CheckLevel::Fail {
        return skip("the certificate is not valid (certificate)");
    }
    match failed {
        Some(error) if api.permissions.values().all(Result::is_err) => fail(
            format!("{url}: {error}"),
            [&*format!("curl --insecure {url}livez"), "journalctl -u kubelet -b -p warning -n 20"],
        ),
        Some(error) => {
            warn(format!("{url} does not answer every request: {error}"), ["wasp-agent check"])
        }
        None => ok(format!("{url} answers")),
    }
}

/// The check that reports that all permissions are missing.
const FIRST: &str = "may-list-pods";

/// Without this permission the agent knows no pods.
pub(super) fn list_pods(facts: &HostFacts, _: &Settings) -> CheckOutcome {
    permission(facts, FIRST, fail)
}

pub(super) fn watch_pods(facts: &HostFacts, _: &Settings) -> CheckOutcome {
    permission(facts, "may-watch-pods", fail)
}

pub(super) fn evict_pods(facts: &HostFacts, settings: &Settings) -> CheckOutcome {
    match settings.eviction.mode {
        EvictionMode::Off => skip("eviction.mode = \"off\""),
        EvictionMode::Observe => permission(facts, "may-evict-pods", warn),
        EvictionMode::Enforce => permission(facts, "may-evict-pods", fail),
    }
}

pub(super) fn delete_pods(facts: &HostFacts, settings: &Settings) -> CheckOutcome {
    match settings.eviction.last_resort {
        None => skip("eviction.last-resort-delete = false"),
        Some(_) => permission(facts, "may-delete-pods", warn),
    }
}

pub(super) fn get_node(facts: &HostFacts, settings: &Settings) -> CheckOutcome {
    of_the_guard(facts, settings, "may-get-node")
}

pub(super) fn patch_node_status(facts: &HostFacts, settings: &Settings) -> CheckOutcome {
    of_the_guard(facts, settings, "may-patch-node-status")
}

fn of_the_guard(facts: &HostFacts, settings: &Settings, id: &str) -> CheckOutcome {
    match settings.eviction.guard {
        SchedulingGuard::None => skip("eviction.scheduling-guard = \"none\""),
        _ => permission(facts, id, warn),
    }
}

/// The node's own credentials set the cordon; other credentials set the taint.
pub(super) fn patch_node(facts: &HostFacts, settings: &Settings) -> CheckOutcome {
    match settings.eviction.guard {
        SchedulingGuard::Cordon => permission(facts, "may-patch-node", warn),
        SchedulingGuard::Taint => guard(facts),
        SchedulingGuard::None | SchedulingGuard::Condition => {
            skip("eviction.scheduling-guard neither \"cordon\" nor \"taint\"")
        }
    }
}

fn guard(facts: &HostFacts) -> CheckOutcome {
    let api = match with_credentials(facts) {
        Ok((api, _)) => api,
        Err(outcome) => return outcome,
    };
    let fix = ["# eviction.guard-kubeconfig must belong to a user who may get and patch this node"];
    match &api.guard {
        Some(Ok(Permission::Allowed)) => ok("allowed, by eviction.guard-kubeconfig"),
        Some(Ok(Permission::Denied(why))) => {
            warn(format!("the user of eviction.guard-kubeconfig may not do it: {why}"), fix)
        }
        Some(Err(error)) => warn(format!("eviction.guard-kubeconfig: {error}"), fix),
        None => skip("not asked"),
    }
}

pub(super) fn create_events(facts: &HostFacts, _: &Settings) -> CheckOutcome {
    permission(facts, "may-create-events", warn)
}

fn permission(
    facts: &HostFacts,
    id: &str,
    denied: fn(String, [&str; 2]) -> CheckOutcome,
) -> CheckOutcome {
    let (api, credentials) = match with_credentials(facts) {
        Ok(with) => with,
        Err(outcome) => return outcome,
    };
    if credentials.certificate_name.as_ref().is_some_and(|name| *name != credentials.node_name) {
        return skip("the node's name is wrong (kubeconfig)");
    }
    let is_denied = |answer: &Result<Permission, _>| matches!(answer, Ok(Permission::Denied(_)));
    let none_allowed = api.permissions.len() > 1 && api.permissions.values().all(is_denied);
    if id != FIRST && none_allowed {
        return skip(format!("denied, like all that the agent asks for ({FIRST})"));
    }
    match api.permissions.get(id) {
        Some(Ok(Permission::Allowed)) => ok("allowed"),
        Some(Ok(Permission::Denied(why))) => {
            let why = if why.is_empty() { "no rule allows it" } else { why };
            let what = if none_allowed { "do nothing that the agent needs" } else { "not do it" };
            denied(
                format!("system:node:{} may {what}: {why}", credentials.node_name),
                [
                    "# run the API server with --authorization-mode=Node,RBAC and --enable-admission-plugins=NodeRestriction,",
                    "# and give the node a certificate with O=system:nodes",
                ],
            )
        }
        Some(Err(error)) => skip(error.clone()),
        None => skip("not asked"),
    }
}

pub(super) fn daemonset_taint(facts: &HostFacts, settings: &Settings) -> CheckOutcome {
    if settings.eviction.guard == SchedulingGuard::Taint && settings.eviction.taint == TAINT {
        return skip("the agent's own taint has the same key (eviction.taint)");
    }
    let (api, credentials) = match with_credentials(facts) {
        Ok(with) => with,
        Err(outcome) => return outcome,
    };
    match &api.taints {
        Ok(taints) if taints.iter().any(|key| key == TAINT) => warn(
            format!("{TAINT} on {}: the scheduler places no pod on it", credentials.node_name),
            [&format!("oc adm taint node {} {TAINT}-", credentials.node_name)],
        ),
        Ok(_) => ok("none"),
        Err(error) => skip(error.clone()),
    }
}
