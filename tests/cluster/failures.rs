//! What docs/reliability.md promises, on real parts: API server, controllers and scheduler, the program `vkc` under the
//! rights of its own service account, and the emulator over TLS. Each file is a row of its table, or a few.

mod clusters;
mod compaction;
mod edits;
mod lists;
mod names;
mod pending;
mod still;
