//! Settings of metrics.

use std::{net::SocketAddr, path::PathBuf};

use super::read::Read;

/// Where metrics are to be had beside the unix socket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetricsSettings {
    /// `None`: nowhere else.
    pub listen: Option<SocketAddr>,
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
    /// Who may ask must have a certificate of this CA; `None`: whoever reaches the port.
    pub client_ca: Option<PathBuf>,
    /// For node_exporter's textfile collector.
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
