//! Scenarios: the app and the engine together.

mod harness;
/// Every panel and command through the accessibility tree.
mod panels;
/// Whatever is saved or exported comes back as it was.
mod round_trips;
