//! Failures of requests to the API server.

/// The kind of a failure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FailureKind {
    /// It does not answer, or answers nonsense.
    #[default]
    Unreachable,
    /// It answers that the request fails, for another reason than a refusal.
    Error,
    /// It answers, but refuses the node.
    Refused,
    /// The node has no usable credentials.
    Credentials,
    /// A certificate is not valid yet by this node's clock.
    Clock,
}

/// A failure with its description.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failure {
    pub kind: FailureKind,
    pub text: String,
    /// Commands that fix it; empty: those of the kind.
    pub remedy: Vec<String>,
}

impl Failure {
    /// Returns the failure as a sentence; `known` describes the knowledge that the agent keeps.
    pub fn sentence(&self, known: &str) -> String {
        let Self { kind, text, .. } = self;
        match kind {
            FailureKind::Error => format!("the API server answers with an error, {known} ({text})"),
            FailureKind::Unreachable => format!("API server not reachable, {known} ({text})"),
            FailureKind::Refused => format!("the API server refuses, {known} ({text})"),
            FailureKind::Credentials => {
                format!("no credentials for the API server, {known} ({text})")
            }
            FailureKind::Clock => {
                format!("{text}; the agent sends no request to the API server, {known}")
            }
        }
    }

    /// Returns a short form, to show next to the API server's address.
    pub fn short(&self) -> String {
        match self.kind {
            FailureKind::Unreachable => format!("not reachable: {}", self.text),
            FailureKind::Error => format!("answers with an error: {}", self.text),
            FailureKind::Refused | FailureKind::Credentials | FailureKind::Clock => {
                self.text.clone()
            }
        }
    }

    pub fn remedy(&self) -> Vec<String> {
        if !self.remedy.is_empty() {
            return self.remedy.clone();
        }
        let lines: &[&str] = match self.kind {
            FailureKind::Unreachable | FailureKind::Error => {
                &["journalctl -u kubelet -b -p warning"]
            }
            FailureKind::Refused => &["wasp-agent check"],
            FailureKind::Credentials => &["systemctl restart kubelet"],
            FailureKind::Clock => &["chronyc makestep", "systemctl restart kubelet"],
        };
        lines.iter().map(|&line| line.to_owned()).collect()
    }
}
