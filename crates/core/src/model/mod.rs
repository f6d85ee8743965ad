//! Plain data that the stages pass to each other, without IO or policy.

pub mod check;
pub mod failure;
pub mod guest;
pub mod history;
pub mod hook;
pub mod host;
pub mod kubelet;
pub mod obstacles;
pub mod plain;
pub mod pod;
pub mod policy;
pub mod pressure;
pub mod program;
pub mod protection;
pub mod published;
pub mod quantity;
pub mod reclaim;
pub mod rivals;
pub mod runtime;
pub mod storage;
pub mod suspend;
pub mod swap;
pub mod swap_header;
pub mod trouble;
pub mod watermarks;
pub mod words;
