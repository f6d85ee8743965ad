//! `wasp-agent provision` and `deprovision`.

use std::{
    cell::Cell,
    io::{IsTerminal, Write},
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use crate::{
    act::swap::zram,
    bus,
    config::settings::{Settings, SwapKind},
    messages,
    model::{swap::human_bytes, unknown::sentence},
    observe::{files::FileWatch, kubelet},
    provision::{ProvisionError, ProvisionOutcome, Provisioning},
    report::{log, notify},
    roots::Roots,
};

/// EX_UNAVAILABLE of sysexits.h: refused, because swap as configured would harm the node.
const EXIT_CONFLICT: u8 = 69;
/// EX_TEMPFAIL of sysexits.h: swap exists, but differs from the configuration.
const EXIT_KEPT: u8 = 75;

pub(crate) fn provision(
    roots: &Roots,
    settings: &Settings,
    dry_run: bool,
    patience: Duration,
) -> ExitCode {
    log::start(settings.verbosity);
    if settings.swap.kind == SwapKind::Partition && !dry_run && !patience.is_zero() {
        let path = roots.path(&settings.swap.path);
        if !path.exists() {
            let seconds = patience.as_secs();
            let text = format!("Waiting {seconds} s at most for {}.", settings.swap.path.display());
            messages::ProvisionStep.emit(format_args!("{text}"));
            notify::status_now(&text);
            // Ignore the result: provisioning looks for the device itself.
            let wait = async { tokio::time::timeout(patience, appears(&path)).await };
            let _ = super::runtime().map(|runtime| runtime.block_on(wait));
        }
    }
    if settings.swap.kind == SwapKind::Zram && !zram::is_there(roots) && !dry_run {
        // systemd loads modules; if that fails, adding the device reports it.
        let started = super::runtime()
            .and_then(|runtime| Ok(runtime.block_on(bus::start(roots, "modprobe@zram.service"))?));
        if let Err(error) = started {
            messages::ProvisionStep.emit_at(
                messages::LogLevel::Warn,
                format_args!("cannot start modprobe@zram.service: {}", sentence(error.as_ref())),
            );
        }
    }
    let kubelet_unit = kubelet_unit(roots);
    let kubelet_unit = kubelet_unit.as_ref();
    with_progress(|progress| {
        end(Provisioning { roots, settings, kubelet_unit, dry_run, progress }.provision())
    })
}

/// Returns when `path` exists: udev creates links, and directories for them.
async fn appears(path: &Path) {
    loop {
        // Watch before looking, so that no change in between is missed.
        let Ok(watch) = FileWatch::new(&[path.to_owned()]) else { return };
        if path.exists() || watch.changed().await.is_err() {
            return;
        }
    }
}

pub(crate) fn deprovision(
    roots: &Roots,
    settings: &Settings,
    dry_run: bool,
    if_unused: bool,
) -> ExitCode {
    log::start(settings.verbosity);
    with_progress(|progress| {
        let provisioning = Provisioning { roots, settings, kubelet_unit: None, dry_run, progress };
        end(match if_unused {
            true => provisioning.deprovision_unused(),
            false => provisioning.deprovision(),
        })
    })
}

/// Queries systemd, which may be unreachable this early in the boot: then the unit's files serve.
fn kubelet_unit(roots: &Roots) -> Option<kubelet::Service> {
    super::runtime().ok()?.block_on(kubelet::service(roots))
}

fn end(result: Result<ProvisionOutcome, ProvisionError>) -> ExitCode {
    match result {
        Ok(ProvisionOutcome::AsConfigured(summary)) => {
            messages::Provisioned.emit(format_args!("{summary}"));
            notify::status_now(&summary);
            ExitCode::SUCCESS
        }
        Ok(ProvisionOutcome::Kept(why)) => {
            messages::ProvisionDiffers.emit_at(
                messages::LogLevel::Error,
                format_args!("swap is NOT as configured: {why}"),
            );
            notify::status_now(&format!("Swap is NOT as configured: {why}"));
            ExitCode::from(EXIT_KEPT)
        }
        Err(error) => {
            messages::ProvisionFailed.emit(format_args!("{error}"));
            notify::status_now(&error.to_string());
            let conflict =
                matches!(error, ProvisionError::Conflict(_) | ProvisionError::Kubelet(_));
            ExitCode::from(if conflict { EXIT_CONFLICT } else { 1 })
        }
    }
}

/// Reports the progress of long steps to a terminal and to systemd, at most once a second.
fn with_progress<T>(run: impl FnOnce(&dyn Fn(u64, u64)) -> T) -> T {
    let next = Cell::new(Instant::now());
    run(&|done, all| {
        let now = Instant::now();
        if now < next.get() && done < all {
            return;
        }
        next.set(now + Duration::from_secs(1));
        let percent = u128::from(done) * 100 / u128::from(all.max(1));
        let text = format!("writing zeros: {percent} % of {}", human_bytes(all));
        notify::status_now(&text);
        let mut stderr = std::io::stderr();
        if stderr.is_terminal() {
            let end = if done < all { "\r" } else { "\n" };
            // A closed terminal is no reason to stop.
            let _ = write!(stderr, "{text}{end}");
        }
    })
}
