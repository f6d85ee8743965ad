//! Settings of metrics: table `[metrics]`.

use std::{net::SocketAddr, path::PathBuf};

use super::read::Read;

/// Places where the agent publishes metrics, in addition to its unix socket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetricsSettings {
    /// Address and port of the HTTP listener; `None`: no listener.
    pub listen: Option<SocketAddr>,
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
    /// The CA that must have signed a client's certificate; `None`: any client that reaches the
    /// port may read.
    pub client_ca: Option<PathBuf>,
    /// The file to write for node_exporter's textfile collector.
    pub textfile: Option<PathBuf>,
}

impl MetricsSettings {
    pub(super) fn read(read: Read<'_>) -> Self {
        Self {
            listen: read.text("metrics.listen").parse().ok(),
            certificate: read.path("metrics.certificate"),
            key: read.path("metrics.key"),
            client_ca: read.path("metrics.client-ca"),
            textfile: read.path("metrics.textfile"),
        }
    }
}
