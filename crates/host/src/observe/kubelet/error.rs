//! The reasons why the kubelet's configuration cannot be determined, or the kubelet would not start
//! with it.

use std::path::{Path, PathBuf};

use super::flags::FlagsError;
use crate::{
    decide::kubelet::by_journal,
    errors::FileError,
    model::{
        kubelet::{Origin, Teller},
        shell,
        system::System,
    },
    yaml::YamlError,
};

pub(super) const KIND: &str = "KubeletConfiguration";
pub(super) const GROUP: &str = "kubelet.config.k8s.io";

#[derive(Debug, thiserror::Error)]
pub enum KubeletError {
    #[error("{source} ({told_by})")]
    Flags {
        told_by: Teller,
        #[source]
        source: FlagsError,
    },
    #[error(
        "the kubelet's configuration {path} does not exist ({told_by} names it), and the kubelet \
         does not start without it"
    )]
    Missing { path: PathBuf, told_by: Teller },
    #[error(
        "kubelet.service starts {program}, so the kubelet's arguments are not known until it runs; \
         set node.kubelet-config to the file that it reads"
    )]
    Program { program: String },
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{0}; the kubelet does not start without it")]
    DropIns(#[source] FileError),
    #[error("cannot read {path}: {source}")]
    Content {
        path: PathBuf,
        #[source]
        source: ContentError,
    },
    #[error("nodeStatusUpdateFrequency: {value:?} ({origin}) is not a duration")]
    Frequency { value: String, origin: Origin },
}

impl KubeletError {
    /// Returns the commands that fix it, or that show its cause.
    pub fn remedy(&self, system: &System) -> Vec<String> {
        match self {
            Self::DropIns(error) if error.is_gone() => vec![
                format!("mkdir -p {}", shell::path(&error.path)),
                "systemctl restart kubelet".to_owned(),
            ],
            Self::Missing { path, .. } => vec![
                format!("# restore {}, or correct --config", path.display()),
                "systemctl restart kubelet".to_owned(),
            ],
            Self::Program { .. } => vec![
                "# set node.kubelet-config in /etc/wasp-agent/config.d to the file that the kubelet reads"
                    .to_owned(),
                "systemctl reload wasp-agent".to_owned(),
            ],
            Self::Flags { .. }
            | Self::File(_)
            | Self::DropIns(_)
            | Self::Content { .. }
            | Self::Frequency { .. } => by_journal(system),
        }
    }
}

/// A fault in the content of a file or of a drop-in.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    #[error(transparent)]
    Yaml(#[from] YamlError),
    #[error("it is not valid JSON (line {line}, column {column})")]
    Json { line: usize, column: usize },
    #[error("it is empty, or not a KubeletConfiguration")]
    NoMapping,
    #[error("it is not a {KIND} of {GROUP}/v1beta1")]
    Kind,
    #[error("its apiVersion is not {GROUP}/v1beta1")]
    Version,
    #[error("{key} occurs twice, which the kubelet rejects in a drop-in")]
    Twice { key: String },
    #[error("{key} must be {expected}{}", in_parentheses(.origin))]
    Type { key: String, expected: &'static str, origin: Origin },
}

impl ContentError {
    pub(super) fn of(path: &Path) -> impl FnOnce(Self) -> KubeletError {
        move |source| KubeletError::Content { path: path.to_owned(), source }
    }
}

/// The default would return a source that explains nothing.
fn in_parentheses(origin: &Origin) -> String {
    match origin {
        Origin::Default => String::new(),
        origin => format!(" ({origin})"),
    }
}
