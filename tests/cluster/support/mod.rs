//! What the tests of this binary share.

pub(crate) mod fixture;
pub(crate) mod site;
pub(crate) mod tools;
pub(crate) mod wait;
pub(crate) mod watching;
