//! Scenarios.

/// Whatever is saved or exported comes back as it was.
mod round_trips;
