//! Answers of real clusters as data (`data/answers.json`): a fault selects one by `answer`.

use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::json::text;

/// One answer, and the program that gives it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Row {
    pub name: String,
    pub who: String,
    /// The parts of a `Status` that differ between failures. "{name}", "{namespace}", "{vmi}" and
    /// "{budget}" stand for the pod's.
    pub status: Value,
    /// The code of an answer that is not a `Status`.
    pub code: u16,
    pub text: String,
    /// The Retry-After header.
    pub retry_after: Option<u64>,
    /// The server carries the request out all the same.
    pub committed: bool,
    /// The connection ends without an answer.
    pub cut: bool,
}

static ROWS: LazyLock<Result<Vec<Row>, String>> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../data/answers.json")).map_err(|e| e.to_string())
});

pub(crate) fn all() -> &'static [Row] {
    ROWS.as_ref().map_or(&[], Vec::as_slice)
}

pub(crate) fn named(name: &str) -> Option<&'static Row> {
    all().iter().find(|row| row.name == name)
}

/// The values of the placeholders.
#[derive(Debug, Clone, Default)]
pub struct About {
    pub namespace: String,
    pub name: String,
    pub vmi: String,
    pub budget: String,
}

impl About {
    pub fn pod(namespace: &str, name: &str, pod: &Value) -> Self {
        let vmi = match text(pod, "/metadata/annotations/kubevirt.io~1domain") {
            "" => text(pod, "/metadata/labels/vm.kubevirt.io~1name"),
            vmi => vmi,
        };
        let vmi = if vmi.is_empty() { name } else { vmi };
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            vmi: vmi.to_owned(),
            budget: "budget".to_owned(),
        }
    }

    fn fill(&self, text: &str) -> String {
        text.replace("{namespace}", &self.namespace)
            .replace("{name}", &self.name)
            .replace("{vmi}", &self.vmi)
            .replace("{budget}", &self.budget)
    }
}

impl Row {
    /// Returns the complete `Status`; `None` for an answer without one.
    pub fn status(&self, about: &About) -> Option<Value> {
        let parts = self.status.as_object()?;
        let mut status =
            json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"});
        for (name, part) in parts {
            let filled = about.fill(&part.to_string());
            status[name] = serde_json::from_str(&filled).unwrap_or_else(|_| part.clone());
        }
        Some(status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_can_be_given() {
        assert!(ROWS.is_ok(), "{:?}", *ROWS);
        for row in all() {
            assert_eq!(named(&row.name).map(|r| &r.who), Some(&row.who), "{}: twice", row.name);
            let ways = [row.status.is_object(), !row.text.is_empty(), row.cut];
            assert_eq!(ways.iter().filter(|way| **way).count(), 1, "{}", row.name);
            if let Some(status) = row.status(&About::pod("prod", "one", &Value::Null)) {
                assert!(status["code"].as_u64().is_some_and(|code| code >= 400), "{}", row.name);
                assert!(!status.to_string().contains("{n"), "{status}");
                assert!(!status.to_string().contains("{v"), "{status}");
            }
        }
    }
}
