//! A stand-in for Azure Resource Manager, Microsoft Entra ID and Azure Container Instances on one
//! TLS listener.
//!
//! It reproduces what a client of `Microsoft.ContainerInstance` has to cope with: tokens that
//! expire, the asynchronous life cycle of a container group, a LIST without instance view, paging,
//! error bodies, throttling with its headers, logs and the exec `WebSocket`. Every knob is there
//! twice: in process through [`Control`], over HTTP under `/_emulator/`.
//!
//! Beside them it is a small container registry, for what a client of ACI must read of an image.
//!
//! Nothing runs in a container, unless it is asked for ([`Run`]): the life cycle is computed from a clock when somebody looks.

use serde_json::Value;

mod admin;
mod arm;
mod clock;
mod config;
mod control;
mod due;
mod exec;
mod faults;
mod front;
mod journal;
mod logs;
mod pages;
mod record;
mod registry;
mod run;
mod server;
mod shared;
mod throttle;
mod tls;
mod token;

pub use arm::clusters::ManagedCluster;
pub use arm::network::Subnet;
pub use config::{Config, Settings};
pub use control::{Control, ControlError};
pub use faults::{Echo, Fault};
pub use journal::{Change, Kind as ChangeKind};
pub use record::{Counts, Request};
pub use registry::{Access, Image, ImagePlatform};
pub use run::{ImageError, LayerError, NetworkError, Run, RunError, ToolError};
pub use server::{Emulator, Error};
pub use token::{Exchange, Proof};

/// Whether a PUT of `body` as the container group `name` passes everything that does not depend on what is there: the
/// shape of api-version 2023-05-01 and the rules between members.
///
/// # Errors
/// Code and message of the refusal.
pub fn check_group(name: &str, body: &Value) -> Result<(), String> {
    let checked = arm::schema::check_group(body, "2023-05-01")
        .and_then(|()| arm::rules::check(name, body, &Settings::from(&Config::default())));
    checked.map_err(|error| format!("{}: {}", error.code, error.message))
}
