//! Tells systemd the limits of scopes, over D-Bus: what only a cgroup file holds is undone by the
//! next `daemon-reload`, what systemd was told stays.
//!
//! Source: `org.freedesktop.systemd1(5)`.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use futures::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::sync::mpsc;
use zbus::{
    Connection,
    connection::Builder,
    zvariant::{OwnedValue, Value},
};

use crate::model::{pod::ContainerId, swap::SwapMax};

const DESTINATION: &str = "org.freedesktop.systemd1";
const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const SCOPE: &str = "org.freedesktop.systemd1.Scope";
const PROPERTY: &str = "MemorySwapMax";
const TIMEOUT: Duration = Duration::from_secs(10);
/// systemd works on one call at a time; more in flight only save the way there and back.
const IN_FLIGHT: usize = 16;

/// Have `unit` hold the limit `to`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub container: ContainerId,
    pub unit: Arc<str>,
    pub to: SwapMax,
}

/// What became of a [`Request`].
#[derive(Clone, Debug)]
pub struct Answer {
    pub container: ContainerId,
    pub asked: SwapMax,
    pub outcome: Result<Held, String>,
}

/// systemd now holds the limit, or there is nothing left to hold it for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    Already,
    Instead { of: SwapMax },
    UnitGone,
}

/// Serves requests until nobody can send more. Of several for one container the last counts.
pub async fn serve(
    bus: PathBuf,
    mut requests: mpsc::UnboundedReceiver<Request>,
    answers: mpsc::UnboundedSender<Answer>,
) {
    let mut connection: Option<Connection> = None;
    let mut waiting: BTreeMap<ContainerId, Request> = BTreeMap::new();
    let mut working: BTreeMap<ContainerId, Arc<str>> = BTreeMap::new();
    let mut calls: FuturesUnordered<BoxFuture<'static, (Answer, bool)>> = FuturesUnordered::new();
    loop {
        tokio::select! {
            request = requests.recv() => match request {
                Some(request) => { waiting.insert(request.container.clone(), request); }
                None => return,
            },
            Some((answer, connected)) = calls.next() => {
                working.remove(&answer.container);
                if !connected {
                    connection = None;
                }
                let _ = answers.send(answer);
            },
        }
        while calls.len() < IN_FLIGHT {
            let Some(id) = waiting.keys().find(|id| !working.contains_key(*id)).cloned() else {
                break;
            };
            let Some(request) = waiting.remove(&id) else { break };
            if connection.is_none() {
                match connect(&bus).await {
                    Ok(new) => connection = Some(new),
                    Err(error) => {
                        let text = format!("cannot reach systemd at {}: {error}", bus.display());
                        fail(request, &text, &answers);
                        std::mem::take(&mut waiting)
                            .into_values()
                            .for_each(|request| fail(request, &text, &answers));
                        break;
                    }
                }
            }
            if let Some(connection) = connection.clone() {
                working.insert(id, request.unit.clone());
                calls.push(Box::pin(call(connection, request)));
            }
        }
    }
}

fn fail(request: Request, text: &str, answers: &mpsc::UnboundedSender<Answer>) {
    let Request { container, to, .. } = request;
    let _ = answers.send(Answer { container, asked: to, outcome: Err(text.to_owned()) });
}

async fn connect(bus: &std::path::Path) -> zbus::Result<Connection> {
    let address = format!("unix:path={}", bus.display());
    let connecting = Builder::address(address.as_str())?.method_timeout(TIMEOUT).build();
    match tokio::time::timeout(TIMEOUT, connecting).await {
        Ok(connection) => connection,
        Err(_) => Err(zbus::Error::Failure(format!("no answer in {} s", TIMEOUT.as_secs()))),
    }
}

/// The answer, and whether the connection can still be used.
async fn call(connection: Connection, request: Request) -> (Answer, bool) {
    let result = ensure(&connection, &request.unit, request.to).await;
    let connected =
        !matches!(&result, Err(error) if !matches!(error, zbus::Error::MethodError(..)));
    let outcome = match result {
        Ok(held) => Ok(held),
        Err(error) if is_unit_gone(&error) => Ok(Held::UnitGone),
        Err(error) => {
            Err(format!("systemd refused {PROPERTY}={} for {}: {error}", request.to, request.unit))
        }
    };
    (Answer { container: request.container, asked: request.to, outcome }, connected)
}

/// Reads the property, and sets it if it differs.
async fn ensure(connection: &Connection, unit: &str, to: SwapMax) -> zbus::Result<Held> {
    let path = unit_path(unit);
    let reply = connection
        .call_method(
            Some(DESTINATION),
            path.as_str(),
            Some("org.freedesktop.DBus.Properties"),
            "Get",
            &(SCOPE, PROPERTY),
        )
        .await?;
    let value: OwnedValue = reply.body().deserialize()?;
    let found = SwapMax::from_systemd(u64::try_from(value)?);
    if found == to {
        return Ok(Held::Already);
    }
    let runtime = true;
    let properties = [(PROPERTY, Value::U64(to.to_systemd()))];
    connection
        .call_method(
            Some(DESTINATION),
            MANAGER_PATH,
            Some(MANAGER),
            "SetUnitProperties",
            &(unit, runtime, &properties[..]),
        )
        .await?;
    Ok(Held::Instead { of: found })
}

fn is_unit_gone(error: &zbus::Error) -> bool {
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

    #[tokio::test]
    async fn a_bus_that_is_not_there_fails_every_request() {
        let folder = tempfile::tempdir().unwrap();
        let bus = folder.path().join("bus");
        let (send, requests) = mpsc::unbounded_channel();
        let (answers, mut receive) = mpsc::unbounded_channel();
        for digit in ["1", "2"] {
            let container = ContainerId::new(&digit.repeat(64)).unwrap();
            send.send(Request { container, unit: "x.scope".into(), to: SwapMax::ZERO }).unwrap();
        }
        drop(send);
        serve(bus.clone(), requests, answers).await;
        let mut failed = 0;
        while let Some(answer) = receive.recv().await {
            assert!(answer.outcome.unwrap_err().contains(&bus.display().to_string()));
            failed += 1;
        }
        assert_eq!(failed, 2);
    }
}
