//! The system bus, and systemd on it.
//!
//! Source: `org.freedesktop.systemd1(5)`.

use std::{path::Path, time::Duration};

use zbus::{
    Connection,
    connection::Builder,
    zvariant::{OwnedValue, Value},
};

use crate::{failpoint, roots::Roots};

const DESTINATION: &str = "org.freedesktop.systemd1";
const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const TIMEOUT: Duration = Duration::from_secs(10);

/// Connects to the bus at `bus`.
pub async fn connect(bus: &Path) -> zbus::Result<Connection> {
    let address = format!("unix:path={}", bus.display());
    let connecting = Builder::address(address.as_str())?.method_timeout(TIMEOUT).build();
    match tokio::time::timeout(TIMEOUT, connecting).await {
        Ok(connection) => connection,
        Err(_) => Err(zbus::Error::Failure(format!("no answer within {} s", TIMEOUT.as_secs()))),
    }
}

/// A unit's property; `interface` is the unit's type: `Scope`, `Slice`, `Service`, or `Unit`.
pub async fn get(
    connection: &Connection,
    unit: &str,
    interface: &str,
    property: &str,
) -> zbus::Result<OwnedValue> {
    let reply = connection
        .call_method(
            Some(DESTINATION),
            unit_path(unit).as_str(),
            Some("org.freedesktop.DBus.Properties"),
            "Get",
            &(format!("{DESTINATION}.{interface}"), property),
        )
        .await?;
    reply.body().deserialize()
}

/// Sets properties of a unit until the next boot.
pub async fn set(
    connection: &Connection,
    unit: &str,
    properties: &[(&str, Value<'_>)],
) -> zbus::Result<()> {
    let runtime = true;
    failpoint::at("bus.set")?;
    connection
        .call_method(
            Some(DESTINATION),
            MANAGER_PATH,
            Some(MANAGER),
            "SetUnitProperties",
            &(unit, runtime, properties),
        )
        .await?;
    failpoint::at("bus.was-set")?;
    Ok(())
}

/// `FreezeUnit` or `ThawUnit`: answered when it is done.
pub async fn freezer(connection: &Connection, method: &str, unit: &str) -> zbus::Result<()> {
    connection
        .call_method(Some(DESTINATION), MANAGER_PATH, Some(MANAGER), method, &(unit,))
        .await?;
    Ok(())
}

/// Removes what was set of `unit` until the next boot.
pub async fn revert(connection: &Connection, unit: &str) -> zbus::Result<()> {
    connection
        .call_method(
            Some(DESTINATION),
            MANAGER_PATH,
            Some(MANAGER),
            "RevertUnitFiles",
            &(&[unit][..],),
        )
        .await?;
    Ok(())
}

/// Starts `unit` and waits until its job is done, well or not, but not for long.
pub async fn start(roots: &Roots, unit: &str) -> zbus::Result<()> {
    job(roots, "StartUnit", unit).await
}

/// The same, if need be after stopping it.
pub async fn restart(roots: &Roots, unit: &str) -> zbus::Result<()> {
    job(roots, "RestartUnit", unit).await
}

async fn job(roots: &Roots, kind: &'static str, unit: &str) -> zbus::Result<()> {
    use futures::StreamExt;
    let connection = connect(&roots.system_bus()).await?;
    let rule = zbus::MatchRule::builder()
        .msg_type(zbus::message::Type::Signal)
        .interface(MANAGER)?
        .member("JobRemoved")?
        .build();
    let mut removed = zbus::MessageStream::for_match_rule(rule, &connection, None).await?;
    let call = |method: &'static str| (Some(DESTINATION), MANAGER_PATH, Some(MANAGER), method);
    let (to, path, interface, method) = call("Subscribe");
    connection.call_method(to, path, interface, method, &()).await?;
    let (to, path, interface, method) = call(kind);
    connection.call_method(to, path, interface, method, &(unit, "replace")).await?;
    let done = async {
        while let Some(Ok(message)) = removed.next().await {
            let body = message.body();
            let job: zbus::Result<(u32, zbus::zvariant::ObjectPath<'_>, &str, &str)> =
                body.deserialize();
            if job.is_ok_and(|(_, _, name, _)| name == unit) {
                break;
            }
        }
    };
    // What it was started for shows whether it worked.
    let _ = tokio::time::timeout(TIMEOUT, done).await;
    Ok(())
}

/// Whether the bus cannot be used any more after this.
pub fn is_broken(error: &zbus::Error) -> bool {
    !matches!(error, zbus::Error::MethodError(..))
}

/// There is no such unit loaded.
pub fn is_unit_gone(error: &zbus::Error) -> bool {
    matches!(error, zbus::Error::MethodError(name, ..)
        if name.as_str() == "org.freedesktop.systemd1.NoSuchUnit"
            || name.as_str() == "org.freedesktop.DBus.Error.UnknownObject")
}

/// The unit's D-Bus path: every byte that is no letter or digit as `_` and two hex digits, and a
/// leading digit too (`sd_bus_path_encode(3)`).
fn unit_path(unit: &str) -> String {
    use std::fmt::Write;
    let mut path = format!("{MANAGER_PATH}/unit/");
    for (index, byte) in unit.bytes().enumerate() {
        if byte.is_ascii_alphabetic() || (index > 0 && byte.is_ascii_digit()) {
            path.push(char::from(byte));
        } else {
            let _ = write!(path, "_{byte:02x}");
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unit_paths_are_escaped_as_systemd_does() {
        assert_eq!(
            unit_path("crio-12ab.scope"),
            "/org/freedesktop/systemd1/unit/crio_2d12ab_2escope"
        );
        assert_eq!(unit_path("1.scope"), "/org/freedesktop/systemd1/unit/_31_2escope");
    }
}
