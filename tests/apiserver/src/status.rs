//! Error answers: `metav1.Status` objects with kube-apiserver's texts (apimachinery,
//! pkg/api/errors).

use serde_json::{Value, json};

/// An answer other than success.
#[derive(Debug, Clone)]
pub struct ApiError {
    pub code: u16,
    /// The complete `Status` object.
    pub status: Value,
}

pub type ApiResult<T> = Result<T, ApiError>;

/// "pods" or "poddisruptionbudgets.policy".
fn qualified(group: &str, resource: &str) -> String {
    if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") }
}

/// The object of an error.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    pub group: &'a str,
    pub resource: &'a str,
    pub name: &'a str,
}

impl Subject<'_> {
    fn details(&self) -> Value {
        let mut details = json!({});
        if !self.resource.is_empty() {
            details["kind"] = json!(self.resource);
        }
        if !self.name.is_empty() {
            details["name"] = json!(self.name);
        }
        if !self.group.is_empty() {
            details["group"] = json!(self.group);
        }
        details
    }
}

impl ApiError {
    pub fn new(code: u16, reason: &str, message: impl Into<String>) -> Self {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": message.into(), "code": code,
        });
        if !reason.is_empty() {
            status["reason"] = json!(reason);
        }
        Self { code, status }
    }

    /// With empty details, like errors from a handler's own code.
    fn vague(mut self) -> Self {
        self.status["details"] = json!({});
        self
    }

    fn about(mut self, subject: &Subject<'_>) -> Self {
        self.status["details"] = subject.details();
        self
    }

    #[must_use]
    pub fn cause(mut self, kind: &str, message: impl Into<String>, field: &str) -> Self {
        let mut cause = json!({"reason": kind, "message": message.into()});
        if !field.is_empty() {
            cause["field"] = json!(field);
        }
        match self.status.pointer_mut("/details/causes").and_then(Value::as_array_mut) {
            Some(causes) => causes.push(cause),
            None => self.status["details"]["causes"] = json!([cause]),
        }
        self
    }

    /// Sets `details.retryAfterSeconds`, which also becomes the Retry-After header.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        if seconds > 0 {
            self.status["details"]["retryAfterSeconds"] = json!(seconds);
        }
        self
    }

    pub fn retry_after_seconds(&self) -> Option<u64> {
        self.status.pointer("/details/retryAfterSeconds").and_then(Value::as_u64)
    }

    pub fn message(&self) -> &str {
        self.status["message"].as_str().unwrap_or_default()
    }

    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    pub fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    pub fn forbidden(subject: &Subject<'_>, why: &str) -> Self {
        let name = qualified(subject.group, subject.resource);
        let message = match (name.is_empty(), subject.name.is_empty()) {
            (true, _) => format!("forbidden: {why}"),
            (_, true) => format!("{name} is forbidden: {why}"),
            _ => format!("{name} {:?} is forbidden: {why}", subject.name),
        };
        Self::new(403, "Forbidden", message).about(subject)
    }

    pub fn not_found(subject: &Subject<'_>) -> Self {
        let name = qualified(subject.group, subject.resource);
        Self::new(404, "NotFound", format!("{name} {:?} not found", subject.name)).about(subject)
    }

    pub fn method_not_allowed() -> Self {
        Self::new(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        )
        .vague()
    }

    /// The group and version are served, but not the resource.
    pub fn no_resource() -> Self {
        Self::new(404, "NotFound", "the server could not find the requested resource").vague()
    }

    pub fn already_exists(subject: &Subject<'_>) -> Self {
        let name = qualified(subject.group, subject.resource);
        Self::new(409, "AlreadyExists", format!("{name} {:?} already exists", subject.name))
            .about(subject)
    }

    pub fn conflict(subject: &Subject<'_>, why: &str) -> Self {
        let name = qualified(subject.group, subject.resource);
        let message = format!("Operation cannot be fulfilled on {name} {:?}: {why}", subject.name);
        Self::new(409, "Conflict", message).about(subject)
    }

    /// The resourceVersion of the write is outdated.
    pub fn stale(subject: &Subject<'_>) -> Self {
        Self::conflict(
            subject,
            "the object has been modified; please apply your changes to the latest version and \
             try again",
        )
    }

    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// For a patch.
    pub fn unsupported_media_type() -> Self {
        Self::new(415, "UnsupportedMediaType", "415: Unsupported Media Type").vague()
    }

    /// 422; `field` and `problem` as in `spec.x: Invalid value: ...`.
    pub fn invalid(group: &str, kind: &str, name: &str, field: &str, problem: &str) -> Self {
        Self::invalid_all(group, kind, name, &[(field.to_owned(), problem.to_owned())])
    }

    /// 422 with several problems; the message contains each once.
    pub fn invalid_all(group: &str, kind: &str, name: &str, problems: &[(String, String)]) -> Self {
        let mut said: Vec<String> = Vec::new();
        for (field, problem) in problems {
            let line = format!("{field}: {problem}");
            if !said.contains(&line) {
                said.push(line);
            }
        }
        let said = match &said[..] {
            [one] => one.clone(),
            several => format!("[{}]", several.join(", ")),
        };
        let kind_name = qualified(group, kind);
        let error = Self::new(422, "Invalid", format!("{kind_name} {name:?} is invalid: {said}"))
            .about(&Subject { group, resource: kind, name });
        problems.iter().fold(error, |error, (field, problem)| {
            let reason = match problem {
                p if p.starts_with("Required value") => "FieldValueRequired",
                p if p.starts_with("Forbidden") => "FieldValueForbidden",
                _ => "FieldValueInvalid",
            };
            error.cause(reason, problem, field)
        })
    }

    pub fn too_many_requests(message: impl Into<String>) -> Self {
        Self::new(429, "TooManyRequests", message).vague()
    }

    /// A patch that does not apply to the object (errors.NewGenericServerResponse).
    pub fn unprocessable() -> Self {
        Self::new(422, "Invalid", "the server rejected our request due to an error in our request")
            .vague()
    }
}

/// Returns the reason for an HTTP code, for faults that give only the code.
pub fn reason_of(code: u16) -> &'static str {
    match code {
        400 => "BadRequest",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        405 => "MethodNotAllowed",
        409 => "Conflict",
        410 => "Expired",
        422 => "Invalid",
        429 => "TooManyRequests",
        500 => "InternalError",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        _ => "",
    }
}

/// `Status` of a success; `code` only if kube-apiserver sends one.
pub fn success(code: Option<u16>) -> Value {
    let mut status =
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"});
    if let Some(code) = code {
        status["code"] = json!(code);
    }
    status
}
