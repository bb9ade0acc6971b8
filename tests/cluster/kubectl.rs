//! `kubectl exec`, `attach`, `cp` and `port-forward` through real parts: kubectl, API server, the program `vkc`, and the
//! emulator, whose containers are a real `/bin/sh` on a real terminal.

mod attach;
mod client;
mod exec;
mod ports;
