//! Pure decisions: functions of settings, snapshot, state and time. Nothing here does IO.

pub mod budget;
pub mod decision;
pub mod grant;
pub mod limits;
pub mod qos;
pub mod state;
