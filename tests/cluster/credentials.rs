//! Every kind of credential through real parts: API server and controllers, the program `vkc` under its service account,
//! the emulator's token endpoint over TLS and its metadata service over plain HTTP.

mod canary;
mod expiry;
mod kinds;
mod rotation;
mod stage;
