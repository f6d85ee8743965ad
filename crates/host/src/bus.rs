//! Access to the system bus and to systemd.
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

/// Reads a property of a unit; `interface` is the unit's type: `Scope`, `Slice`, `Service`, or
/// `Unit`.
pub async fn get(
    connection: &Connection,
    unit: &str,
    interface: &str,
    property: &str,
) -> zbus::Result<OwnedValue> {
    property_of(connection, unit_path(unit).as_str(), interface, property).await
}

/// Reads a property of systemd itself.
pub async fn get_of_manager(connection: &Connection, property: &str) -> zbus::Result<OwnedValue> {
    property_of(connection, MANAGER_PATH, "Manager", property).await
}

async fn property_of(
    connection: &Connection,
    path: &str,
    interface: &str,
    property: &str,
) -> zbus::Result<OwnedValue> {
    let reply = connection
        .call_method(
            Some(DESTINATION),
            path,
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

/// Calls `FreezeUnit` or `ThawUnit`; returns when systemd has finished.
pub async fn freezer(connection: &Connection, method: &str, unit: &str) -> zbus::Result<()> {
    connection
        .call_method(Some(DESTINATION), MANAGER_PATH, Some(MANAGER), method, &(unit,))
        .await?;
    Ok(())
}

/// Removes the properties of `unit` that were set until the next boot.
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

/// Starts `unit` and waits a limited time until its job ends, successfully or not.
pub async fn start(roots: &Roots, unit: &str) -> zbus::Result<()> {
    job(roots, "StartUnit", unit).await
}

/// Like [`start`], but stops a running unit first.
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
    // The caller checks the result by the unit's effect.
    let _ = tokio::time::timeout(TIMEOUT, done).await;
    Ok(())
}

/// Returns true if the connection is unusable after this error.
pub fn is_broken(error: &zbus::Error) -> bool {
    !matches!(error, zbus::Error::MethodError(..))
}

/// Returns true if no such unit is loaded.
pub fn is_unit_gone(error: &zbus::Error) -> bool {
    matches!(error, zbus::Error::MethodError(name, ..)
        if name.as_str() == "org.freedesktop.systemd1.NoSuchUnit"
            || name.as_str() == "org.freedesktop.DBus.Error.UnknownObject")
}

/// Returns true if there is no such unit, or if units of its type, or of this systemd, have no such
/// property.
pub fn lacks(error: &zbus::Error) -> bool {
    is_unit_gone(error)
        || matches!(error, zbus::Error::MethodError(name, ..)
            if name.as_str() == "org.freedesktop.DBus.Error.UnknownProperty"
                || name.as_str() == "org.freedesktop.DBus.Error.UnknownInterface")
}

/// Returns the unit's D-Bus path: bytes that are neither letters nor digits, and a leading digit,
/// become `_` and two hex digits (`sd_bus_path_encode(3)`).
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
