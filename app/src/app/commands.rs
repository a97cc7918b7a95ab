//! What each command and each wish does; every change of the document goes through [`History`](crate::document::History).

use std::path::PathBuf;

use eframe::egui;
use wordbrush_engine::api::{CanvasSize, Command, PictureMode, RegionId, RunState};

use super::{App, SideTab, canvases::ANOTHER_CANVAS, preferences::ThemeChoice};
use crate::{
    canvas::{Blocked, CanvasAction, OverlayMode, Tool},
    command::AppCommand,
    dialogs::{
        Dialog, canvas_size::CanvasSizeDialog, command_palette::CommandPalette, model::ModelDialog,
        palettes::PalettesDialog,
    },
    document::{BackgroundField, Document, Edit, Gesture, Label, RegionField, RegionLayer, Target},
    kept_frames::{CanvasNumber, Entry},
    notifications::{Action, Level},
    paint::MaskChange,
    panels::outbox::Intent,
    samples,
};

/// A turn of the view by one command.
const TURN: f32 = std::f32::consts::PI / 12.0;
const ZOOM_STEP: f32 = 1.25;

impl App {
    /// Carries out a wish of a panel.
    pub(super) fn run_intent(&mut self, ctx: &egui::Context, intent: Intent) {
        match intent {
            Intent::Run(command) => self.run_command(ctx, command),
            Intent::Select(target) => self.select(target),
            Intent::RunOn(target, command) => self.run_on(ctx, target, command),
            Intent::Edit { edit, label, gesture } => self.apply(edit, label, gesture),
            Intent::EndGesture(gesture) => self.history.end_gesture_of(gesture),
            Intent::RestoreFrame(number) => self.restore_frame(number),
            Intent::PinFrame(number) => self.pin_frame(number),
            Intent::LoadModel(choice) => self.link.send(Command::LoadModel(choice)),
            Intent::CancelLoad => self.link.send(Command::CancelLoad),
            Intent::DownloadModel(name) => self.download_model(ctx, &name),
            Intent::CancelDownload => self.cancel_download(),
            Intent::BrowseModel => self.files.browse_model(ctx),
            Intent::BrowseExport => self.browse_export(ctx),
            Intent::OpenSample(index) => self.once_masks_are_made(move |app| app.open_sample(index)),
            Intent::NewCanvas(size) => self.once_masks_are_made(move |app| app.new_canvas(size)),
            Intent::ResizeCanvas(size, mode) => self.begin_resize(size, mode),
            Intent::UseFile(purpose, path) => self.use_file(purpose, path),
            Intent::Export(request) => self.once_masks_are_made(move |app| app.export(&request)),
            Intent::Palette(wish) => self.run_palette_wish(wish),
            Intent::WriteKeysFile => self.write_keys_file(),
        }
    }

    /// Carries out what the painter did on the canvas.
    pub(super) fn run_canvas_action(&mut self, action: CanvasAction) {
        match action {
            CanvasAction::Edit { edit, label, gesture } => self.apply(edit, label, gesture),
            CanvasAction::ChangeMask {
                region,
                change,
                label,
            } => {
                self.begin_mask_change(region, change, label);
                self.preferences.has_painted = true;
            }
            CanvasAction::StrokeEnded { region, gesture, ink } => {
                self.note_stroke(region, gesture, &ink);
            }
            CanvasAction::EndGesture => {
                self.history.end_gesture();
                // Its picture may have been finished before the pen was lifted.
                self.record_frame();
                self.preferences.has_painted = true;
            }
            CanvasAction::TakeBack(gesture) => {
                if self.history.take_back(&mut self.document, gesture) {
                    self.after_change();
                }
            }
            CanvasAction::Select(target) => self.select(target),
            CanvasAction::SetBrushSize(size_px) => self.pen.brush.size_px = size_px,
            CanvasAction::SetBrushHardness(hardness) => self.pen.brush.hardness = hardness,
            CanvasAction::Blocked(blocked) => {
                let region = self.selected_region().map(|region| region.id);
                let way_out: Option<Action> = match blocked {
                    Blocked::NoRegion => Some(AppCommand::NewRegion.into()),
                    Blocked::Locked => region.map(unlock),
                    Blocked::Hidden => region.map(show),
                    Blocked::NoPicture => None,
                };
                self.notifications
                    .push_with_action(Level::Info, blocked.message(), way_out);
            }
        }
    }

    /// Changes the document and remembers the way back.
    pub(super) fn apply(&mut self, edit: Edit, label: impl Into<Label>, gesture: Option<Gesture>) {
        if edit.is_nothing() || edit.is_so_already(&self.document) {
            return;
        }
        self.history.apply(&mut self.document, edit, label, gesture);
        if self.history.has_no_way_forth() {
            self.canvases.forget_redo();
        }
        self.after_change();
    }

    /// Notes in the document which model paints it. That is no step of the history: to go back over it would mean to
    /// read gigabytes, and a model that cannot be loaded would stay behind.
    pub(super) fn follow_model(&mut self) {
        if let Some(summary) = self.link.summary()
            && summary.choice != self.document.model
        {
            let choice = summary.choice.clone();
            // The way back is of no use, see above.
            drop(self.document.apply(Edit::Model(choice)));
        }
    }

    /// What must follow every change of the document.
    pub(super) fn after_change(&mut self) {
        self.changes += 1;
        self.follow_model();
        self.select_what_is_there();
    }

    /// Where the selected region has gone, the painter is back at what was in hand before.
    pub(super) fn select_what_is_there(&mut self) {
        if let Target::Region(id) = self.selected
            && self.document.region(id).is_none()
        {
            self.selected = self.previous_target();
        }
    }

    pub(super) fn front_region(&self) -> Target {
        self.document
            .regions
            .last()
            .map_or(Target::Background, |region| Target::Region(region.id))
    }

    pub(super) fn select(&mut self, target: Target) {
        if target != self.selected {
            self.previously_selected = std::mem::replace(&mut self.selected, target);
            self.tab = SideTab::Regions;
        }
    }

    fn selected_region(&self) -> Option<&RegionLayer> {
        match self.selected {
            Target::Region(id) => self.document.region(id),
            Target::Background => None,
        }
    }

    /// Does a command to something that is not selected; the selection stays.
    fn run_on(&mut self, ctx: &egui::Context, target: Target, command: AppCommand) {
        let before = (self.selected, self.previously_selected);
        self.selected = target;
        self.run_command(ctx, command);
        let still_there = match before.0 {
            Target::Region(id) => self.document.region(id).is_some(),
            Target::Background => true,
        };
        if still_there && command != AppCommand::DuplicateRegion {
            (self.selected, self.previously_selected) = before;
        }
    }

    /// Carries out a command.
    pub(super) fn run_command(&mut self, ctx: &egui::Context, command: AppCommand) {
        use AppCommand as C;
        match command {
            C::NewCanvas => self.dialog = Some(Dialog::NewCanvas(CanvasSizeDialog::new(self.document.size))),
            C::CanvasSize => {
                self.dialog = Some(Dialog::CanvasSize(CanvasSizeDialog::new(self.document.size)));
            }
            C::Open => self.browse_open(ctx),
            C::Gallery => self.dialog = Some(Dialog::Gallery),
            C::Save => {
                let ctx = ctx.clone();
                self.once_masks_are_made(move |app| app.save(&ctx));
            }
            C::SaveAs => self.browse_save(ctx),
            C::Export => self.dialog = Some(Dialog::Export(self.export_dialog())),
            C::Quit => {
                let ctx = ctx.clone();
                self.once_masks_are_made(move |_| ctx.send_viewport_cmd(egui::ViewportCommand::Close));
            }
            C::Undo => self.undo(),
            C::Redo => self.redo(),
            C::BackgroundImage => self.browse_background(ctx),
            C::CopyPicture => self.copy_picture(),
            C::PasteBackground => self.paste_background(),
            // Without one there is nothing to do, nor to be undone.
            C::RemoveBackgroundImage if self.document.background.image.is_none() => {}
            C::RemoveBackgroundImage => {
                self.apply(
                    Edit::Background(BackgroundField::Image(None)),
                    "Remove background picture",
                    None,
                );
            }
            C::Settings => self.dialog = Some(Dialog::Settings),
            C::NewRegion => self.new_region(),
            C::Palettes => {
                self.look_for_palettes();
                self.dialog = Some(Dialog::Palettes(PalettesDialog::default()));
            }
            C::DuplicateRegion => self.duplicate_region(),
            C::RenameRegion => self.rename_region(),
            C::DeleteRegion => self.delete_region(),
            C::RaiseRegion => self.move_region(1),
            C::LowerRegion => self.move_region(-1),
            C::ToggleVisible => self.change_region("Show or hide region", |region| {
                RegionField::Visible(!region.visible)
            }),
            C::ToggleLock => self.change_region("Lock or unlock region", |region| {
                RegionField::Locked(!region.locked)
            }),
            C::Solo => self.solo(),
            C::RerollRegion => {
                let seed = self.seeds.draw();
                self.change_region("Reroll region", |_| RegionField::Seed(Some(seed)));
            }
            C::SwapRegions => self.select(self.previous_target()),
            C::SelectRegion(number) => self.select_place(number),
            C::SelectBackground => self.select(Target::Background),
            C::ToolBrush => self.pen.tool = Tool::Brush,
            C::ToolEraser => {
                let is_on = self.pen.tool == Tool::Eraser;
                self.pen.tool = if is_on { Tool::Brush } else { Tool::Eraser };
            }
            C::ToolFill => self.pen.tool = Tool::Fill,
            C::ToolRectangle => self.pen.tool = Tool::Rectangle,
            C::ToolEllipse => self.pen.tool = Tool::Ellipse,
            C::ToolLasso => self.pen.tool = Tool::Lasso,
            C::ToolPick => self.pen.tool = Tool::Pick,
            C::BrushLarger | C::BrushSmaller => {
                let steps = if command == C::BrushLarger { 1 } else { -1 };
                let brush = &mut self.pen.brush;
                brush.size_px = brush.stepped_size(steps);
            }
            C::BrushHarder | C::BrushSofter => {
                let step = if command == C::BrushHarder { 0.1 } else { -0.1 };
                let brush = &mut self.pen.brush;
                brush.hardness = (brush.hardness + step).clamp(0.0, 1.0);
            }
            C::ClearMask => self.change_mask("Clear mask", MaskChange::Clear),
            C::FillMask => self.change_mask("Cover the whole canvas", MaskChange::Cover),
            C::InvertMask => self.change_mask("Invert mask", MaskChange::Invert),
            C::GrowMask => {
                let change = MaskChange::Grow(self.preferences.mask_edge.grow());
                self.change_mask("Grow mask", change);
            }
            C::ShrinkMask => {
                let change = MaskChange::Shrink(self.preferences.mask_edge.grow());
                self.change_mask("Shrink mask", change);
            }
            C::FeatherMask => {
                let change = MaskChange::Feather(self.preferences.mask_edge.feather());
                self.change_mask("Feather mask", change);
            }
            C::MaskEdge => self.dialog = Some(Dialog::MaskEdge),
            C::Deselect => self.canvas.cancel_shape(),
            C::ToggleRun => {
                let run = match self.link.run_state() {
                    RunState::Running => RunState::Paused,
                    RunState::Paused => RunState::Running,
                };
                self.link.send(Command::Run(run));
            }
            C::Step => self.link.send(Command::Step),
            C::ToggleDream => {
                let mut settings = self.document.settings.clone();
                settings.picture = match settings.picture {
                    PictureMode::Held => PictureMode::Dream,
                    PictureMode::Dream => PictureMode::Held,
                };
                self.apply(Edit::Settings(settings), "Hold or dream", None);
            }
            C::RerollAll => {
                let seed = self.seeds.draw();
                self.apply(Edit::Seed(seed), "Reroll the canvas", None);
            }
            C::KeepFrame => self.keep_frame(),
            C::ModelWindow => {
                self.look_for_models();
                self.dialog = Some(Dialog::Model(ModelDialog::default()));
            }
            C::ZoomIn => self.canvas.zoom_by(ZOOM_STEP),
            C::ZoomOut => self.canvas.zoom_by(1.0 / ZOOM_STEP),
            C::ZoomFit => self.canvas.fit(),
            C::ZoomActual => self.canvas.actual_size(),
            C::RotateLeft => self.canvas.rotate_by(-TURN),
            C::RotateRight => self.canvas.rotate_by(TURN),
            C::ResetRotation => self.canvas.reset_rotation(),
            C::MirrorView => self.canvas.toggle_mirror(),
            C::CycleView => self.pen.next_layout(),
            C::CycleOverlay => {
                let mode = &mut self.pen.display.overlay_mode;
                *mode = match *mode {
                    OverlayMode::Filled => OverlayMode::Outlines,
                    OverlayMode::Outlines => OverlayMode::Off,
                    OverlayMode::Off => OverlayMode::Filled,
                };
            }
            C::HideUi => {
                self.hides_ui = !self.hides_ui;
                self.drops_focus = true;
            }
            C::TogglePerformance => self.preferences.shows_performance = !self.preferences.shows_performance,
            C::ToggleHistory => self.preferences.shows_history = !self.preferences.shows_history,
            C::ToggleTheme => {
                let is_dark = ctx.theme() == egui::Theme::Dark;
                self.preferences.theme = if is_dark {
                    ThemeChoice::Light
                } else {
                    ThemeChoice::Dark
                };
            }
            C::ScaleUp => self.preferences.scale = (self.preferences.scale + 0.25).min(2.0),
            C::ScaleDown => self.preferences.scale = (self.preferences.scale - 0.25).max(0.75),
            C::CommandPalette => self.dialog = Some(Dialog::CommandPalette(CommandPalette::default())),
            C::Help => self.dialog = Some(Dialog::Help),
            C::FocusPanels => self.focus_panels(),
        }
    }

    fn undo(&mut self) {
        // A stroke under the hand is what was done last: it ends, and only what it changed is taken back.
        let stroke = self.canvas.abandon_stroke();
        if stroke.is_some_and(|stroke| !self.history.is_of_newest(stroke)) {
            return;
        }
        if stroke.is_none() && self.mask_work.take_back(self.history.newest()) {
            // The newest change was not part of the document yet.
            return;
        }
        if self.history.undo_label() == Some(ANOTHER_CANVAS) {
            if !self.mask_work.is_idle() {
                // What is made first is then the newest.
                self.once_masks_are_made(Self::undo);
                return;
            }
            self.leave_canvas();
        }
        match self.history.undo(&mut self.document) {
            Some(label) => {
                self.after_change();
                if label == ANOTHER_CANVAS {
                    self.canvases.undo();
                    self.return_to_canvas();
                }
            }
            None => self.notifications.push(Level::Info, "There is nothing to undo."),
        }
    }

    fn redo(&mut self) {
        // A stroke lays its tiles over the mask that it began on, which must stay that one.
        if self.canvas.has_stroke() {
            return;
        }
        if self.history.redo_label() == Some(ANOTHER_CANVAS) {
            if !self.mask_work.is_idle() {
                self.once_masks_are_made(Self::redo);
                return;
            }
            self.leave_canvas();
        }
        match self.history.redo(&mut self.document) {
            Some(label) => {
                self.after_change();
                if label == ANOTHER_CANVAS {
                    self.canvases.redo();
                    self.return_to_canvas();
                }
            }
            None => self.notifications.push(Level::Info, "There is nothing to redo."),
        }
    }

    fn new_region(&mut self) {
        let (id, mut edit) = Edit::new_region(&self.document, "");
        if let Edit::AddRegion { region, .. } = &mut edit {
            region.mask_std_px *= self.enlargement();
        }
        self.apply(edit, "New region", None);
        self.select(Target::Region(id));
        // Where panels are hidden, the prompt would take the keyboard whenever they are shown again.
        self.hides_ui = false;
        self.wants_prompt_focus = true;
    }

    /// How many times larger the canvas is than what the model computes of it. An edge that is soft to the painter must be so
    /// to the model, or objects keep the white that they are formed on.
    fn enlargement(&self) -> f32 {
        let side = (self.document.size.area() as f32).sqrt();
        let largest = self
            .link
            .summary()
            .map_or(side, |model| model.largest_side as f32);
        (side / largest).max(1.0)
    }

    fn duplicate_region(&mut self) {
        let Target::Region(id) = self.selected else {
            self.say_select_a_region();
            return;
        };
        if let Some((copy, edit)) = Edit::duplicate_region(&self.document, id) {
            self.apply(edit, "Duplicate region", None);
            self.select(Target::Region(copy));
        }
    }

    fn rename_region(&mut self) {
        let Target::Region(id) = self.selected else {
            self.say_select_a_region();
            return;
        };
        if let Some(region) = self.document.region(id) {
            self.regions.rename(region);
            // The name is typed where it stands.
            self.tab = SideTab::Regions;
            self.hides_ui = false;
        }
    }

    fn delete_region(&mut self) {
        let Target::Region(id) = self.selected else {
            self.say_select_a_region();
            return;
        };
        // The neighbour in front takes over, as in every layer list.
        let neighbour = self.document.position(id).and_then(|index| {
            let regions = &self.document.regions;
            regions
                .get(index + 1)
                .or_else(|| regions.get(index.checked_sub(1)?))
        });
        let next = neighbour.map_or(Target::Background, |region| Target::Region(region.id));
        self.apply(Edit::RemoveRegion(id), "Delete region", None);
        self.selected = next;
    }

    fn move_region(&mut self, by: isize) {
        let Target::Region(id) = self.selected else { return };
        let Some(index) = self.document.position(id) else {
            return;
        };
        let last = self.document.regions.len() - 1;
        let to = index.saturating_add_signed(by).min(last);
        if to != index {
            self.apply(
                Edit::MoveRegion {
                    region: id,
                    index: to,
                },
                "Reorder regions",
                None,
            );
        }
    }

    fn change_region(&mut self, label: &'static str, field: impl FnOnce(&RegionLayer) -> RegionField) {
        let Some(region) = self.selected_region() else {
            self.say_select_a_region();
            return;
        };
        let edit = Edit::Region(region.id, field(region));
        self.apply(edit, label, None);
    }

    fn change_mask(&mut self, label: &'static str, change: MaskChange) {
        let Some(region) = self.selected_region() else {
            self.say_select_a_region();
            return;
        };
        let id = region.id;
        if region.locked {
            self.notifications.push_with_action(
                Level::Info,
                "This region is locked: unlock it to change its mask.",
                Some(unlock(id)),
            );
            return;
        }
        self.begin_mask_change(id, change, label);
    }

    fn say_select_a_region(&mut self) {
        self.notifications.push_with_action(
            Level::Info,
            "This needs a region: select one in the list, or add one.",
            Some(AppCommand::NewRegion),
        );
    }

    /// Shows only the selected region; if it is alone already, shows all.
    fn solo(&mut self) {
        let Target::Region(id) = self.selected else {
            self.say_select_a_region();
            return;
        };
        let is_alone = self
            .document
            .regions
            .iter()
            .all(|region| region.visible == (region.id == id));
        let edits = self
            .document
            .regions
            .iter()
            .map(|region| (region, is_alone || region.id == id))
            .filter(|(region, visible)| region.visible != *visible)
            .map(|(region, visible)| Edit::Region(region.id, RegionField::Visible(visible)))
            .collect();
        self.apply(Edit::Batch(edits), "Show only this region", None);
    }

    fn select_place(&mut self, number: u8) {
        let from_front = usize::from(number).saturating_sub(1);
        let region = self
            .document
            .regions
            .iter()
            .rev()
            .nth(from_front)
            .map(|region| region.id);
        match region {
            Some(id) => self.select(Target::Region(id)),
            None => self
                .notifications
                .push(Level::Info, format!("There is no region {number}.")),
        }
    }

    fn previous_target(&self) -> Target {
        match self.previously_selected {
            Target::Region(id) if self.document.region(id).is_none() => self.front_region(),
            target => target,
        }
    }

    /// Keeps the picture on screen, whatever the stream makes of it next.
    fn keep_frame(&mut self) {
        let Some(shown) = self.link.frame() else {
            self.notifications
                .push(Level::Info, "There is no picture to keep yet.");
            return;
        };
        let document = shown.document.as_ref().unwrap_or(&self.document);
        let canvas = Some(self.canvases.present());
        self.kept_frames.keep(document, &shown.frame.picture, canvas);
        self.note_pins(canvas);
        self.notifications
            .push(Level::Success, "The picture is pinned in the history strip.");
    }

    fn pin_frame(&mut self, number: u64) {
        self.kept_frames.toggle_pin(number);
        self.note_pins(self.kept_frames.entry(number).and_then(Entry::canvas));
    }

    /// Pins are part of the file of their canvas, though no edit of it.
    fn note_pins(&mut self, canvas: Option<CanvasNumber>) {
        match canvas {
            Some(other) if other != self.canvases.present() => self.canvases.note_pins(other),
            _ => self.mark_unsaved(),
        }
        self.note_session();
    }

    fn open_sample(&mut self, index: usize) {
        if let Some(sample) = samples::SAMPLES.get(index) {
            let document = Document {
                model: self.document.model.clone(),
                ..samples::document(sample)
            };
            self.replace_document(document, sample.name, None);
        }
    }

    fn new_canvas(&mut self, size: CanvasSize) {
        let document = Document {
            model: self.document.model.clone(),
            ..Document::new(size)
        };
        self.replace_document(document, "Untitled", None);
    }

    /// Puts another document in place of this one, which is kept if it is not saved; undo goes back.
    pub(super) fn replace_document(&mut self, document: Document, title: &str, path: Option<PathBuf>) {
        self.leave_canvas();
        self.apply(Edit::Replace(Box::new(document)), ANOTHER_CANVAS, None);
        self.canvases.begin(title, path);
        self.arrive_at_canvas(None);
        self.saved = self.changes;
        self.canvas.fit();
    }

    fn focus_panels(&mut self) {
        self.hides_ui = false;
        self.tab = SideTab::Regions;
        self.wants_panel_focus = true;
    }
}

fn unlock(region: RegionId) -> Action {
    change_of("Unlock", region, RegionField::Locked(false), "Unlock region")
}

fn show(region: RegionId) -> Action {
    change_of("Show", region, RegionField::Visible(true), "Show region")
}

fn change_of(label: &'static str, region: RegionId, field: RegionField, name: &'static str) -> Action {
    let edit = Edit::Region(region, field);
    let intent = Intent::Edit {
        edit,
        label: name.into(),
        gesture: None,
    };
    Action::new(label, intent)
}
