//! Sets the limits of scopes and slices in systemd, over D-Bus: the next `daemon-reload` undoes a
//! limit that only a cgroup file holds, and keeps one that systemd holds.
//!
//! Source: `org.freedesktop.systemd1(5)`.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use futures::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::sync::mpsc;
use zbus::{Connection, zvariant::Value};

use crate::{
    bus, messages,
    model::{host::Holder, swap::SwapMax},
    observe::cgroup::is_gone,
    roots::Roots,
};

const PROPERTY: &str = "MemorySwapMax";
/// Number of concurrent calls. systemd works on one at a time; more calls only hide the round trip.
const IN_FLIGHT: usize = 16;

/// A request to make `unit` hold the limit `to`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitRequest {
    pub owner: Holder,
    pub unit: Arc<str>,
    /// The unit's cgroup, as a path below the cgroup root.
    pub path: PathBuf,
    pub to: SwapMax,
}

/// The result of a [`Request`].
#[derive(Clone, Debug)]
pub struct UnitAnswer {
    pub owner: Holder,
    pub asked: SwapMax,
    pub outcome: Result<HeldLimit, SystemdError>,
}

/// The reason why systemd does not hold a limit.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SystemdError {
    #[error("cannot reach systemd at {path}: {source}")]
    Unreachable {
        path: PathBuf,
        #[source]
        source: zbus::Error,
    },
    #[error("systemd refused {PROPERTY}={to} for {unit}: {source}")]
    Refused {
        to: SwapMax,
        unit: Arc<str>,
        #[source]
        source: zbus::Error,
    },
}

/// systemd now holds the limit, or the cgroup no longer exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeldLimit {
    Already,
    Instead { of: SwapMax },
    UnitGone,
}

/// Serves requests until all senders are gone. Of several requests for one owner, the last applies.
pub async fn serve(
    roots: Roots,
    mut requests: mpsc::UnboundedReceiver<UnitRequest>,
    answers: mpsc::UnboundedSender<UnitAnswer>,
) {
    let path = roots.system_bus();
    let mut connection: Option<Connection> = None;
    let mut waiting: BTreeMap<Holder, UnitRequest> = BTreeMap::new();
    let mut working: BTreeMap<Holder, Arc<str>> = BTreeMap::new();
    let mut calls: FuturesUnordered<BoxFuture<'static, (UnitAnswer, bool)>> =
        FuturesUnordered::new();
    loop {
        tokio::select! {
            request = requests.recv() => match request {
                Some(request) => { waiting.insert(request.owner.clone(), request); }
                None => return,
            },
            Some((answer, connected)) = calls.next() => {
                working.remove(&answer.owner);
                if !connected {
                    connection = None;
                }
                let _ = answers.send(answer);
            },
        }
        while calls.len() < IN_FLIGHT {
            let idle = waiting.keys().find(|owner| !working.contains_key(*owner)).cloned();
            let Some(owner) = idle else { break };
            let Some(request) = waiting.remove(&owner) else { break };
            if connection.is_none() {
                match bus::connect(&path).await {
                    Ok(new) => connection = Some(new),
                    Err(source) => {
                        let path = roots.shown(&path).into_owned();
                        let error = SystemdError::Unreachable { path, source };
                        fail(request, &error, &answers);
                        std::mem::take(&mut waiting)
                            .into_values()
                            .for_each(|request| fail(request, &error, &answers));
                        break;
                    }
                }
            }
            if let Some(connection) = connection.clone() {
                working.insert(owner, request.unit.clone());
                calls.push(Box::pin(call(connection, roots.cgroup(), request)));
            }
        }
    }
}

/// Sends the requests once, without an agent.
pub async fn hold(roots: &Roots, requests: &[UnitRequest]) -> zbus::Result<()> {
    if requests.is_empty() {
        return Ok(());
    }
    let connection = bus::connect(&roots.system_bus()).await?;
    for request in requests {
        match ensure(&connection, &roots.cgroup(), request).await {
            Err(error) if bus::is_broken(&error) => return Err(error),
            // The unit is gone, or the next agent asks again.
            _ => {}
        }
    }
    Ok(())
}

fn fail(request: UnitRequest, error: &SystemdError, answers: &mpsc::UnboundedSender<UnitAnswer>) {
    let UnitRequest { owner, to, .. } = request;
    let _ = answers.send(UnitAnswer { owner, asked: to, outcome: Err(error.clone()) });
}

/// Returns the answer, and true if the connection is still usable.
async fn call(connection: Connection, root: PathBuf, request: UnitRequest) -> (UnitAnswer, bool) {
    let result = ensure(&connection, &root, &request).await;
    let connected = !result.as_ref().is_err_and(bus::is_broken);
    let outcome = match result {
        Ok(held) => Ok(held),
        Err(error) if bus::is_unit_gone(&error) => Ok(HeldLimit::UnitGone),
        Err(source) => {
            Err(SystemdError::Refused { to: request.to, unit: request.unit.clone(), source })
        }
    };
    (UnitAnswer { owner: request.owner, asked: request.to, outcome }, connected)
}

/// Reads the property, and sets it if it differs.
async fn ensure(
    connection: &Connection,
    root: &Path,
    request: &UnitRequest,
) -> zbus::Result<HeldLimit> {
    let UnitRequest { unit, path, to, .. } = request;
    let interface = if unit.ends_with(".slice") { "Slice" } else { "Scope" };
    // A query makes systemd load the slice, even if it does not exist.
    if !root.join(path).is_dir() {
        return Ok(HeldLimit::UnitGone);
    }
    let of_unit = async || -> zbus::Result<SwapMax> {
        let value = bus::get(connection, unit, interface, PROPERTY).await?;
        Ok(SwapMax::from_systemd(u64::try_from(value)?))
    };
    let found = of_unit().await?;
    if found == *to {
        return Ok(HeldLimit::Already);
    }
    let oom_group = OomGroup::of(&root.join(path));
    bus::set(connection, unit, &[(PROPERTY, Value::U64(to.to_systemd()))]).await?;
    // systemd answers a change before it writes to the cgroup, but answers the next query after
    // that.
    of_unit().await?;
    oom_group.restore();
    if interface == "Slice" && !root.join(path).is_dir() {
        // The cgroup disappeared meanwhile, so that the property would stay behind until the next
        // boot.
        bus::revert(connection, unit).await?;
        return Ok(HeldLimit::UnitGone);
    }
    Ok(HeldLimit::Instead { of: found })
}

/// `memory.oom.group` of a scope. The kubelet has the runtime set it to 1, so that the kernel kills
/// a container as a whole (KEP-2400). systemd 252 does not support it and writes 0 with each
/// property.
struct OomGroup(Option<(PathBuf, String)>);

impl OomGroup {
    fn of(cgroup: &Path) -> Self {
        let file = cgroup.join("memory.oom.group");
        let text = fs::read_to_string(&file).ok();
        Self(text.map(|text| (file, text)))
    }

    /// Restores the value; a cgroup that is gone needs none.
    fn restore(self) {
        let Some((file, before)) = self.0 else { return };
        if fs::read_to_string(&file).is_ok_and(|now| now != before)
            && let Err(error) = fs::write(&file, before.trim_end())
            && !is_gone(&error)
        {
            messages::SystemdNotTold.emit(format_args!("cannot write {}: {error}", file.display()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_bus_that_is_not_there_fails_every_request() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::at(folder.path());
        let bus = roots.system_bus();
        let (send, requests) = mpsc::unbounded_channel();
        let (answers, mut receive) = mpsc::unbounded_channel();
        for digit in ["1", "2"] {
            let container = crate::model::pod::ContainerId::new(&digit.repeat(64)).unwrap();
            send.send(UnitRequest {
                owner: container.into(),
                unit: "x.scope".into(),
                path: "x.scope".into(),
                to: SwapMax::ZERO,
            })
            .unwrap();
        }
        drop(send);
        serve(roots, requests, answers).await;
        let mut failed = 0;
        while let Some(answer) = receive.recv().await {
            assert!(answer.outcome.unwrap_err().to_string().contains(&bus.display().to_string()));
            failed += 1;
        }
        assert_eq!(failed, 2);
    }

    #[test]
    fn what_systemd_has_changed_beside_the_limit_is_put_back() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("memory.oom.group");
        OomGroup::of(folder.path()).restore();
        assert!(!file.exists(), "a kernel without it");
        for (before, after) in [("1\n", "0\n"), ("0\n", "0\n")] {
            fs::write(&file, before).unwrap();
            let oom_group = OomGroup::of(folder.path());
            fs::write(&file, after).unwrap();
            oom_group.restore();
            assert_eq!(fs::read_to_string(&file).unwrap().trim(), before.trim());
        }
    }
}
