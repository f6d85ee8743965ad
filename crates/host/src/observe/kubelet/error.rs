//! The reasons why the kubelet's configuration cannot be determined, or the kubelet would not start
//! with it.

use std::path::PathBuf;

use super::{flags::FlagsError, merge::ContentError};
use crate::{
    errors::FileError,
    model::kubelet::{Origin, Teller},
};

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
