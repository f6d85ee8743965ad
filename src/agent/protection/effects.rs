//! The effects of the guard on systemd's units; a dry run only logs them.

use zbus::Connection;

use crate::{
    act::{DryRun, slices},
    decide::protection::PropertyChange,
    messages,
    model::{
        protection::{Reserve, SliceProperties},
        swap::human_bytes,
    },
    roots::Roots,
};

/// The effects of the guard on systemd's units.
pub(in crate::agent) trait SliceEffects: Send + Sync + 'static {
    /// Sets the properties of `slice` in `change`, and remembers `before`. Returns true if they
    /// were set.
    fn protect(
        &self,
        roots: &Roots,
        connection: &Connection,
        slice: &str,
        before: &SliceProperties,
        change: &PropertyChange,
    ) -> impl Future<Output = zbus::Result<bool>> + Send;

    /// Sets a reserve of `unit`, and remembers the value `from`.
    fn reserve(
        &self,
        roots: &Roots,
        connection: &Connection,
        unit: &str,
        what: Reserve,
        from: u64,
        to: u64,
    ) -> impl Future<Output = zbus::Result<()>> + Send;
}

/// Uses systemd.
pub(in crate::agent) struct Systemd;

impl SliceEffects for Systemd {
    async fn protect(
        &self,
        roots: &Roots,
        connection: &Connection,
        slice: &str,
        before: &SliceProperties,
        change: &PropertyChange,
    ) -> zbus::Result<bool> {
        if let Err(error) = slices::remember(roots, slice, before) {
            messages::SliceNotRemembered { slice: &slice }
                .emit(format_args!("cannot save the previous settings of {slice}: {error}"));
        }
        slices::set(connection, slice, change).await?;
        Ok(true)
    }

    async fn reserve(
        &self,
        roots: &Roots,
        connection: &Connection,
        unit: &str,
        what: Reserve,
        from: u64,
        to: u64,
    ) -> zbus::Result<()> {
        if let Err(error) = slices::remember_reserve(roots, unit, what, from) {
            messages::SliceNotRemembered { slice: &unit }
                .emit(format_args!("cannot save the previous settings of {unit}: {error}"));
        }
        slices::set_reserve(connection, unit, what, to).await?;
        let (property, from, to) = (what.property(), shown(what, from), shown(what, to));
        messages::Reserved { unit: &unit, property: &property }
            .emit(format_args!("set {property} of {unit} from {from} to {to}"));
        Ok(())
    }
}

impl SliceEffects for DryRun {
    async fn protect(
        &self,
        _roots: &Roots,
        _connection: &Connection,
        slice: &str,
        _before: &SliceProperties,
        change: &PropertyChange,
    ) -> zbus::Result<bool> {
        messages::DryRun {
            slice: Some(&slice),
            change: Some(&format_args!("{change:?}")),
            ..messages::DryRun::default()
        }
        .emit(format_args!("would protect {slice}"));
        Ok(false)
    }

    async fn reserve(
        &self,
        _roots: &Roots,
        _connection: &Connection,
        unit: &str,
        what: Reserve,
        from: u64,
        to: u64,
    ) -> zbus::Result<()> {
        let (property, from, to) = (what.property(), shown(what, from), shown(what, to));
        messages::DryRun { unit: Some(&unit), ..messages::DryRun::default() }
            .emit(format_args!("would set {property} of {unit} from {from} to {to}"));
        Ok(())
    }
}

pub(in crate::agent) fn shown(what: Reserve, value: u64) -> String {
    match (what, value) {
        (Reserve::MemoryMin, bytes) => human_bytes(bytes),
        (_, u64::MAX) => "not set".to_owned(),
        (_, weight) => weight.to_string(),
    }
}
