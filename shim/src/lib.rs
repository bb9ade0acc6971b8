//! The shim: what a kubelet does inside a pod and Azure Container Instances does not, done by a program in the container group.
//!
//! The first init container copies it into a volume that the containers mount; their commands become `shim run`. What it is to do
//! stands in a file, [`spec::Spec`], which comes as a volume of the container's own: nothing secret is on a command line. What changes
//! in volumes later comes in a [`session`], as do the commands of people.
//!
//! [`spec`], [`session`], [`plan`], [`users`] and [`message`] are pure; [`place`], [`volumes`], [`rights`], [`address`] and [`process`]
//! make system calls.

pub mod message;
pub mod plan;
pub mod session;
pub mod spec;
pub mod users;

#[cfg(all(target_os = "linux", feature = "program"))]
pub mod address;
#[cfg(all(target_os = "linux", feature = "program"))]
pub mod place;
#[cfg(all(target_os = "linux", feature = "program"))]
pub mod process;
#[cfg(all(target_os = "linux", feature = "program"))]
pub mod rights;
#[cfg(all(target_os = "linux", feature = "program"))]
pub mod volumes;
