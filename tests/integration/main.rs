//! Scenarios: the app and the engine together.
#![expect(
    clippy::unwrap_used,
    reason = "a scenario that cannot go on is a failed one, also in its helpers"
)]

/// The rules of the architecture, read off the sources.
mod architecture;
/// Every command: by key, by the palette, by its window.
mod commands;
/// What survives when the program is killed, the disk is full, or a folder is read-only.
mod crashes;
/// Models are fetched whole or not at all, whatever the server does.
mod downloads;
/// What becomes of a file that is dropped on the window.
mod drops;
/// Frames of the history strip, on disk and after a crash.
mod frames;
mod harness;
/// Files of every version of the format open as the canvas they were written from.
mod old_files;
/// Small pictures of panels, compared with committed ones.
mod panel_pictures;
/// Every panel and command through the accessibility tree.
mod panels;
/// Every reader survives every input.
mod readers;
/// What other programs read of ours.
mod readers_of_others;
/// Recorded strokes give the masks they are known for.
mod recordings;
/// Whatever is saved or exported comes back as it was.
mod round_trips;
/// What becomes of settings files that somebody has changed by hand.
mod settings;
