//! Rows of the list: regions and the background.

use eframe::egui::{
    self, Align, Align2, Color32, DragAndDrop, Id, Key, Label, Layout, Pos2, Rect, Response, RichText, Role,
    Sense, Stroke, StrokeKind, TextEdit, Ui, UiBuilder, WidgetInfo, pos2, vec2,
};
use wordbrush_engine::api::RegionId;

use super::{
    super::outbox::{Intent, Outbox},
    RegionsState, RegionsView,
};
use crate::{
    command::AppCommand,
    document::{Edit, RegionField, RegionLayer, Target},
    theme::{CORNER, icons, palette, readable_on, small, space, strong, widgets::sized_icon_toggle},
};

/// Height of a row in points.
const ROW_HEIGHT: f32 = 44.0;
const THUMBNAIL: f32 = 32.0;

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

/// One region: thumbnail, name and prompt, eye and lock; dragging it reorders the list.
pub(super) fn region_row_ui(
    ui: &mut Ui,
    view: RegionsView<'_>,
    place: usize,
    region: &RegionLayer,
    state: &mut RegionsState,
    outbox: &mut Outbox,
) {
    let target = Target::Region(region.id);
    let title = region.title();
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
                    rename_ui(ui, view, region, state, outbox);
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

    scroll_to_selected(view, state, target, &response);
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
            AppCommand::RenameRegion,
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
    });
}

/// Brings a row into sight that was selected elsewhere: by a key, or on the canvas.
fn scroll_to_selected(view: RegionsView<'_>, state: &RegionsState, target: Target, row: &Response) {
    if view.selected == target && state.shown != Some(target) {
        row.scroll_to_me(None);
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

fn rename_ui(
    ui: &mut Ui,
    view: RegionsView<'_>,
    region: &RegionLayer,
    state: &mut RegionsState,
    outbox: &mut Outbox,
) {
    let Some((_, text)) = &mut state.renaming else {
        return;
    };
    let id = Id::unique(("region name", view.canvas, region.id.0));
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
        // By its key the row may be out of sight.
        response.scroll_to_me(None);
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
    if response.dragged() {
        ui.ctx().set_cursor_icon(egui::CursorIcon::Grabbing);
        dragged_row_ui(ui, region, response);
    }
    let Some(pointer) = pointer_with_region(ui, response) else {
        return;
    };
    if pointer.y < response.rect.center().y {
        drop_region_ui(ui, view, place, response.rect.top() - 1.0, response, outbox);
    } else {
        drop_region_ui(
            ui,
            view,
            place + 1,
            response.rect.bottom() + 1.0,
            response,
            outbox,
        );
    }
}

/// Where the pointer is, if it holds a region over this row.
fn pointer_with_region(ui: &Ui, row: &Response) -> Option<Pos2> {
    let pointer = ui.input(|input| input.pointer.latest_pos())?;
    // A hand that wanders a little beside the list still means the row.
    let reach = row.rect.expand2(vec2(40.0, 1.0));
    let is_over = DragAndDrop::has_payload_of_type::<RegionId>(ui.ctx()) && reach.contains(pointer);
    is_over.then_some(pointer)
}

/// The row that is being dragged: a mark where it was, and its name under the pointer.
fn dragged_row_ui(ui: &Ui, region: &RegionLayer, response: &Response) {
    let colours = palette(ui);
    ui.painter()
        .rect_filled(response.rect, CORNER, colours.panel.gamma_multiply(0.6));
    ui.painter().rect_stroke(
        response.rect,
        CORNER,
        Stroke::new(1.0, colours.accent),
        StrokeKind::Inside,
    );
    let Some(pointer) = response.interact_pointer_pos() else {
        return;
    };
    egui::Area::new(Id::unique("dragged region"))
        .order(egui::Order::Tooltip)
        .interactable(false)
        .fixed_pos(pointer + vec2(14.0, -14.0))
        .show(ui.ctx(), |ui| {
            egui::Frame::popup(ui.style()).show(ui, |ui| {
                ui.horizontal(|ui| {
                    ui.set_max_width(200.0);
                    let (dot, _) = ui.allocate_exact_size(vec2(12.0, 12.0), Sense::hover());
                    let [red, green, blue] = region.colour;
                    ui.painter()
                        .rect_filled(dot, 4, Color32::from_rgb(red, green, blue));
                    ui.add(Label::new(RichText::new(region.title()).text_style(strong())).truncate());
                });
            });
        });
}

/// Marks the gap that a dragged region would fall into, and lets it fall there.
fn drop_region_ui(
    ui: &Ui,
    view: RegionsView<'_>,
    gap_from_front: usize,
    line_y: f32,
    row: &Response,
    outbox: &mut Outbox,
) {
    let stroke = Stroke::new(2.0, palette(ui).accent);
    ui.painter().hline(row.rect.x_range(), line_y, stroke);
    if !ui.input(|input| input.pointer.any_released()) {
        return;
    }
    let Some(moved) = DragAndDrop::take_payload::<RegionId>(ui.ctx()) else {
        return;
    };
    let Some(from) = view.document.position(*moved) else {
        return;
    };
    // Places count from the front, painting order from the back; the index is counted without the moved one.
    let index = view.document.regions.len() - gap_from_front;
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

/// The background, below all regions.
pub(super) fn background_row_ui(
    ui: &mut Ui,
    view: RegionsView<'_>,
    state: &RegionsState,
    outbox: &mut Outbox,
) {
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
                let background = &view.document.background;
                let prompt = background.prompt.trim();
                let second = match &background.image {
                    _ if background.keep_strength < 1.0 && !prompt.is_empty() => prompt,
                    Some(_) => "A picture",
                    None if prompt.is_empty() => "White, unless you say otherwise",
                    None => "White",
                };
                let second = RichText::new(second).text_style(small()).color(colours.text_weak);
                ui.add(Label::new(second).truncate());
            });
        },
    );
    scroll_to_selected(view, state, Target::Background, &response);
    if response.clicked() {
        outbox.push(Intent::Select(Target::Background));
    }
    if pointer_with_region(ui, &response).is_some() {
        let lowest = view.document.regions.len();
        drop_region_ui(ui, view, lowest, response.rect.top() - 1.0, &response, outbox);
    }
}
