//! The regions, front first, and below them the background; under the list, what the selected one shows and how.

mod properties;
mod rows;

use eframe::egui::{ScrollArea, Ui};
use wordbrush_engine::api::RegionId;

use super::{outbox::Outbox, prompt::PromptAids, thumbnails::Thumbnails};
use crate::{
    command::AppCommand,
    document::{Document, RegionLayer, Target},
    kept_frames::CanvasNumber,
    keymap::Keymap,
    theme::{
        icons, space,
        widgets::{action_button, empty_state, icon_button, panel_heading},
    },
};
/// From so much room on, list and properties scroll each for itself; below, that would leave a slit of either.
const TWO_AREAS_HEIGHT: f32 = 380.0;

/// What the panel reads.
#[derive(Clone, Copy)]
pub struct RegionsView<'a> {
    /// What is painted.
    pub document: &'a Document,
    /// Which canvas that is: regions of two have the same numbers, and egui keeps what was typed by a field's id.
    pub canvas: CanvasNumber,
    /// What is selected.
    pub selected: Target,
    /// Pictures of the masks.
    pub thumbnails: &'a Thumbnails,
    /// What the prompt fields know.
    pub aids: PromptAids<'a>,
    /// For tooltips.
    pub keymap: &'a Keymap,
}

/// What the panel remembers while one canvas is in hand.
#[derive(Debug, Default)]
pub struct RegionsState {
    /// The region whose name is being typed, with the text so far.
    renaming: Option<(RegionId, String)>,
    /// Whether the prompt field is to get the keyboard.
    wants_prompt: bool,
    /// The region whose colour is being chosen; what the picker does until it closes is one undo step.
    colouring: Option<RegionId>,
    /// What was selected in the last frame; another one is scrolled to.
    shown: Option<Target>,
}

impl RegionsState {
    /// Gives the keyboard to the prompt of the selected region.
    pub fn focus_prompt(&mut self) {
        self.wants_prompt = true;
    }

    /// Starts typing a region's name.
    pub fn rename(&mut self, region: &RegionLayer) {
        let is_begun = |(id, _): &(RegionId, String)| *id == region.id;
        if !self.renaming.as_ref().is_some_and(is_begun) {
            self.renaming = Some((region.id, region.name.clone()));
        }
    }
}

/// Draws the panel.
pub fn regions_ui(ui: &mut Ui, view: RegionsView<'_>, state: &mut RegionsState, outbox: &mut Outbox) {
    panel_heading(ui, "Regions", |ui| {
        let selected_is_region = matches!(view.selected, Target::Region(_));
        for (command, needs_region) in [
            (AppCommand::DeleteRegion, true),
            (AppCommand::DuplicateRegion, true),
            (AppCommand::NewRegion, false),
        ] {
            let spec = command.spec();
            let hint_text = view.keymap.with_keys(spec.hint, command);
            let response = ui
                .add_enabled_ui(selected_is_region || !needs_region, |ui| {
                    icon_button(ui, spec.icon, spec.label, &hint_text)
                })
                .inner;
            if response.clicked() {
                outbox.run(command);
            }
        }
    });

    if view.document.regions.is_empty() {
        empty_state(
            ui,
            icons::LAYERS,
            "No regions yet",
            "A region is a brush with a meaning: give it a prompt, then paint where it shall appear.",
        );
        ui.vertical_centered(|ui| {
            if action_button(ui, icons::PLUS, "Add a region").clicked() {
                outbox.run(AppCommand::NewRegion);
            }
        });
        ui.add_space(space::S);
    }

    let room = ui.available_height();
    if room.is_infinite() {
        // All of it scrolls already.
        list_ui(ui, view, state, outbox);
        ui.separator();
        selected_ui(ui, view, state, outbox);
    } else if room < TWO_AREAS_HEIGHT {
        ScrollArea::vertical()
            .id_salt("regions")
            .auto_shrink([false, false])
            .show(ui, |ui| {
                list_ui(ui, view, state, outbox);
                ui.separator();
                selected_ui(ui, view, state, outbox);
            });
    } else {
        ScrollArea::vertical()
            .id_salt("region list")
            .max_height(room * 0.48)
            .auto_shrink([false, true])
            .show(ui, |ui| list_ui(ui, view, state, outbox));
        ui.add_space(space::S);
        ui.separator();
        ScrollArea::vertical()
            .id_salt("selected region")
            .auto_shrink([false, false])
            .show(ui, |ui| selected_ui(ui, view, state, outbox));
    }
}

fn list_ui(ui: &mut Ui, view: RegionsView<'_>, state: &mut RegionsState, outbox: &mut Outbox) {
    ui.scope(|ui| {
        ui.spacing_mut().item_spacing.y = 2.0;
        for (place, region) in view.document.regions.iter().rev().enumerate() {
            rows::region_row_ui(ui, view, place, region, state, outbox);
        }
        rows::background_row_ui(ui, view, state, outbox);
    });
    state.shown = Some(view.selected);
}

fn selected_ui(ui: &mut Ui, view: RegionsView<'_>, state: &mut RegionsState, outbox: &mut Outbox) {
    match view.selected {
        Target::Background => properties::background_properties_ui(ui, view, outbox),
        Target::Region(id) => {
            if let Some(region) = view.document.region(id) {
                properties::region_properties_ui(ui, view, region, state, outbox);
            }
        }
    }
}
