//! Why the API server does not tell what it is asked.

/// What kind of trouble it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FailureKind {
    /// It does not answer, or not as it should.
    #[default]
    Unreachable,
    /// It answers, and does not let the node.
    Refused,
    /// The node has no credentials that can be used.
    Credentials,
    /// A certificate is not valid yet by this node's clock.
    Clock,
}

/// A failure, and its words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failure {
    pub kind: FailureKind,
    pub text: String,
}

impl Failure {
    /// For somebody who knows what was asked.
    pub fn sentence(&self, known: &str) -> String {
        let Self { kind, text } = self;
        match kind {
            FailureKind::Unreachable => format!("API server not reachable, {known} ({text})"),
            FailureKind::Refused => format!("the API server refuses, {known} ({text})"),
            FailureKind::Credentials => {
                format!("no credentials for the API server, {known} ({text})")
            }
            FailureKind::Clock => format!("{text}; the API server cannot be asked, {known}"),
        }
    }

    /// Beside the API server's address.
    pub fn short(&self) -> String {
        match self.kind {
            FailureKind::Unreachable => format!("not reachable: {}", self.text),
            FailureKind::Refused | FailureKind::Credentials | FailureKind::Clock => {
                self.text.clone()
            }
        }
    }

    pub fn remedy(&self) -> Vec<String> {
        let lines: &[&str] = match self.kind {
            FailureKind::Unreachable => &["journalctl -u kubelet -b -p warning"],
            FailureKind::Refused => &["wasp-agent check"],
            FailureKind::Credentials => &["systemctl restart kubelet"],
            FailureKind::Clock => &["chronyc makestep"],
        };
        lines.iter().map(|&line| line.to_owned()).collect()
    }
}
