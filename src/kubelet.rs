//! The kubelet API of a virtual node: HTTPS, as the API server, metrics-server and Prometheus expect it of a kubelet.

pub mod api_error;
pub mod authn;
pub mod authz;
pub mod cache;
pub mod certificate;
pub mod client_ca;
mod exec_routes;
pub mod listener;
pub mod logs;
pub mod pods;
pub mod portforward;
pub mod remote;
pub mod reviews;
pub mod routes;
pub mod server;
pub mod spdy;
pub mod stats;
pub mod stream_slots;
pub mod tls;
pub mod upgrade;
pub mod websocket;

pub use certificate::Serving;
pub use logs::Texts;
pub use server::{Alive, Dependencies, Observer, Shared, run};
