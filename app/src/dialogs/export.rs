//! Writing the picture: format and place.

use std::path::{Path, PathBuf};

use eframe::egui;

use super::{
    buttons_ui, error_ui,
    file_look::{FileLook, Found},
    path_field_ui, window_ui,
};
use crate::{
    panels::outbox::{Intent, Outbox},
    theme::{
        icons,
        widgets::{COUNT, action_button, caption, hint, primary_button, segmented, slider_row},
    },
};

/// Quality of JPEG and WebP pictures unless told otherwise.
const QUALITY: u8 = 92;

/// What the picture is written as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExportFormat {
    /// Lossless.
    #[default]
    Png,
    /// Small, for photographs.
    Jpeg,
    /// Smallest, for photographs.
    WebP,
    /// Layers for other painting programs.
    OpenRaster,
    /// A folder with one grey PNG per region and one with their colours.
    Masks,
    /// The brushes without masks, as the authors' demos read them.
    Palette,
}

impl ExportFormat {
    /// The ending of its files.
    pub fn ending(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Jpeg => "jpg",
            Self::WebP => "webp",
            Self::OpenRaster => "ora",
            Self::Masks => "",
            Self::Palette => "json",
        }
    }

    /// Whether there must be a picture to be written.
    fn needs_picture(self) -> bool {
        !matches!(self, Self::Masks | Self::Palette)
    }

    /// What to say about the place that it is written to; an error where it cannot be.
    fn told_of(self, found: Found) -> Result<&'static str, &'static str> {
        match (self, found) {
            (_, Found::Nothing) => Ok(self.contents()),
            (Self::Masks, Found::Folder) => Ok(
                "There is a folder of this name; pictures in it that are called like these will be replaced.",
            ),
            (Self::Masks, Found::File) => {
                Err("There is a file of this name, and masks need a folder. Choose another name.")
            }
            (_, Found::File) => Ok("There is a file of this name; it will be replaced."),
            (_, Found::Folder) => Err("There is a folder of this name. Choose another one."),
        }
    }

    /// What is kept in such a file, for the hint below its name.
    fn contents(self) -> &'static str {
        match self {
            Self::Masks => "A folder: one grey PNG per region, and colours.png with all of them.",
            Self::Palette => "Words and strengths of the regions, for the demos; masks are not in it.",
            _ => "Prompts, masks and seed are kept inside, so that the file can be opened again.",
        }
    }

    /// A file's name for this format: with another one's ending exchanged, and with this one's if it has none that is
    /// known. "my.castle" has none.
    fn name_for(self, path: &Path) -> PathBuf {
        let Some(name) = path.file_name() else {
            return path.to_owned();
        };
        if Self::of(path).is_some() {
            return path.with_extension(self.ending());
        }
        if self.ending().is_empty() {
            return path.to_owned();
        }
        let mut name = name.to_owned();
        name.push(".");
        name.push(self.ending());
        path.with_file_name(name)
    }

    /// The format that a file's name asks for.
    pub fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "png" => Some(Self::Png),
            "jpg" | "jpeg" => Some(Self::Jpeg),
            "webp" => Some(Self::WebP),
            "ora" => Some(Self::OpenRaster),
            "json" => Some(Self::Palette),
            _ => None,
        }
    }
}

/// What is to be written where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportRequest {
    /// As what.
    pub format: ExportFormat,
    /// Where.
    pub path: PathBuf,
    /// Of JPEG and WebP, 1 to 100.
    pub quality: u8,
}

/// Where the picture on screen stands to what is painted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PictureState {
    /// There is none.
    Missing,
    /// The newest edits are not in it.
    Behind,
    /// It shows every edit.
    UpToDate,
}

/// The window's state.
#[derive(Clone, Debug)]
pub struct ExportDialog {
    format: ExportFormat,
    path: String,
    quality: u8,
    /// The field of the path gets the keyboard at the first look.
    is_new: bool,
    look: FileLook,
}

impl ExportDialog {
    /// Begins with a place to write to.
    pub fn new(path: &Path) -> Self {
        Self {
            format: ExportFormat::of(path).unwrap_or_default(),
            path: path.display().to_string(),
            quality: QUALITY,
            is_new: true,
            look: FileLook::default(),
        }
    }

    /// Begins with what was asked for before.
    pub fn again(request: &ExportRequest) -> Self {
        Self {
            format: request.format,
            quality: request.quality,
            ..Self::new(&request.path)
        }
    }

    /// Takes the place that was chosen in the system's dialog.
    pub fn set_path(&mut self, path: &Path) {
        if let Some(format) = ExportFormat::of(path) {
            self.format = format;
        }
        self.path = path.display().to_string();
    }

    /// What is written where: a name that says what it is decides, another one gets its ending.
    fn request(&self) -> ExportRequest {
        let typed = Path::new(self.path.trim());
        let (format, path) = match ExportFormat::of(typed) {
            Some(format) => (format, typed.to_owned()),
            None => (self.format, self.format.name_for(typed)),
        };
        ExportRequest {
            format,
            path,
            quality: self.quality,
        }
    }

    /// Draws the window; returns whether it is to be closed.
    pub fn ui(&mut self, ctx: &egui::Context, picture: PictureState, outbox: &mut Outbox) -> bool {
        let mut is_done = false;
        let mut is_confirmed = false;
        let is_closed = window_ui(ctx, "Export picture", 560.0, |ui| {
            caption(ui, "Format");
            let formats = [
                (
                    ExportFormat::Png,
                    "PNG",
                    "Lossless; restores the canvas when it is dropped back in.",
                ),
                (ExportFormat::Jpeg, "JPEG", "Small; restores the canvas, too."),
                (
                    ExportFormat::WebP,
                    "WebP",
                    "Smallest, or lossless at quality 100; restores the canvas, too.",
                ),
                (
                    ExportFormat::OpenRaster,
                    "OpenRaster",
                    "Layers that Krita, GIMP and MyPaint open.",
                ),
                (ExportFormat::Masks, "Masks", "One grey picture per region."),
                (ExportFormat::Palette, "Palette", "The brushes, for the demos."),
            ];
            if segmented(ui, "Format", &mut self.format, &formats) {
                let path = self.format.name_for(Path::new(self.path.trim()));
                self.path = path.display().to_string();
            }
            ui.add_space(8.0);
            if matches!(self.format, ExportFormat::Jpeg | ExportFormat::WebP) {
                let mut quality = f32::from(self.quality);
                let hint_text = "How much of the picture is kept; the file grows with it.";
                slider_row(ui, "Quality", hint_text, &mut quality, 1.0..=100.0, COUNT);
                self.quality = quality.round().clamp(1.0, 100.0) as u8;
                ui.add_space(8.0);
            }
            caption(ui, "File");
            ui.horizontal(|ui| {
                let width = ui.available_width() - 104.0;
                is_confirmed = path_field_ui(ui, "Export file", &mut self.path, &mut self.is_new, width);
                // The choice above shows what the name asks for.
                self.format = self.request().format;
                if action_button(ui, icons::FOLDER_OPEN, "Browse…").clicked() {
                    outbox.push(Intent::BrowseExport);
                }
            });
            let request = self.request();
            if request.path != Path::new(self.path.trim()) {
                let name = request.path.file_name().unwrap_or_default();
                hint(ui, &format!("It is written as {}.", name.to_string_lossy()));
            }
            let place = self.format.told_of(self.look.found(ui.ctx(), &request.path));
            match place {
                Ok(text) => hint(ui, text),
                Err(text) => error_ui(ui, text),
            }
            let needs_picture = self.format.needs_picture();
            let has_contents = picture != PictureState::Missing || !needs_picture;
            let is_possible = has_contents && place.is_ok();
            if needs_picture && picture == PictureState::Behind {
                hint(
                    ui,
                    "The newest edits are not in the picture yet. Let the stream run until it shows them.",
                );
            }
            if !has_contents {
                error_ui(
                    ui,
                    "There is no picture yet. Let the stream run for a moment, or choose a model.",
                );
            }
            buttons_ui(ui, |ui| {
                let is_ready = is_possible && !self.path.trim().is_empty();
                let export = ui
                    .add_enabled_ui(is_ready, |ui| primary_button(ui, icons::DOWNLOAD, "Export"))
                    .inner;
                if export.clicked() || (is_confirmed && is_ready) {
                    outbox.push(Intent::Export(request));
                    is_done = true;
                }
                is_done |= action_button(ui, "", "Cancel").clicked();
            });
        });
        is_closed || is_done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_the_name_says() {
        for (chosen, typed, format, path) in [
            (ExportFormat::Png, "castle.jpg", ExportFormat::Jpeg, "castle.jpg"),
            (
                ExportFormat::Png,
                "castle.ORA",
                ExportFormat::OpenRaster,
                "castle.ORA",
            ),
            (ExportFormat::Png, " castle ", ExportFormat::Png, "castle.png"),
            (
                ExportFormat::WebP,
                "a/my.castle",
                ExportFormat::WebP,
                "a/my.castle.webp",
            ),
            (ExportFormat::Png, ".png", ExportFormat::Png, ".png.png"),
            (ExportFormat::Masks, "my.castle", ExportFormat::Masks, "my.castle"),
            (
                ExportFormat::Palette,
                "castle",
                ExportFormat::Palette,
                "castle.json",
            ),
            (ExportFormat::Png, "..", ExportFormat::Png, ".."),
        ] {
            let dialog = ExportDialog {
                format: chosen,
                path: typed.to_owned(),
                ..ExportDialog::new(Path::new("a.png"))
            };
            let request = dialog.request();
            assert_eq!(
                (request.format, request.path.as_path()),
                (format, Path::new(path)),
                "{typed}"
            );
        }
    }

    #[test]
    fn masks_go_into_a_folder_and_everything_else_into_a_file() {
        for (format, found, is_possible) in [
            (ExportFormat::Masks, Found::Folder, true),
            (ExportFormat::Masks, Found::File, false),
            (ExportFormat::Png, Found::File, true),
            (ExportFormat::Png, Found::Folder, false),
        ] {
            let told = format.told_of(found);
            assert_eq!(told.is_ok(), is_possible, "{format:?} {found:?}");
            assert_ne!(told, Ok(format.contents()), "{format:?} {found:?}");
        }
    }

    #[test]
    fn another_format_exchanges_a_known_ending_only() {
        for (format, path, expected) in [
            (ExportFormat::Jpeg, "my.castle", "my.castle.jpg"),
            (ExportFormat::Jpeg, "my.castle.png", "my.castle.jpg"),
            (ExportFormat::Masks, "my.castle.png", "my.castle"),
            (ExportFormat::Masks, "my.castle", "my.castle"),
            (ExportFormat::Png, "", ""),
        ] {
            assert_eq!(format.name_for(Path::new(path)), Path::new(expected));
        }
    }
}
