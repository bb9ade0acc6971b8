//! `virtual-kubelet-connector`: pods on Azure Container Instances.
//!
//! One operator reconciles `VirtualKubeletConnector` objects into virtual nodes, and runs every pod bound to one of
//! them as an ACI container group. Dependencies between the modules point one way:
//! `api, azure <- translate <- provider <- pods <- agent <- connector <- cli`, with `node` and `kubelet` under `agent`, `kube`
//! (the client factory) beside `azure`, and `registry` (what images say) under `provider`. `tests/layering.rs` keeps it so.

pub mod admin;
pub mod agent;
pub mod api;
pub mod azure;
pub mod causes;
pub mod cli;
pub mod connector;
pub mod fence;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod install;
pub mod kube;
pub mod kubelet;
pub mod metrics;
pub mod net;
pub mod node;
pub mod ownership;
pub mod places;
pub mod pods;
pub mod process;
pub mod provider;
pub mod registry;
pub mod settings;
pub mod shares;
pub mod shutdown;
pub mod telemetry;
pub mod tenure;
pub mod translate;
pub mod updates;
pub mod watched;
