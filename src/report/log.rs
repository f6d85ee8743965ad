//! Logs to the journal when systemd runs the agent, otherwise to standard error; never to both.

use std::{
    fmt,
    io::IsTerminal,
    os::{fd::AsFd, unix::fs::MetadataExt},
};

use tracing::{field::Field, level_filters::LevelFilter};
use tracing_subscriber::{
    Layer, Registry,
    field::MakeExt,
    filter::Targets,
    fmt::format::{Writer, debug_fn},
    layer::SubscriberExt,
    reload,
    util::SubscriberInitExt,
};

use crate::model::plain::plain;

/// Changes the verbosity while the agent runs.
#[derive(Debug)]
pub struct Verbosity(reload::Handle<Targets, Registry>);

impl Verbosity {
    pub fn set(&self, verbosity: u8) {
        // Fails only if the subscriber is gone, and with it every log.
        let _ = self.0.reload(targets(verbosity));
    }
}

/// Starts logging for the rest of the process.
pub fn start(verbosity: u8) -> Verbosity {
    let (filter, handle) = reload::Layer::new(targets(verbosity));
    let journal = under_systemd().then(tracing_journald::layer).and_then(Result::ok);
    let layer = match journal {
        // Without a prefix: POD_NAME, CONTAINER_ID, … are documented fields.
        Some(journal) => journal.with_field_prefix(None).boxed(),
        None => tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal())
            .with_target(false)
            .fmt_fields(debug_fn(write_field).delimited(" "))
            .boxed(),
    };
    // Fails only if a test has started logging before.
    let _ = tracing_subscriber::registry().with(layer.with_filter(filter)).try_init();
    Verbosity(handle)
}

/// Omits message IDs on standard error, where no program looks for them, and prints one line per
/// message, because a file does not separate messages.
fn write_field(writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    let value = format!("{value:?}");
    let value = plain(&value);
    match field.name() {
        "message_id" => Ok(()),
        "message" => write!(writer, "{value}"),
        name => write!(writer, "{name}={value}"),
    }
}

/// Starts logging for the OCI hook, whose standard error is lost: to the journal or nowhere.
pub fn start_hook() {
    if let Ok(journal) = tracing_journald::layer() {
        let layer = journal.with_field_prefix(None).with_syslog_identifier("wasp-hook".to_owned());
        let _ = tracing_subscriber::registry().with(layer).try_init();
    }
}

/// Maps klog's scale to our own messages; libraries log only errors.
fn targets(verbosity: u8) -> Targets {
    let ours = match verbosity {
        0..=2 => LevelFilter::INFO,
        3..=5 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    // kube's client logs errors that it also returns, and that the agent reports itself.
    Targets::new()
        .with_default(LevelFilter::ERROR)
        .with_target("kube_client", LevelFilter::OFF)
        .with_targets(["wasp_agent", "wasp_core", "wasp_host"].map(|name| (name, ours)))
}

fn under_systemd() -> bool {
    is_journal(std::io::stderr())
}

/// Returns true if `stream` is the journal: `JOURNAL_STREAM` holds its device and inode
/// (systemd.exec(5)).
pub fn is_journal(stream: impl AsFd) -> bool {
    let Ok(expected) = std::env::var("JOURNAL_STREAM") else { return false };
    let Ok(stream) = stream.as_fd().try_clone_to_owned() else { return false };
    std::fs::File::from(stream)
        .metadata()
        .is_ok_and(|metadata| expected == format!("{}:{}", metadata.dev(), metadata.ino()))
}
