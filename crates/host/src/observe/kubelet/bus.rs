//! Reads the kubelet's unit as systemd has loaded it: the command of the kubelet's next start.
//!
//! Source: `org.freedesktop.systemd1(5)`.

use std::time::Duration;

use zbus::Connection;

use super::{UNIT, unit::Service};
use crate::{bus, roots::Roots};

/// Time to wait for systemd; the unit's files have the same information.
const PATIENCE: Duration = Duration::from_secs(3);

/// `ExecStart`: program, arguments, whether failure is ignored, four timestamps, PID, exit code and
/// status.
type ExecStart = Vec<(String, Vec<String>, bool, u64, u64, u64, u64, u32, i32, i32)>;

/// `None` if systemd does not answer, or has no such unit.
pub async fn service(roots: &Roots) -> Option<Service> {
    let path = roots.system_bus();
    if !path.exists() {
        return None;
    }
    let asked = async { asked(&bus::connect(&path).await?).await };
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(service)) => service,
        Ok(Err(error)) => {
            tracing::debug!("cannot ask systemd for {UNIT}: {error}");
            None
        }
        Err(_) => None,
    }
}

async fn asked(connection: &Connection) -> zbus::Result<Option<Service>> {
    let get = |interface, property| bus::get(connection, UNIT, interface, property);
    let load: String = get("Unit", "LoadState").await?.try_into()?;
    if load != "loaded" {
        return Ok(None);
    }
    // The variables that systemd gives to all services.
    let manager = bus::get_of_manager(connection, "Environment").await;
    let manager: Vec<String> = manager.and_then(|of| Ok(of.try_into()?)).unwrap_or_default();
    let commands: ExecStart = get("Service", "ExecStart").await?.try_into()?;
    let environment: Vec<String> = get("Service", "Environment").await?.try_into()?;
    let files: Vec<(String, bool)> = get("Service", "EnvironmentFiles").await?.try_into()?;
    let folder: String = get("Service", "WorkingDirectory").await?.try_into()?;
    let folder = folder.trim_start_matches('!');
    let unset: Vec<String> = get("Service", "UnsetEnvironment").await?.try_into()?;
    let command = commands.into_iter().next_back().map(|command| command.1);
    Ok(command.map(|command| Service {
        command,
        default_environment: manager.iter().filter_map(|word| super::assignment(word)).collect(),
        environment: environment.iter().filter_map(|word| super::assignment(word)).collect(),
        environment_files: files
            .into_iter()
            .map(|(path, optional)| (path.into(), optional))
            .collect(),
        folder: if folder == "~" { "/root".into() } else { folder.into() },
        unset,
    }))
}
