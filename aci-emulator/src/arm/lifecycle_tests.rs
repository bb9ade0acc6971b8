//! The life cycle, played against a clock of its own.
