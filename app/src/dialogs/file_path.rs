//! A file's path by hand, for desktops without a window to choose files.

use std::path::{Path, PathBuf};

use eframe::egui;

use super::{
    buttons_ui,
    file_look::{FileLook, Found},
    path_field_ui, window_ui,
};
use crate::{
    panels::outbox::{Intent, Outbox},
    storage::canvas_format::canvas_path,
    theme::{
        icons,
        widgets::{action_button, caption, hint, primary_button},
    },
};

/// What a file is chosen for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FilePurpose {
    /// To be opened.
    Open,
    /// To be put behind the regions.
    Background,
    /// To save the project to.
    Save,
    /// To write the picture to.
    Export,
    /// To paint with.
    Model,
}

impl FilePurpose {
    /// Title of the window, its main button and that one's glyph.
    fn words(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Open => ("Open a file", "Open", icons::FOLDER_OPEN),
            Self::Background => ("Background picture", "Use picture", icons::IMAGE_PLUS),
            Self::Save => ("Save as", "Save", icons::SAVE),
            Self::Export => ("Export to", "Choose", icons::DOWNLOAD),
            Self::Model => ("Checkpoint", "Choose", icons::PACKAGE),
        }
    }
}

/// The window's state.
#[derive(Clone, Debug)]
pub struct FilePathDialog {
    purpose: FilePurpose,
    path: String,
    is_new: bool,
    look: FileLook,
}

impl FilePathDialog {
    /// Begins with a place.
    pub fn new(purpose: FilePurpose, path: &Path) -> Self {
        Self {
            purpose,
            path: path.display().to_string(),
            is_new: true,
            look: FileLook::default(),
        }
    }

    /// Draws the window; returns whether it is to be closed.
    pub fn ui(&mut self, ctx: &egui::Context, outbox: &mut Outbox) -> bool {
        let mut is_done = false;
        let (name, verb, glyph) = self.purpose.words();
        let is_closed = window_ui(ctx, name, 500.0, |ui| {
            caption(ui, "File");
            let width = ui.available_width();
            let is_confirmed = path_field_ui(ui, "File path", &mut self.path, &mut self.is_new, width);
            let is_written = matches!(self.purpose, FilePurpose::Save | FilePurpose::Export);
            let typed = PathBuf::from(self.path.trim());
            // What is really written, whatever was typed.
            let path = match self.purpose {
                FilePurpose::Save if !self.path.trim().is_empty() => canvas_path(typed.clone()),
                _ => typed.clone(),
            };
            hint(
                ui,
                if is_written {
                    "This desktop shows no window to choose files: write the path."
                } else {
                    "This desktop shows no window to choose files: write the path, or drop a file on the canvas."
                },
            );
            if path != typed {
                hint(ui, &format!("It is written as {}.", path.display()));
            }
            if is_written {
                match self.look.found(ui.ctx(), &path) {
                    Found::Nothing => {}
                    Found::File => hint(ui, "There is a file of this name; it will be replaced."),
                    Found::Folder => hint(ui, "There is a folder of this name: choose another one."),
                }
            }
            buttons_ui(ui, |ui| {
                let is_ready = !self.path.trim().is_empty();
                let button = ui
                    .add_enabled_ui(is_ready, |ui| primary_button(ui, glyph, verb))
                    .inner;
                if button.clicked() || (is_confirmed && is_ready) {
                    let path = PathBuf::from(self.path.trim());
                    outbox.push(Intent::UseFile(self.purpose, path));
                    is_done = true;
                }
                is_done |= action_button(ui, "", "Cancel").clicked();
            });
        });
        is_closed || is_done
    }
}
