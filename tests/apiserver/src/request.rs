//! Parses a request's attributes from its method, path and query (apiserver,
//! pkg/endpoints/request/requestinfo.go has the rules).

use hyper::Method;
use percent_encoding::percent_decode_str;

use crate::decoding::Directive;
use crate::resources::{Resource, lookup};
use crate::selector::{FieldSelector, LabelSelector};
use crate::status::{ApiError, ApiResult};

/// Query parameters, decoded.
#[derive(Debug, Clone, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    pub fn parse(raw: &str) -> Self {
        let decode =
            |s: &str| percent_decode_str(&s.replace('+', " ")).decode_utf8_lossy().into_owned();
        Self(
            raw.split('&')
                .filter(|pair| !pair.is_empty())
                .map(|pair| {
                    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (decode(key), decode(value))
                })
                .collect(),
        )
    }

    pub fn get(&self, key: &str) -> &str {
        self.0.iter().find(|(k, _)| k == key).map_or("", |(_, v)| v.as_str())
    }

    pub fn pairs(&self) -> &[(String, String)] {
        &self.0
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// True for `1`, `true` and a bare key, as in Go's conversion.
    pub fn flag(&self, key: &str) -> Option<bool> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, v)| !matches!(v.as_str(), "0" | "false"))
    }

    pub fn number(&self, key: &str) -> ApiResult<Option<u64>> {
        match self.get(key) {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| {
                let invalid =
                    |parser: &str| format!("strconv.{parser}: parsing {text:?}: invalid syntax");
                ApiError::bad_request(if key == "resourceVersion" {
                    let why = invalid("ParseUint");
                    format!("invalid resource version: {key}: Invalid value: {text:?}: {why}")
                } else {
                    invalid("ParseInt")
                })
            }),
        }
    }

    pub fn all(&self, key: &str) -> Vec<&str> {
        self.0.iter().filter(|(k, _)| k == key).map(|(_, v)| v.as_str()).collect()
    }

    pub fn dry_run(&self) -> bool {
        self.0.iter().any(|(k, v)| k == "dryRun" && v == "All")
    }
}

/// A request for a resource.
#[derive(Debug, Clone)]
pub struct RequestInfo {
    pub resource: &'static Resource,
    pub namespace: String,
    /// From the path; for list and watch from a `metadata.name=` selector.
    pub name: String,
    pub subresource: String,
    pub verb: &'static str,
    pub query: Query,
    pub labels: LabelSelector,
    pub fields: FieldSelector,
    pub directive: Directive,
}

/// The target of a path.
#[derive(Debug)]
pub enum Target {
    Resource(Box<RequestInfo>),
    NonResource,
}

pub fn parse(method: &Method, path: &str, query: Query, strict: bool) -> ApiResult<Target> {
    let parts: Vec<String> = path
        .split('/')
        .filter(|p| !p.is_empty())
        .map(|p| percent_decode_str(p).decode_utf8_lossy().into_owned())
        .collect();
    let mut parts = parts.iter().map(String::as_str);
    let (group, version) = match parts.next() {
        Some("api") => ("", parts.next()),
        Some("apis") => (parts.next().unwrap_or_default(), parts.next()),
        _ => return Ok(Target::NonResource),
    };
    let rest: Vec<&str> = parts.collect();
    let (Some(version), false) = (version, rest.is_empty()) else { return Ok(Target::NonResource) };
    let (namespace, rest) = match rest[..] {
        ["namespaces", namespace, ref rest @ ..]
            if rest.first().is_some_and(|r| !matches!(*r, "status" | "finalize")) =>
        {
            (namespace, rest.to_vec())
        }
        _ => ("", rest),
    };
    let (plural, name, subresource) = match rest[..] {
        [plural] => (plural, "", ""),
        [plural, name] => (plural, name, ""),
        [plural, name, sub] => (plural, name, sub),
        _ => return Ok(Target::NonResource),
    };
    let Some(resource) = lookup(group, version, plural) else { return Ok(Target::NonResource) };
    if !(subresource.is_empty() || resource.has_subresource(subresource))
        || (!resource.namespaced && !namespace.is_empty())
        || (resource.namespaced && namespace.is_empty() && !name.is_empty())
    {
        return Ok(Target::NonResource);
    }
    let labels = LabelSelector::parse(query.get("labelSelector"))?;
    let fields = FieldSelector::parse(query.get("fieldSelector"))?;
    let mut name = name.to_owned();
    let verb = match *method {
        Method::GET | Method::HEAD if name.is_empty() => {
            name = fields.exact("metadata.name").unwrap_or_default().to_owned();
            if query.flag("watch") == Some(true) { "watch" } else { "list" }
        }
        Method::GET | Method::HEAD => "get",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE if name.is_empty() => "deletecollection",
        Method::DELETE => "delete",
        _ => return Err(ApiError::method_not_allowed()),
    };
    let namespace = if plural == "namespaces" { name.clone() } else { namespace.to_owned() };
    let directive = Directive::of(&query, strict)?;
    Ok(Target::Resource(Box::new(RequestInfo {
        resource,
        namespace,
        name,
        subresource: subresource.to_owned(),
        verb,
        query,
        labels,
        fields,
        directive,
    })))
}

/// A path in the form of a resource's, although none is served there.
#[derive(Debug, PartialEq, Eq)]
pub struct Unserved<'a> {
    pub verb: &'static str,
    pub group: &'a str,
    pub resource: &'a str,
    pub subresource: &'a str,
    pub namespace: &'a str,
    pub name: &'a str,
}

pub fn unserved<'a>(verb: &str, path: &'a str) -> Option<Unserved<'a>> {
    let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
    let (group, rest) = match parts[..] {
        ["api", _, ref rest @ ..] => ("", rest),
        ["apis", group, _, ref rest @ ..] => (group, rest),
        _ => return None,
    };
    let (namespace, rest) = match *rest {
        ["namespaces", namespace, _, ..] => (namespace, &rest[2..]),
        _ => ("", rest),
    };
    let (resource, name, subresource) = match *rest {
        [resource] => (resource, "", ""),
        [resource, name] => (resource, name, ""),
        [resource, name, subresource, ..] => (resource, name, subresource),
        [] => return None,
    };
    let verb = match verb {
        "get" | "head" if name.is_empty() => "list",
        "get" | "head" => "get",
        "post" => "create",
        "put" => "update",
        "patch" => "patch",
        "delete" if name.is_empty() => "deletecollection",
        _ => "delete",
    };
    Some(Unserved { verb, group, resource, subresource, namespace, name })
}

impl RequestInfo {
    pub fn subject(&self) -> crate::status::Subject<'_> {
        crate::status::Subject {
            group: self.resource.group,
            resource: self.resource.plural,
            name: &self.name,
        }
    }

    /// Returns the only node whose pods are asked for.
    pub fn node(&self) -> Option<&str> {
        self.fields.exact("spec.nodeName").filter(|_| self.resource.plural == "pods")
    }

    /// Returns the namespace that the objects are stored under.
    pub fn scope(&self) -> &str {
        if self.resource.namespaced { &self.namespace } else { "" }
    }

    /// Returns "pods" or "pods/eviction".
    pub fn full_resource(&self) -> String {
        if self.subresource.is_empty() {
            self.resource.plural.to_owned()
        } else {
            format!("{}/{}", self.resource.plural, self.subresource)
        }
    }
}
