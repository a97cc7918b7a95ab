//! The panels: each reads state and puts its wishes into the [`outbox`].

pub mod history_strip;
pub mod outbox;
pub mod performance;
pub mod prompt;
pub mod regions;
pub mod status_bar;
pub mod stream;
pub mod thumbnails;
pub mod tools;
pub mod top_bar;
pub mod word_browser;
pub mod words;
