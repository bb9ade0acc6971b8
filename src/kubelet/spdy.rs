//! SPDY/3.1 as Kubernetes speaks it: the server's side of one connection.
//!
//! Clients of exec, attach and port-forward use a part of the protocol (SPDY draft 3.1): streams that the client opens,
//! their data, half-close, reset, ping and goaway. Nobody sends or heeds window updates, so windows are infinite here
//! too: what holds a fast client back is that we stop reading the connection when a stream's small buffer is full.
//!
//! [`frame`] and [`headers`] are pure and take any bytes: an input that breaks a rule is an error, never a panic and
//! never more memory than the limits say. [`session`] moves them over a connection.

pub mod frame;
pub mod headers;
mod parts;
pub mod session;
mod stream;

pub use frame::{Decoder, Frame, FrameError};
pub use headers::Headers;
pub use session::{Limits, Session, SessionError, serve};
pub use stream::{Closed, Stream, StreamReader, StreamWriter};
