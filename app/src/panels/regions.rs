//! The regions, front first, and below them the background; under the list, what the selected one shows and how.

use eframe::egui::{
    self, Align, Align2, Color32, DragAndDrop, Id, Key, Label, Layout, Rect, Response, RichText, Role,
    ScrollArea, Sense, Stroke, StrokeKind, TextEdit, Ui, UiBuilder, WidgetInfo, pos2, vec2,
};
use wordbrush_engine::api::{RegionId, Seed};

use super::{
    outbox::{Intent, Outbox},
    prompt::{PromptAids, prompt_ui},
    thumbnails::Thumbnails,
};
use crate::{
    command::{AppCommand, Keymap},
    document::{BackgroundField, Document, Edit, RegionField, RegionLayer, Target},
    theme::{
        CORNER, icons, palette, readable_on, small, space, strong,
        widgets::{
            PER_CENT, PIXELS, action_button, caption, empty_state, hint, icon_button, icon_toggle,
            panel_heading, sized_icon_toggle, slider_row,
        },
    },
};

/// What the panel reads.
#[derive(Clone, Copy)]
pub struct RegionsView<'a> {
    /// What is painted.
    pub document: &'a Document,
    /// What is selected.
    pub selected: Target,
    /// Pictures of the masks.
    pub thumbnails: &'a Thumbnails,
    /// What the prompt fields know.
    pub aids: PromptAids<'a>,
    /// For tooltips.
    pub keymap: &'a Keymap,
}

/// What the panel remembers.
#[derive(Debug, Default)]
pub struct RegionsState {
    /// The region whose name is being typed, with the text so far.
    renaming: Option<(RegionId, String)>,
    /// Whether the prompt field is to get the keyboard.
    wants_prompt: bool,
}

impl RegionsState {
    /// Gives the keyboard to the prompt of the selected region.
    pub fn focus_prompt(&mut self) {
        self.wants_prompt = true;
    }

    /// Starts typing a region's name.
    pub fn rename(&mut self, region: &RegionLayer) {
        self.renaming = Some((region.id, region.name.clone()));
    }
}

const ROW_HEIGHT: f32 = 44.0;
const THUMBNAIL: f32 = 32.0;

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
            let hint_text = format!("{} {}", spec.hint, view.keymap.name(command));
            let response = ui
                .add_enabled_ui(selected_is_region || !needs_region, |ui| {
                    icon_button(ui, spec.icon, spec.label, hint_text.trim())
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

    let room = (ui.available_height() * 0.42).max(ROW_HEIGHT * 2.5);
    ScrollArea::vertical()
        .id_salt("region list")
        .max_height(room)
        .auto_shrink([false, true])
        .show(ui, |ui| {
            ui.spacing_mut().item_spacing.y = 2.0;
            for (place, region) in view.document.regions.iter().rev().enumerate() {
                region_row_ui(ui, view, place, region, state, outbox);
            }
            background_row_ui(ui, view, outbox);
        });

    ui.add_space(space::S);
    ui.separator();
    ScrollArea::vertical()
        .id_salt("selected region")
        .auto_shrink([false, false])
        .show(ui, |ui| match view.selected {
            Target::Background => background_properties_ui(ui, view, outbox),
            Target::Region(id) => {
                if let Some(region) = view.document.region(id) {
                    region_properties_ui(ui, view, region, state, outbox);
                }
            }
        });
}

/// The frame of a row, with what every row shares: selection, focus, thumbnail place.
fn row_ui(
    ui: &mut Ui,
    id: Id,
    is_selected: bool,
    label: &str,
    sense: Sense,
    contents: impl FnOnce(&mut Ui),
) -> Response {
    let colours = palette(ui);
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), ROW_HEIGHT), Sense::hover());
    let response = ui.interact(rect, id, sense);
    response.widget_info(|| WidgetInfo::selected(Role::ListBoxOption, true, is_selected, label));
    let fill = if is_selected {
        colours.accent_faint
    } else if response.hovered() {
        colours.raised
    } else {
        Color32::TRANSPARENT
    };
    ui.painter().rect_filled(rect, CORNER, fill);
    if is_selected {
        let bar = Rect::from_min_size(rect.min + vec2(0.0, 8.0), vec2(3.0, ROW_HEIGHT - 16.0));
        ui.painter().rect_filled(bar, 2, colours.accent);
    }
    if response.has_focus() {
        ui.painter()
            .rect_stroke(rect, CORNER, Stroke::new(1.0, colours.accent), StrokeKind::Inside);
    }
    let inside = rect.shrink2(vec2(space::S, 0.0));
    let mut row = ui.new_child(
        UiBuilder::new()
            .id_salt(id)
            .max_rect(inside)
            .layout(Layout::left_to_right(Align::Center)),
    );
    row.spacing_mut().item_spacing.x = space::S;
    contents(&mut row);
    response
}

fn region_row_ui(
    ui: &mut Ui,
    view: RegionsView<'_>,
    place: usize,
    region: &RegionLayer,
    state: &mut RegionsState,
    outbox: &mut Outbox,
) {
    let target = Target::Region(region.id);
    let title = title_of(region);
    let id = Id::unique(("region row", region.id.0));
    let label = format!("Region {title}");
    let is_renaming = state
        .renaming
        .as_ref()
        .is_some_and(|(renamed, _)| *renamed == region.id);
    let response = row_ui(
        ui,
        id,
        view.selected == target,
        &label,
        Sense::click_and_drag(),
        |ui| {
            thumbnail_ui(ui, view, region, place);
            let right = 2.0 * 26.0 + 4.0;
            let width = (ui.available_width() - right - space::S).max(40.0);
            ui.allocate_ui_with_layout(vec2(width, ROW_HEIGHT), Layout::top_down(Align::Min), |ui| {
                ui.set_width(width);
                ui.spacing_mut().item_spacing.y = 1.0;
                if is_renaming {
                    ui.add_space(8.0);
                    rename_ui(ui, region, state, outbox);
                } else {
                    row_text_ui(ui, region, &title);
                }
            });
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                ui.spacing_mut().item_spacing.x = 2.0;
                row_buttons_ui(ui, view, region, &title, target, outbox);
            });
        },
    );

    if response.clicked() {
        outbox.push(Intent::Select(target));
    }
    if response.double_clicked() {
        state.rename(region);
    }
    reorder_by_drag(ui, view, region, place, &response, outbox);
    response.context_menu(|ui| {
        for command in [
            AppCommand::DuplicateRegion,
            AppCommand::Solo,
            AppCommand::RerollRegion,
            AppCommand::RaiseRegion,
            AppCommand::LowerRegion,
            AppCommand::ClearMask,
            AppCommand::DeleteRegion,
        ] {
            let spec = command.spec();
            let button = egui::Button::new(format!("{}  {}", spec.icon, spec.label))
                .shortcut_text(view.keymap.name(command));
            if ui.add(button).clicked() {
                outbox.push(Intent::RunOn(target, command));
                ui.close();
            }
        }
        if ui.button(format!("{}  Rename", icons::PENCIL)).clicked() {
            state.rename(region);
            ui.close();
        }
    });
}

/// What a region is called in the list.
pub fn title_of(region: &RegionLayer) -> String {
    let title = region.title().trim();
    if title.is_empty() {
        format!("Untitled {}", region.id.0)
    } else {
        title.to_owned()
    }
}

fn row_text_ui(ui: &mut Ui, region: &RegionLayer, title: &str) {
    let colours = palette(ui);
    let ink = if region.visible {
        colours.text
    } else {
        colours.text_weak
    };
    let has_second_line = !region.name.is_empty() && !region.prompt.is_empty();
    ui.add_space(if has_second_line { 5.0 } else { 13.0 });
    ui.add(Label::new(RichText::new(title).text_style(strong()).color(ink)).truncate());
    if has_second_line {
        let prompt = RichText::new(&region.prompt)
            .text_style(small())
            .color(colours.text_weak);
        ui.add(Label::new(prompt).truncate());
    }
}

fn rename_ui(ui: &mut Ui, region: &RegionLayer, state: &mut RegionsState, outbox: &mut Outbox) {
    let Some((_, text)) = &mut state.renaming else {
        return;
    };
    let id = Id::unique(("region name", region.id.0));
    let response = ui.add(
        TextEdit::singleline(text)
            .id(id)
            .desired_width(f32::INFINITY)
            .hint_text("Name"),
    );
    ui.ctx()
        .accesskit_node_builder(id, |node| node.set_label("Region name".to_owned()));
    if !response.has_focus() && !response.lost_focus() {
        response.request_focus();
    }
    if response.lost_focus() {
        if !ui.input(|input| input.key_pressed(Key::Escape)) && *text != region.name {
            outbox.edit(
                Edit::Region(region.id, RegionField::Name(text.clone())),
                "Rename region",
            );
        }
        state.renaming = None;
    }
}

fn thumbnail_ui(ui: &mut Ui, view: RegionsView<'_>, region: &RegionLayer, place: usize) {
    let colours = palette(ui);
    let (rect, _) = ui.allocate_exact_size(vec2(THUMBNAIL, THUMBNAIL), Sense::hover());
    ui.painter().rect_filled(rect, 5, colours.sunken);
    if let Some(texture) = view.thumbnails.region(region.id) {
        let fitted = fit_rect(rect.shrink(1.0), texture.size_vec2());
        egui::Image::new(texture).corner_radius(4).paint_at(ui, fitted);
    }
    let [red, green, blue] = region.colour;
    let colour = Color32::from_rgb(red, green, blue);
    ui.painter()
        .rect_stroke(rect, 5, Stroke::new(1.5, colour), StrokeKind::Inside);
    if place < 9 {
        // The number is the key that selects it, and tells regions apart without colour.
        let tag = Rect::from_min_size(pos2(rect.left(), rect.bottom() - 13.0), vec2(13.0, 13.0));
        ui.painter().rect_filled(tag, 4, colour);
        ui.painter().text(
            tag.center(),
            Align2::CENTER_CENTER,
            place + 1,
            egui::FontId::proportional(9.5),
            readable_on(region.colour),
        );
    }
}

fn fit_rect(room: Rect, size: egui::Vec2) -> Rect {
    let scale = (room.width() / size.x.max(1.0)).min(room.height() / size.y.max(1.0));
    Rect::from_center_size(room.center(), size * scale)
}

fn row_buttons_ui(
    ui: &mut Ui,
    view: RegionsView<'_>,
    region: &RegionLayer,
    title: &str,
    target: Target,
    outbox: &mut Outbox,
) {
    let size = vec2(26.0, 26.0);
    let (eye, eye_label) = if region.visible {
        (icons::EYE, "Hide")
    } else {
        (icons::EYE_OFF, "Show")
    };
    let response = sized_icon_toggle(
        ui,
        eye,
        &format!("{eye_label} {title}"),
        "A hidden region takes no part in the picture. Alt-click shows only this one.",
        false,
        size,
    );
    if response.clicked() {
        let is_solo = ui.input(|input| input.modifiers.alt);
        let command = if is_solo {
            AppCommand::Solo
        } else {
            AppCommand::ToggleVisible
        };
        outbox.push(Intent::RunOn(target, command));
    }
    let (lock, lock_label) = if region.locked {
        (icons::LOCK, "Unlock")
    } else {
        (icons::LOCK_OPEN, "Lock")
    };
    let is_shown = region.locked || view.selected == target;
    let response = ui
        .scope(|ui| {
            if !is_shown {
                ui.multiply_opacity(0.35);
            }
            sized_icon_toggle(
                ui,
                lock,
                &format!("{lock_label} {title}"),
                "A locked mask cannot be painted on.",
                region.locked,
                size,
            )
        })
        .inner;
    if response.clicked() {
        outbox.push(Intent::RunOn(target, AppCommand::ToggleLock));
    }
}

/// Dragging a row moves the region; a line shows where it would land.
fn reorder_by_drag(
    ui: &Ui,
    view: RegionsView<'_>,
    region: &RegionLayer,
    place: usize,
    response: &Response,
    outbox: &mut Outbox,
) {
    response.dnd_set_drag_payload(region.id);
    let colours = palette(ui);
    if response.dragged() {
        ui.ctx().set_cursor_icon(egui::CursorIcon::Grabbing);
        ui.painter().rect_stroke(
            response.rect,
            CORNER,
            Stroke::new(1.0, colours.accent),
            StrokeKind::Inside,
        );
    }
    let Some(pointer) = ui.input(|input| input.pointer.latest_pos()) else {
        return;
    };
    let is_over =
        DragAndDrop::has_payload_of_type::<RegionId>(ui.ctx()) && response.rect.y_range().contains(pointer.y);
    if !is_over {
        return;
    }
    let is_above = pointer.y < response.rect.center().y;
    let line_y = if is_above {
        response.rect.top() - 1.0
    } else {
        response.rect.bottom() + 1.0
    };
    ui.painter()
        .hline(response.rect.x_range(), line_y, Stroke::new(2.0, colours.accent));
    if !ui.input(|input| input.pointer.any_released()) {
        return;
    }
    let Some(moved) = DragAndDrop::take_payload::<RegionId>(ui.ctx()) else {
        return;
    };
    let count = view.document.regions.len();
    let Some(from) = view.document.position(*moved) else {
        return;
    };
    // Places count from the front, painting order from the back; the index is counted without the moved one.
    let gap_from_front = if is_above { place } else { place + 1 };
    let index = count - gap_from_front;
    let index = if from < index { index - 1 } else { index };
    if index != from {
        outbox.edit(
            Edit::MoveRegion {
                region: *moved,
                index,
            },
            "Reorder regions",
        );
    }
}

fn background_row_ui(ui: &mut Ui, view: RegionsView<'_>, outbox: &mut Outbox) {
    let colours = palette(ui);
    let is_selected = view.selected == Target::Background;
    let response = row_ui(
        ui,
        Id::unique("background row"),
        is_selected,
        "Background",
        Sense::click(),
        |ui| {
            let (rect, _) = ui.allocate_exact_size(vec2(THUMBNAIL, THUMBNAIL), Sense::hover());
            ui.painter().rect_filled(rect, 5, Color32::WHITE);
            match view.thumbnails.background() {
                Some(texture) => {
                    let fitted = fit_rect(rect.shrink(1.0), texture.size_vec2());
                    egui::Image::new(texture).corner_radius(4).paint_at(ui, fitted);
                }
                None => {
                    ui.painter().text(
                        rect.center(),
                        Align2::CENTER_CENTER,
                        icons::IMAGE,
                        egui::FontId::proportional(14.0),
                        Color32::from_gray(150),
                    );
                }
            }
            ui.painter()
                .rect_stroke(rect, 5, Stroke::new(1.0, colours.line), StrokeKind::Inside);
            ui.vertical(|ui| {
                ui.spacing_mut().item_spacing.y = 1.0;
                ui.add_space(5.0);
                ui.label(RichText::new("Background").text_style(strong()));
                let prompt = view.document.background.prompt.trim();
                let second = if prompt.is_empty() {
                    "White, unless you say otherwise"
                } else {
                    prompt
                };
                let second = RichText::new(second).text_style(small()).color(colours.text_weak);
                ui.add(Label::new(second).truncate());
            });
        },
    );
    if response.clicked() {
        outbox.push(Intent::Select(Target::Background));
    }
}

fn background_properties_ui(ui: &mut Ui, view: RegionsView<'_>, outbox: &mut Outbox) {
    let background = &view.document.background;
    ui.add_space(space::XS);
    ui.label(RichText::new("Background").text_style(strong()));
    let id = Id::unique("background prompt");
    let (response, text) = prompt_ui(
        ui,
        id,
        "Prompt",
        "What shows where nothing is painted",
        &background.prompt,
        2,
        view.aids,
    );
    if let Some(text) = text {
        outbox.background(&response, BackgroundField::Prompt(text), "Background prompt");
    }
    outbox.end_with(&response);
    let id = Id::unique("background negative prompt");
    let (response, text) = prompt_ui(
        ui,
        id,
        "Negative prompt",
        "What it must not show",
        &background.negative_prompt,
        1,
        view.aids,
    );
    if let Some(text) = text {
        outbox.background(
            &response,
            BackgroundField::NegativePrompt(text),
            "Background negative prompt",
        );
    }
    outbox.end_with(&response);

    ui.add_space(space::S);
    caption(ui, "Picture");
    match view.thumbnails.background() {
        Some(texture) => {
            let size = texture.size_vec2();
            let width = ui.available_width().min(160.0);
            let picture = egui::Image::new(texture)
                .corner_radius(CORNER)
                .fit_to_exact_size(vec2(width, width * size.y / size.x.max(1.0)))
                .alt_text("Background picture");
            ui.add(picture);
        }
        None => hint(
            ui,
            "Drop a picture on the canvas, paste one, or choose a file. Regions are painted over it.",
        ),
    }
    ui.horizontal_wrapped(|ui| {
        if action_button(ui, icons::IMAGE_PLUS, "Choose…").clicked() {
            outbox.run(AppCommand::BackgroundImage);
        }
        if background.image.is_some() && action_button(ui, icons::IMAGE_OFF, "Remove").clicked() {
            outbox.run(AppCommand::RemoveBackgroundImage);
        }
    });
}

fn region_properties_ui(
    ui: &mut Ui,
    view: RegionsView<'_>,
    region: &RegionLayer,
    state: &mut RegionsState,
    outbox: &mut Outbox,
) {
    ui.add_space(space::XS);
    ui.horizontal(|ui| {
        let mut colour = region.colour;
        let response = ui.color_edit_button_srgb(&mut colour);
        ui.ctx()
            .accesskit_node_builder(response.id, |node| node.set_label("Region colour".to_owned()));
        if response.changed() {
            let edit = Edit::Region(region.id, RegionField::Colour(colour));
            outbox.edit_in(response.id, edit, "Region colour");
        }
        ui.add(Label::new(RichText::new(title_of(region)).text_style(strong())).truncate());
    });
    let id = Id::unique(("prompt", region.id.0));
    if std::mem::take(&mut state.wants_prompt) {
        ui.memory_mut(|memory| memory.request_focus(id));
    }
    let (response, text) = prompt_ui(
        ui,
        id,
        "Prompt",
        "What this region shows, such as: a large tree",
        &region.prompt,
        2,
        view.aids,
    );
    if let Some(text) = text {
        outbox.region(&response, region.id, RegionField::Prompt(text), "Prompt");
    }
    outbox.end_with(&response);
    let id = Id::unique(("negative prompt", region.id.0));
    let (response, text) = prompt_ui(
        ui,
        id,
        "Negative prompt",
        "What it must not show",
        &region.negative_prompt,
        1,
        view.aids,
    );
    if let Some(text) = text {
        outbox.region(
            &response,
            region.id,
            RegionField::NegativePrompt(text),
            "Negative prompt",
        );
    }
    outbox.end_with(&response);
    ui.add_space(space::XS);

    let mut value = region.prompt_strength;
    let response = slider_row(
        ui,
        "Prompt strength",
        "How much of its own prompt the region takes; the rest is the background's.",
        &mut value,
        0.5..=1.0,
        PER_CENT,
    );
    if response.changed() {
        outbox.region(
            &response,
            region.id,
            RegionField::PromptStrength(value),
            "Prompt strength",
        );
    }
    outbox.end_with(&response);
    let mut value = region.mask_strength;
    let response = slider_row(
        ui,
        "Mask strength",
        "How firmly the region holds its place against others.",
        &mut value,
        0.5..=1.0,
        PER_CENT,
    );
    if response.changed() {
        outbox.region(
            &response,
            region.id,
            RegionField::MaskStrength(value),
            "Mask strength",
        );
    }
    outbox.end_with(&response);
    let mut value = region.mask_std_px;
    let response = slider_row(
        ui,
        "Edge softness",
        "How far the region melts into what is around it.",
        &mut value,
        0.0..=100.0,
        PIXELS,
    );
    if response.changed() {
        outbox.region(&response, region.id, RegionField::MaskStd(value), "Edge softness");
    }
    outbox.end_with(&response);
    region_seed_ui(ui, region, outbox);
}

fn region_seed_ui(ui: &mut Ui, region: &RegionLayer, outbox: &mut Outbox) {
    ui.horizontal(|ui| {
        ui.label("Seed");
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            if icon_button(
                ui,
                icons::DICES,
                "Reroll region",
                "New noise inside this region only.",
            )
            .clicked()
            {
                outbox.push(Intent::RunOn(Target::Region(region.id), AppCommand::RerollRegion));
            }
            let is_own = region.seed.is_some();
            let response = icon_toggle(
                ui,
                if is_own { icons::PIN } else { icons::LAYERS },
                if is_own {
                    "Use the canvas' seed"
                } else {
                    "Use an own seed"
                },
                "With an own seed the region keeps its noise when the canvas is rerolled.",
                is_own,
            );
            if response.clicked() {
                let seed = if is_own { None } else { Some(Seed(region.id.0)) };
                outbox.edit(Edit::Region(region.id, RegionField::Seed(seed)), "Region seed");
            }
            if let Some(seed) = region.seed {
                let mut number = seed.0;
                let drag = ui.add(egui::DragValue::new(&mut number).speed(1.0));
                ui.ctx()
                    .accesskit_node_builder(drag.id, |node| node.set_label("Region seed".to_owned()));
                if drag.changed() {
                    outbox.region(
                        &drag,
                        region.id,
                        RegionField::Seed(Some(Seed(number))),
                        "Region seed",
                    );
                }
                outbox.end_with(&drag);
            } else {
                let colour = palette(ui).text_weak;
                ui.label(RichText::new("the canvas'").color(colour));
            }
        });
    });
}
