//! Plain data that the stages hand to each other. No IO, no policy.

pub mod host;
pub mod pod;
pub mod quantity;
pub mod swap;
