//! The kubelet API of a virtual node: HTTPS, as the API server, metrics-server and Prometheus expect it of a kubelet.

pub mod authn;
pub mod authz;
pub mod cache;
pub mod certificate;
pub mod client_ca;
pub mod listener;
pub mod logs;
pub mod pods;
pub mod refusal;
pub mod routes;
pub mod server;
pub mod stats;
pub mod tls;

pub use certificate::Serving;
pub use server::{Dependencies, Observer, Shared, run};
