//! Several replicas of the operator at once, as real processes: who runs a connector's agents, and what happens when one of
//! them goes, dies, stands still or joins. What was written is read from the API server's audit log and from the emulator's
//! record of requests.

mod operator;
mod replicas;
