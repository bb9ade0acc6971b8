//! Pods on virtual nodes through real parts: API server, controllers and scheduler, the program `vkc` under the rights
//! of its own service account, and the emulator over TLS.

mod away;
mod changes;
mod classes;
mod deadlines;
mod ends;
mod failures;
mod features;
mod gallery;
mod graceful;
mod images;
mod last_resort;
mod lasting;
mod life;
mod limits;
mod namespaces;
mod not_enforced;
mod post_start;
mod probes;
mod quiet;
mod quota;
mod references;
mod refusals;
mod requests;
mod restart;
mod secrets;
mod shapes;
mod shim;
mod unreachable;
mod volumes;
