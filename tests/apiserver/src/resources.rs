//! The served resources, and the discovery documents about them.

use serde_json::{Value, json};

/// One row of the API.
#[derive(Debug)]
pub struct Resource {
    pub group: &'static str,
    pub version: &'static str,
    pub plural: &'static str,
    pub singular: &'static str,
    pub kind: &'static str,
    pub namespaced: bool,
    pub subresources: &'static [(&'static str, &'static str)],
    pub short: &'static [&'static str],
}

const V1: Resource = Resource {
    group: "",
    version: "v1",
    plural: "",
    singular: "",
    kind: "",
    namespaced: true,
    subresources: &[],
    short: &[],
};

pub static RESOURCES: &[Resource] = &[
    Resource {
        plural: "pods",
        singular: "pod",
        kind: "Pod",
        subresources: &[("eviction", "Eviction"), ("resize", "Pod"), ("status", "Pod")],
        short: &["po"],
        ..V1
    },
    Resource {
        plural: "nodes",
        singular: "node",
        kind: "Node",
        namespaced: false,
        subresources: &[("status", "Node")],
        short: &["no"],
        ..V1
    },
    Resource {
        plural: "namespaces",
        singular: "namespace",
        kind: "Namespace",
        namespaced: false,
        subresources: &[("status", "Namespace")],
        short: &["ns"],
        ..V1
    },
    Resource { plural: "events", singular: "event", kind: "Event", short: &["ev"], ..V1 },
    Resource {
        group: "events.k8s.io",
        plural: "events",
        singular: "event",
        kind: "Event",
        short: &["ev"],
        ..V1
    },
    Resource {
        group: "policy",
        plural: "poddisruptionbudgets",
        singular: "poddisruptionbudget",
        kind: "PodDisruptionBudget",
        subresources: &[("status", "PodDisruptionBudget")],
        short: &["pdb"],
        ..V1
    },
    Resource {
        group: "scheduling.k8s.io",
        plural: "priorityclasses",
        singular: "priorityclass",
        kind: "PriorityClass",
        namespaced: false,
        short: &["pc"],
        ..V1
    },
    Resource {
        group: "authorization.k8s.io",
        plural: "selfsubjectaccessreviews",
        singular: "selfsubjectaccessreview",
        kind: "SelfSubjectAccessReview",
        namespaced: false,
        ..V1
    },
];

impl Resource {
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// Only answered, never stored.
    pub fn is_review(&self) -> bool {
        self.plural == "selfsubjectaccessreviews"
    }

    pub fn has_subresource(&self, name: &str) -> bool {
        self.subresources.iter().any(|(sub, _)| *sub == name)
    }

    /// Returns the path of a collection, or of one object if `name` is given.
    pub fn path(&self, namespace: &str, name: &str) -> String {
        let mut path = if self.group.is_empty() {
            "/api/v1".to_owned()
        } else {
            format!("/apis/{}", self.api_version())
        };
        if self.namespaced && !namespace.is_empty() {
            path = format!("{path}/namespaces/{namespace}");
        }
        path = format!("{path}/{}", self.plural);
        if name.is_empty() { path } else { format!("{path}/{name}") }
    }
}

pub fn lookup(group: &str, version: &str, plural: &str) -> Option<&'static Resource> {
    RESOURCES.iter().find(|r| r.group == group && r.version == version && r.plural == plural)
}

/// Finds the resource of an object by its apiVersion and kind.
pub fn of_object(object: &Value) -> Option<&'static Resource> {
    let (api_version, kind) = (object["apiVersion"].as_str()?, object["kind"].as_str()?);
    RESOURCES.iter().find(|r| r.kind == kind && r.api_version() == api_version)
}

/// Finds a resource by any name that kubectl accepts: "pods", "pod", "po".
pub fn by_any_name(name: &str) -> Option<&'static Resource> {
    let name = name.to_lowercase();
    RESOURCES
        .iter()
        .find(|r| r.plural == name || r.singular == name || r.short.contains(&name.as_str()))
}

/// Discovery documents with the content that clients need.
pub fn discovery(path: &str) -> Option<Value> {
    let groups = || {
        let mut names: Vec<&Resource> = RESOURCES.iter().filter(|r| !r.group.is_empty()).collect();
        names.dedup_by_key(|r| r.group);
        names
    };
    let group = |r: &Resource| {
        let version = json!({"groupVersion": r.api_version(), "version": r.version});
        json!({"name": r.group, "versions": [version], "preferredVersion": version})
    };
    match path.trim_matches('/').split('/').collect::<Vec<_>>()[..] {
        ["api"] => Some(json!({
            "kind": "APIVersions", "versions": ["v1"],
            "serverAddressByClientCIDRs": [],
        })),
        ["apis"] => Some(json!({
            "kind": "APIGroupList", "apiVersion": "v1",
            "groups": groups().into_iter().map(group).collect::<Vec<_>>(),
        })),
        ["api", version] => resource_list("", version),
        ["apis", name] => groups().into_iter().find(|r| r.group == name).map(|r| {
            let mut doc = group(r);
            doc["kind"] = json!("APIGroup");
            doc["apiVersion"] = json!("v1");
            doc
        }),
        ["apis", name, version] => resource_list(name, version),
        _ => None,
    }
}

/// True for a path below a served group and version.
pub fn serves_group_version_of(path: &str) -> bool {
    let (group, version) = match path.trim_matches('/').split('/').collect::<Vec<_>>()[..] {
        ["api", version, _, ..] => ("", version),
        ["apis", group, version, _, ..] => (group, version),
        _ => return false,
    };
    RESOURCES.iter().any(|r| r.group == group && r.version == version)
}

fn resource_list(group: &str, version: &str) -> Option<Value> {
    const VERBS: &[&str] = &["create", "delete", "get", "list", "patch", "update", "watch"];
    let mut list = Vec::new();
    for r in RESOURCES.iter().filter(|r| r.group == group && r.version == version) {
        let verbs = if r.is_review() { &["create"] } else { VERBS };
        list.push(json!({
            "name": r.plural, "singularName": r.singular, "namespaced": r.namespaced,
            "kind": r.kind, "verbs": verbs, "shortNames": r.short,
        }));
        for (sub, kind) in r.subresources {
            let mut entry = json!({
                "name": format!("{}/{sub}", r.plural), "singularName": "",
                "namespaced": r.namespaced, "kind": kind, "verbs": ["get", "patch", "update"],
            });
            if *sub == "eviction" {
                entry["verbs"] = json!(["create"]);
                entry["group"] = json!("policy");
                entry["version"] = json!("v1");
            }
            list.push(entry);
        }
    }
    let group_version =
        if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    (!list.is_empty()).then(|| {
        json!({"kind": "APIResourceList", "apiVersion": "v1",
               "groupVersion": group_version, "resources": list})
    })
}
