//! What panels ask for: they read state and put their wishes here; `app/commands.rs` carries them out.

use eframe::egui::{Id, Response};
use wordbrush_engine::api::RegionId;

use crate::{
    command::AppCommand,
    document::{BackgroundField, Edit, Gesture, Label, RegionField, Target},
};

/// One wish.
#[derive(Clone, Debug)]
pub enum Intent {
    /// Do this.
    Run(AppCommand),
    /// Select a region or the background.
    Select(Target),
    /// Select, then do this.
    RunOn(Target, AppCommand),
    /// Change the document.
    Edit {
        /// The change.
        edit: Edit,
        /// Its name in the undo menu.
        label: Label,
        /// Joins the edits of one drag or one stretch of typing.
        gesture: Option<Gesture>,
    },
    /// The drag or the typing is over.
    EndGesture(Gesture),
    /// Bring back a frame of the history strip.
    RestoreFrame(u64),
    /// Keep a frame of the history strip, or let it go.
    PinFrame(u64),
    /// Paint with another model.
    LoadModel(wordbrush_engine::api::ModelChoice),
    /// Give up loading a model.
    CancelLoad,
    /// Fetch a known model, by its name.
    DownloadModel(String),
    /// Give the download up.
    CancelDownload,
    /// Ask for a model file by the system's dialog.
    BrowseModel,
    /// Begin with a sample canvas, by its place in the gallery.
    OpenSample(usize),
    /// Begin with an empty canvas.
    NewCanvas(wordbrush_engine::api::CanvasSize),
    /// Give the canvas another size.
    ResizeCanvas(wordbrush_engine::api::CanvasSize, crate::document::ResizeMode),
    /// Write the picture.
    Export(crate::dialogs::export::ExportRequest),
    /// Take a file whose path was written by hand.
    UseFile(crate::dialogs::file_path::FilePurpose, std::path::PathBuf),
    /// Ask for the export's place by the system's dialog.
    BrowseExport,
    /// Do something with the library of palettes.
    Palette(crate::dialogs::palettes::PaletteWish),
    /// Write the keys file, unless there is one, and show where it is.
    WriteKeysFile,
}

/// Collects the wishes of one frame.
#[derive(Debug, Default)]
pub struct Outbox {
    intents: Vec<Intent>,
}

impl Outbox {
    /// Adds a wish.
    pub fn push(&mut self, intent: Intent) {
        self.intents.push(intent);
    }

    /// Asks for a command.
    pub fn run(&mut self, command: AppCommand) {
        self.push(Intent::Run(command));
    }

    /// Asks for a single change.
    pub fn edit(&mut self, edit: Edit, label: impl Into<Label>) {
        self.push(Intent::Edit {
            edit,
            label: label.into(),
            gesture: None,
        });
    }

    /// Asks for a change by a control that changes continuously; what it does until [`Outbox::end_with`] is one undo
    /// step.
    pub fn edit_by(&mut self, response: &Response, edit: Edit, label: impl Into<Label>) {
        self.edit_in(response.id, edit, label);
    }

    /// As [`Outbox::edit_by`], for a control that is known by its id alone.
    pub fn edit_in(&mut self, id: Id, edit: Edit, label: impl Into<Label>) {
        let gesture = Some(Gesture(id.value()));
        self.push(Intent::Edit {
            edit,
            label: label.into(),
            gesture,
        });
    }

    /// Ends the undo step of a control if it rests now; to be called in every frame, also without a change.
    pub fn end_with(&mut self, response: &Response) {
        if response.drag_stopped() || response.lost_focus() {
            self.end_in(response.id);
        }
    }

    /// Ends the undo step of a control that is known by its id alone.
    pub fn end_in(&mut self, id: Id) {
        self.push(Intent::EndGesture(Gesture(id.value())));
    }

    /// Asks for a change of a region's property.
    pub fn region(&mut self, response: &Response, region: RegionId, field: RegionField, label: &'static str) {
        self.edit_by(response, Edit::Region(region, field), label);
    }

    /// Asks for a change of the background.
    pub fn background(&mut self, response: &Response, field: BackgroundField, label: &'static str) {
        self.edit_by(response, Edit::Background(field), label);
    }

    /// Takes the wishes.
    pub fn take(&mut self) -> Vec<Intent> {
        std::mem::take(&mut self.intents)
    }
}
