//! Talking to the API server: clients and their identities, time-outs and error classes, back-off, events.
//!
//! Everything above this module goes through [`call::call`], so that no request to the API server waits for ever
//! and every failure has a class.

pub mod backoff;
pub mod call;
pub mod client;
pub mod events;
pub mod identity;
pub mod namespaces;
pub mod sent;
pub mod watches;
