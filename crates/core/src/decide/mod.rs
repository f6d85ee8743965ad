//! Pure decisions: functions of settings, snapshot, state and time. Nothing here does IO.

pub mod budget;
pub mod check;
pub mod decision;
pub mod estimate;
pub mod evict;
pub mod grant;
pub mod guard;
pub mod guests;
pub mod history;
pub mod hook;
pub mod kubelet;
pub mod kubelet_swap;
pub mod limits;
pub mod pod_limit;
pub mod pods;
pub mod protection;
pub mod provision;
pub mod qos;
pub mod rivals;
pub mod state;
pub mod tunables;
pub mod watermarks;
pub mod what_if;
