//! Authorizes requests: administrators may do everything, nodes what the Node authorizer grants
//! (<https://kubernetes.io/docs/reference/access-authn-authz/node/>, with
//! AuthorizeNodeWithSelectors, KEP-4601), all authenticated users what the default RBAC bindings
//! grant.

use serde_json::{Value, json};

use crate::auth::User;
use crate::json::text;
use crate::request::{RequestInfo, unserved};
use crate::selector::FieldSelector;
use crate::status::{ApiError, ApiResult, Subject};
use crate::store::{Inner, Key};

/// The attributes of a request or of an access review.
#[derive(Debug)]
pub struct Attributes<'a> {
    pub verb: &'a str,
    pub group: &'a str,
    pub resource: &'a str,
    pub subresource: &'a str,
    pub namespace: &'a str,
    pub name: &'a str,
    pub fields: &'a FieldSelector,
}

impl<'a> From<&'a RequestInfo> for Attributes<'a> {
    fn from(info: &'a RequestInfo) -> Self {
        Self {
            verb: info.verb,
            group: info.resource.group,
            resource: info.resource.plural,
            subresource: &info.subresource,
            namespace: &info.namespace,
            name: &info.name,
            fields: &info.fields,
        }
    }
}

/// Allowed, or denied with the authorizer's reason (often empty).
type Decision = Result<(), String>;

fn deny(reason: impl Into<String>) -> Decision {
    Err(reason.into())
}

pub fn decide(user: &User, ask: &Attributes<'_>, store: &Inner) -> Decision {
    if user.is_master() {
        return Ok(());
    }
    // system:basic-user
    if ask.group == "authorization.k8s.io"
        && ask.resource == "selfsubjectaccessreviews"
        && ask.verb == "create"
    {
        return Ok(());
    }
    match user.node() {
        Some(node) => node_decides(node, ask, store),
        None => deny(""),
    }
}

fn node_decides(node: &str, ask: &Attributes<'_>, store: &Inner) -> Decision {
    match (ask.group, ask.resource, ask.subresource, ask.verb) {
        ("", "nodes", "", "create" | "update" | "patch") => Ok(()),
        ("", "nodes", "", "get" | "list" | "watch") => match ask.name {
            name if name == node => Ok(()),
            "" => deny(format!("node '{node}' cannot read all nodes, only its own Node object")),
            name => deny(format!("node '{node}' cannot read '{name}', only its own Node object")),
        },
        ("", "nodes" | "pods", "status", "update" | "patch")
        | ("", "pods", "", "create" | "delete")
        | ("", "pods", "eviction", "create")
        // Before 1.35, without those of events.k8s.io.
        | ("", "events", "", "create" | "update" | "patch") => Ok(()),
        ("", "pods", "", "get") => related(node, ask, store),
        ("", "pods", "", "list" | "watch") => {
            if ask.fields.exact("spec.nodeName") == Some(node) {
                Ok(())
            } else if ask.name.is_empty() {
                deny("can only list/watch pods with spec.nodeName field selector")
            } else {
                related(node, ask, store)
            }
        }
        _ => deny(""),
    }
}

/// The authorizer's graph: requires an existing pod that is bound to the node.
fn related(node: &str, ask: &Attributes<'_>, store: &Inner) -> Decision {
    let pod = store.get(&Key::new("pods", ask.namespace, ask.name));
    match pod {
        Some(pod) if text(pod, "/spec/nodeName") == node => Ok(()),
        _ => deny(format!("no relationship found between node '{node}' and this object")),
    }
}

fn message(user: &User, ask: &Attributes<'_>) -> String {
    let slash = if ask.subresource.is_empty() { "" } else { "/" };
    let resource = format!("{}{slash}{}", ask.resource, ask.subresource);
    let place = if ask.namespace.is_empty() {
        "at the cluster scope".to_owned()
    } else {
        format!("in the namespace {:?}", ask.namespace)
    };
    format!(
        "User {:?} cannot {} resource {resource:?} in API group {:?} {place}",
        user.name, ask.verb, ask.group
    )
}

pub fn authorize(user: &User, info: &RequestInfo, store: &Inner) -> ApiResult<()> {
    let ask = Attributes::from(info);
    decide(user, &ask, store).map_err(|reason| {
        let mut why = message(user, &ask);
        if !reason.is_empty() {
            why = format!("{why}: {reason}");
        }
        ApiError::forbidden(&info.subject(), &why)
    })
}

/// Only an administrator learns that a resource is not served.
pub fn authorize_unserved(user: &User, verb: &str, path: &str) -> ApiResult<()> {
    let Some(asked) = unserved(verb, path).filter(|_| !user.is_master()) else { return Ok(()) };
    let ask = Attributes {
        verb: asked.verb,
        group: asked.group,
        resource: asked.resource,
        subresource: asked.subresource,
        namespace: asked.namespace,
        name: asked.name,
        fields: &FieldSelector::default(),
    };
    let subject = Subject { group: asked.group, resource: asked.resource, name: asked.name };
    Err(ApiError::forbidden(&subject, &message(user, &ask)))
}

/// Paths that are not resources: all authenticated users may read discovery and health.
pub fn authorize_path(user: &User, verb: &str, path: &str) -> ApiResult<()> {
    const OPEN: [&str; 6] = ["/api", "/apis", "/version", "/healthz", "/livez", "/readyz"];
    let open = OPEN
        .iter()
        .any(|p| path == *p || path.strip_prefix(p).is_some_and(|rest| rest.starts_with('/')));
    if user.is_master() || (verb == "get" && open) {
        return Ok(());
    }
    let why = format!("User {:?} cannot {verb} path {path:?}", user.name);
    Err(ApiError::forbidden(&Subject { group: "", resource: "", name: "" }, &why))
}

/// Answers a SelfSubjectAccessReview.
pub fn review(user: &User, mut review: Value, store: &Inner) -> ApiResult<Value> {
    let spec = &review["spec"];
    let decision = if spec["resourceAttributes"].is_object() {
        let a = &spec["resourceAttributes"];
        let mut fields = FieldSelector::parse(text(a, "/fieldSelector/rawSelector"))?;
        for r in crate::json::list(a, "/fieldSelector/requirements") {
            if r["operator"] == "In" && crate::json::list(r, "/values").len() == 1 {
                fields.push_exact(text(r, "/key"), text(r, "/values/0"));
            }
        }
        let ask = Attributes {
            verb: text(a, "/verb"),
            group: text(a, "/group"),
            resource: text(a, "/resource"),
            subresource: text(a, "/subresource"),
            namespace: text(a, "/namespace"),
            name: text(a, "/name"),
            fields: &fields,
        };
        decide(user, &ask, store)
    } else if spec["nonResourceAttributes"].is_object() {
        let a = &spec["nonResourceAttributes"];
        authorize_path(user, text(a, "/verb"), text(a, "/path")).map_err(|_| String::new())
    } else {
        return Err(ApiError::invalid(
            "authorization.k8s.io",
            "",
            "",
            "spec.resourceAttributes",
            "Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must \
             be specified",
        ));
    };
    review["status"] = json!({"allowed": decision.is_ok()});
    if let Err(reason) = decision
        && !reason.is_empty()
    {
        review["status"]["reason"] = json!(reason);
    }
    Ok(review)
}
