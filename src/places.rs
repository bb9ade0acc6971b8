//! Who gets a connection when there are not enough for all: shared out by address, and never taken from who has proven who he is.
//!
//! Everybody who can open a connection gets a place. When they are all taken, the oldest connection of the address that has the
//! most is ended instead: whoever opens many takes from himself, and who opens one, a probe for instance, is served.

mod rule;
mod seats;

pub use self::rule::{Id, Most, Places, network};
pub use self::seats::{Seat, Seats};
