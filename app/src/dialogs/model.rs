//! Which model paints: the embedded one or a local checkpoint; what it is doing, and what went wrong.

use std::path::{Path, PathBuf};

use eframe::egui::{self, RichText, TextEdit, Ui};
use wordbrush_engine::{
    Error,
    api::{ModelChoice, ModelSource, ModelSummary, Phase},
};

use super::{error_ui, window_ui};
use crate::{
    background_tasks::Progress,
    engine_link::EngineLink,
    models_store::ModelState,
    panels::{
        outbox::{Intent, Outbox},
        performance::megabytes,
    },
    theme::{
        icons, palette, small, space, strong,
        widgets::{action_button, caption, card, hint, primary_button},
    },
};

/// The window's state.
#[derive(Clone, Debug, Default)]
pub struct ModelDialog {
    path: String,
}

impl ModelDialog {
    /// Takes the file that was chosen in the system's dialog.
    pub fn set_path(&mut self, path: &Path) {
        self.path = path.display().to_string();
    }

    /// Draws the window; returns whether it is to be closed.
    pub fn ui(
        &mut self,
        ctx: &egui::Context,
        link: &EngineLink,
        known: &[KnownModelRow],
        outbox: &mut Outbox,
    ) -> bool {
        window_ui(ctx, "Model", 540.0, |ui| {
            match link.summary() {
                Some(summary) => running_ui(ui, summary, link.status().device_memory_bytes),
                None => hint(ui, "No model is running yet."),
            }
            ui.add_space(space::S);
            loading_ui(ui, link, outbox);
            if let Some(error) = link.model_error() {
                error_ui(ui, &error.to_string());
                hint(ui, way_out(error));
                ui.add_space(space::S);
            }
            pocket_ui(ui, link, outbox);
            ui.add_space(space::S);
            known_models_ui(ui, known, outbox);
            self.checkpoint_ui(ui, outbox);
        })
    }

    fn checkpoint_ui(&mut self, ui: &mut Ui, outbox: &mut Outbox) {
        card(ui, |ui| {
            ui.set_width(ui.available_width());
            ui.label(RichText::new("A checkpoint on this machine").text_style(strong()));
            hint(
                ui,
                "A Stable Diffusion checkpoint (.safetensors) or a folder in diffusers layout. \
                 Best with a graphics card; nothing is uploaded or downloaded.",
            );
            caption(ui, "File or folder");
            ui.horizontal(|ui| {
                let id = egui::Id::unique("model path");
                let width = ui.available_width() - 104.0;
                ui.add(
                    TextEdit::singleline(&mut self.path)
                        .id(id)
                        .hint_text("/path/to/model.safetensors")
                        .desired_width(width),
                );
                ui.ctx()
                    .accesskit_node_builder(id, |node| node.set_label("Model path".to_owned()));
                if action_button(ui, icons::FOLDER_OPEN, "Browse…").clicked() {
                    outbox.push(Intent::BrowseModel);
                }
            });
            let is_ready = !self.path.trim().is_empty();
            if ui
                .add_enabled_ui(is_ready, |ui| {
                    primary_button(ui, icons::UPLOAD, "Load checkpoint")
                })
                .inner
                .clicked()
            {
                let source = ModelSource::Path(PathBuf::from(self.path.trim()));
                outbox.push(Intent::LoadModel(ModelChoice::plain(source)));
            }
        });
    }
}

fn running_ui(ui: &mut Ui, summary: &ModelSummary, memory_bytes: u64) {
    let colours = palette(ui);
    card(ui, |ui| {
        ui.set_width(ui.available_width());
        ui.horizontal(|ui| {
            ui.label(
                RichText::new(icons::CIRCLE_CHECK)
                    .size(18.0)
                    .color(colours.accent),
            );
            ui.label(RichText::new(&summary.name).text_style(strong()));
            ui.label(RichText::new("is painting").color(colours.text_weak));
        });
        let parameters = summary.parameters as f64 / 1e6;
        let precision = format!("{:?}", summary.precision).to_lowercase();
        let text = format!(
            "{} · {parameters:.1} million parameters · {precision} on {} · trained at {} px · {} in use",
            summary.family,
            summary.device,
            summary.native_side,
            megabytes(memory_bytes),
        );
        hint(ui, &text);
    });
}

fn loading_ui(ui: &mut Ui, link: &EngineLink, outbox: &mut Outbox) {
    let Some(choice) = link.loading() else { return };
    let (what, fraction) = match &link.status().phase {
        Phase::Loading { what, fraction } => (what.clone(), *fraction),
        _ => (name_of(choice), 0.0),
    };
    ui.horizontal(|ui| {
        ui.add(
            egui::ProgressBar::new(fraction)
                .desired_width(ui.available_width() - 100.0)
                .text(format!("Loading {what}")),
        );
        if action_button(ui, icons::X, "Cancel").clicked() {
            outbox.push(Intent::CancelLoad);
        }
    });
    ui.label(RichText::new("The present model paints on until the new one is ready.").text_style(small()));
    ui.add_space(space::S);
}

fn pocket_ui(ui: &mut Ui, link: &EngineLink, outbox: &mut Outbox) {
    let is_running = link
        .summary()
        .is_some_and(|summary| summary.choice.source == ModelSource::Pocket);
    card(ui, |ui| {
        ui.set_width(ui.available_width());
        ui.label(RichText::new("Pocket").text_style(strong()));
        let words = crate::panels::words::POCKET.words().len();
        hint(
            ui,
            &format!(
                "Built in, works offline on any processor. It knows {words} things and materials; the prompt fields complete them."
            ),
        );
        let button = ui.add_enabled_ui(!is_running, |ui| {
            action_button(
                ui,
                icons::PACKAGE,
                if is_running {
                    "In use"
                } else {
                    "Use the pocket model"
                },
            )
        });
        if button.inner.clicked() {
            outbox.push(Intent::LoadModel(ModelChoice::plain(ModelSource::Pocket)));
        }
    });
}

/// A downloadable model, as the window lists it.
#[derive(Clone, Debug)]
pub struct KnownModelRow {
    /// What it is asked for by.
    pub name: String,
    /// What is shown.
    pub title: String,
    /// Family, such as "Stable Diffusion 1.5".
    pub family: String,
    /// Licence in words.
    pub licence: String,
    /// Where the licence can be read.
    pub licence_url: String,
    /// Bytes to fetch in all; 0 if it is not known.
    pub bytes: u64,
    /// Whether it is here.
    pub state: ModelState,
    /// How to load it.
    pub choice: ModelChoice,
    /// While it is being downloaded.
    pub progress: Option<DownloadProgress>,
}

/// How far a download is.
#[derive(Clone, Debug)]
pub struct DownloadProgress {
    /// Bytes that have come.
    pub done: u64,
    /// Bytes in all; 0 if it is not known.
    pub total: u64,
    /// Why nothing comes at the moment.
    pub hindrance: Option<String>,
}

impl DownloadProgress {
    /// As the download's thread tells it.
    pub fn of(progress: &Progress) -> Self {
        let (done, total) = progress.amounts();
        Self {
            done,
            total,
            hindrance: progress.hindrance(),
        }
    }
}

fn known_models_ui(ui: &mut Ui, known: &[KnownModelRow], outbox: &mut Outbox) {
    if known.is_empty() {
        return;
    }
    card(ui, |ui| {
        ui.set_width(ui.available_width());
        ui.label(RichText::new("More models").text_style(strong()));
        hint(
            ui,
            "Fetched from the model hub when you ask for it, and kept on this machine.",
        );
        for model in known {
            ui.separator();
            known_model_ui(ui, model, outbox);
        }
    });
    ui.add_space(space::S);
}

fn known_model_ui(ui: &mut Ui, model: &KnownModelRow, outbox: &mut Outbox) {
    ui.horizontal(|ui| {
        ui.set_min_height(28.0);
        ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
            let (glyph, verb, intent) = if model.progress.is_some() {
                (icons::X, "Cancel download", Intent::CancelDownload)
            } else {
                match model.state {
                    ModelState::Present => (icons::UPLOAD, "Load", Intent::LoadModel(model.choice.clone())),
                    ModelState::Partial { .. } => (
                        icons::DOWNLOAD,
                        "Go on",
                        Intent::DownloadModel(model.name.clone()),
                    ),
                    ModelState::Missing => (
                        icons::DOWNLOAD,
                        "Download",
                        Intent::DownloadModel(model.name.clone()),
                    ),
                }
            };
            let button = action_button(ui, glyph, verb);
            // The row says which model; without the row the button must.
            let name = format!("{verb} {}", model.title);
            ui.ctx()
                .accesskit_node_builder(button.id, |node| node.set_label(name));
            if button.clicked() {
                outbox.push(intent);
            }
            ui.with_layout(egui::Layout::left_to_right(egui::Align::Center), |ui| {
                ui.add(egui::Label::new(&model.title).truncate());
            });
        });
    });
    let size = if model.bytes > 0 {
        format!(" · {}", megabytes(model.bytes))
    } else {
        String::new()
    };
    ui.horizontal_wrapped(|ui| {
        hint(ui, &format!("{}{size} · licence:", model.family));
        ui.hyperlink_to(
            RichText::new(&model.licence).text_style(small()),
            &model.licence_url,
        );
    });
    if let Some(DownloadProgress {
        done,
        total,
        hindrance,
    }) = &model.progress
    {
        let fraction = if *total > 0 {
            *done as f32 / *total as f32
        } else {
            0.0
        };
        let text = format!("{} of {}", megabytes(*done), megabytes(*total));
        ui.add(egui::ProgressBar::new(fraction).text(text));
        if let Some(hindrance) = hindrance {
            hint(ui, hindrance);
        }
    }
}

/// A model's name before it is loaded.
pub fn name_of(choice: &ModelChoice) -> String {
    match &choice.source {
        ModelSource::Pocket => "Pocket".to_owned(),
        ModelSource::Path(path) => path.file_name().map_or_else(
            || path.display().to_string(),
            |name| name.to_string_lossy().into_owned(),
        ),
        ModelSource::RandomSd15 => "Random Stable Diffusion 1.5".to_owned(),
        ModelSource::Toy => "Toy".to_owned(),
    }
}

/// What the painter can do about a model that does not load.
fn way_out(error: &Error) -> &'static str {
    match error {
        Error::MissingFile { .. } | Error::Io { .. } => {
            "Check the path, or choose the file again with Browse."
        }
        Error::InvalidFile { .. } | Error::Weight { .. } | Error::UnsupportedModel { .. } => {
            "Choose another file: Stable Diffusion 1.x, 2.x or XL as one .safetensors, or a diffusers folder. The model before goes on."
        }
        Error::OutOfMemory { .. } => "Use a smaller canvas, or go back to the pocket model.",
        Error::DeviceUnavailable { .. } => "Wordbrush goes on with the processor.",
        _ => "The model before goes on; try again or choose another.",
    }
}
