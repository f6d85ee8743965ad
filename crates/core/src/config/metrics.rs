//! Settings of metrics: table `[metrics]`.

use std::{net::SocketAddr, path::PathBuf};

use super::read::Read;

settings! {
    /// Places where the agent publishes metrics, in addition to its unix socket.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct MetricsSettings of read {
        /// Address and port of the HTTP listener; `None`: no listener.
        pub listen: Option<SocketAddr> = read.text("metrics.listen").parse().ok(),
        pub certificate: Option<PathBuf> = read.path("metrics.certificate"),
        pub key: Option<PathBuf> = read.path("metrics.key"),
        /// The CA that must have signed a client's certificate; `None`: any client that reaches the
        /// port may read.
        pub client_ca: Option<PathBuf> = read.path("metrics.client-ca"),
        /// The file to write for node_exporter's textfile collector.
        pub textfile: Option<PathBuf> = read.path("metrics.textfile"),
    }
}
