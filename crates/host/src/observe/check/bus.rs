//! Facts from systemd, if it answers soon.

use std::time::Duration;

use zbus::Connection;

use crate::{
    act::slices,
    bus,
    model::check::{Asked, BusFacts, UnitFacts},
    roots::Roots,
};

const PATIENCE: Duration = Duration::from_secs(10);

/// The agent's units.
const UNITS: [&str; 2] = ["wasp-agent.service", "wasp-swap.service"];

pub(super) async fn facts(roots: &Roots) -> Asked<BusFacts> {
    let path = roots.system_bus();
    let failed = |why: &dyn std::fmt::Display| {
        Asked::Failed(format!("cannot reach systemd at {}: {why}", path.display()))
    };
    let asked = async {
        let connection = bus::connect(&path).await?;
        let mut facts =
            BusFacts { oomd: slices::oomd_above_pods(&connection, roots).await, units: [].into() };
        for name in UNITS {
            facts.units.insert(name, unit(&connection, name).await?);
        }
        zbus::Result::Ok(facts)
    };
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(facts)) => Asked::Answered(facts),
        Ok(Err(error)) => failed(&error),
        Err(_) => failed(&format!("no answer within {} s", PATIENCE.as_secs())),
    }
}

async fn unit(connection: &Connection, name: &str) -> zbus::Result<UnitFacts> {
    let get = async |interface, property| -> zbus::Result<String> {
        let value = bus::get(connection, name, interface, property).await?;
        Ok(String::try_from(value)?)
    };
    Ok(UnitFacts {
        load: get("Unit", "LoadState").await?,
        active: get("Unit", "ActiveState").await?,
        // A unit that does not exist has none.
        status: get("Service", "StatusText").await.unwrap_or_default(),
        sub: get("Unit", "SubState").await?,
        file: get("Unit", "UnitFileState").await.unwrap_or_default(),
        result: get("Service", "Result").await.unwrap_or_default(),
        restarts: match bus::get(connection, name, "Service", "NRestarts").await {
            Ok(number) => u32::try_from(number).unwrap_or_default(),
            Err(_) => 0,
        },
    })
}
