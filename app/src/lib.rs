//! Wordbrush, the app: a library, so that tests can build it, and a thin binary.
//!
//! ```text
//!  canvas ──▶ paint ──▶ document ──▶ storage
//!    ▲          panels ──▶ outbox ──▶ app::commands ──▶ history
//!    └── engine_link ◀── app (logic, ui)
//! ```
//!
//! What fails is shown once: by a notification with a way out ([`notifications`]), in the window that asked for it
//! (model, export), or as the freshness light where the stream itself stands still.

pub mod app;
pub mod background_tasks;
pub mod canvas;
pub mod cli;
pub mod command;
mod counted;
pub mod dialogs;
pub mod document;
pub mod engine_link;
pub mod kept_frames;
pub mod keymap;
pub mod models_store;
pub mod notifications;
pub mod paint;
pub mod panels;
pub mod samples;
pub mod storage;
pub mod theme;
pub mod window;
