//! The few controls that every panel shares, so that they look, sound (to a screen reader) and measure the same.

use std::ops::RangeInclusive;

use eframe::egui::{
    self, Align, Button, DragValue, Frame, InnerResponse, Label, Layout, Margin, Response, RichText, Role,
    Sense, Slider, SliderClamping, Stroke, TextStyle, Ui, Vec2, WidgetInfo,
    emath::format_with_decimals_in_range, vec2,
};

use super::{CORNER, CORNER_LARGE, ICON_BUTTON, icon, palette, small, space, strong};

/// A square button with only a glyph; `label` is its accessible name and, with `hint`, its tooltip.
pub fn icon_button(ui: &mut Ui, glyph: &str, label: &str, hint: &str) -> Response {
    icon_toggle(ui, glyph, label, hint, false)
}

/// An [`icon_button`] that stays pressed while `is_on`.
pub fn icon_toggle(ui: &mut Ui, glyph: &str, label: &str, hint: &str, is_on: bool) -> Response {
    sized_icon_toggle(ui, glyph, label, hint, is_on, ICON_BUTTON)
}

/// An [`icon_toggle`] of another size.
pub fn sized_icon_toggle(
    ui: &mut Ui,
    glyph: &str,
    label: &str,
    hint: &str,
    is_on: bool,
    size: Vec2,
) -> Response {
    let enabled = ui.is_enabled();
    let response = ui
        .scope(|ui| {
            ui.spacing_mut().button_padding = vec2(2.0, 2.0);
            ui.spacing_mut().interact_size.y = size.y;
            let text = RichText::new(glyph).text_style(icon());
            ui.add(
                Button::selectable(is_on, text)
                    .frame_when_inactive(is_on)
                    .min_size(size),
            )
        })
        .inner;
    response.widget_info(|| WidgetInfo::selected(Role::Button, enabled, is_on, label));
    response.on_hover_ui(|ui| tooltip(ui, label, hint, ""))
}

/// A tooltip: name, key and one sentence.
pub fn tooltip(ui: &mut Ui, label: &str, hint: &str, keys: &str) {
    ui.horizontal(|ui| {
        ui.label(RichText::new(label).text_style(strong()));
        if !keys.is_empty() {
            key_cap(ui, keys);
        }
    });
    if !hint.is_empty() {
        ui.label(
            RichText::new(hint)
                .text_style(small())
                .color(palette(ui).text_weak),
        );
    }
}

/// A key drawn like a key.
pub fn key_cap(ui: &mut Ui, keys: &str) {
    let colours = palette(ui);
    Frame::new()
        .fill(colours.raised)
        .stroke(Stroke::new(1.0, colours.line))
        .corner_radius(4)
        .inner_margin(Margin::symmetric(5, 1))
        .show(ui, |ui| {
            // As high as the letters, whatever stands in the row.
            ui.spacing_mut().interact_size.y = 14.0;
            ui.label(RichText::new(keys).text_style(small()).color(colours.text));
        });
}

/// A filled button for the main action of a place.
pub fn primary_button(ui: &mut Ui, glyph: &str, label: &str) -> Response {
    let colours = palette(ui);
    let text = if glyph.is_empty() {
        label.to_owned()
    } else {
        format!("{glyph}  {label}")
    };
    let response = ui.add(
        Button::new(RichText::new(text).color(colours.on_accent).text_style(strong()))
            .fill(colours.accent)
            .min_size(vec2(0.0, 30.0)),
    );
    let enabled = ui.is_enabled();
    response.widget_info(|| WidgetInfo::labeled(Role::Button, enabled, label));
    response
}

/// A button with a glyph and words.
pub fn action_button(ui: &mut Ui, glyph: &str, label: &str) -> Response {
    let text = if glyph.is_empty() {
        label.to_owned()
    } else {
        format!("{glyph}  {label}")
    };
    let response = ui.add(Button::new(text));
    let enabled = ui.is_enabled();
    response.widget_info(|| WidgetInfo::labeled(Role::Button, enabled, label));
    response
}

/// A box to tick, with an outline: its fill alone hardly differs from what is behind it.
pub fn checkbox(ui: &mut Ui, is_ticked: &mut bool, label: &str) -> Response {
    ui.scope(|ui| {
        let outline = Stroke::new(1.0, palette(ui).text_weak);
        let widgets = &mut ui.visuals_mut().widgets;
        for state in [&mut widgets.inactive, &mut widgets.hovered, &mut widgets.active] {
            state.bg_stroke = outline;
        }
        ui.checkbox(is_ticked, label)
    })
    .inner
}

/// The heading of a panel with room for small buttons at its right.
pub fn panel_heading<R>(ui: &mut Ui, text: &str, right: impl FnOnce(&mut Ui) -> R) -> R {
    ui.horizontal(|ui| {
        ui.set_min_height(28.0);
        ui.label(RichText::new(text).text_style(strong()));
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            ui.spacing_mut().item_spacing.x = 2.0;
            right(ui)
        })
        .inner
    })
    .inner
}

/// Secondary text that wraps.
pub fn hint(ui: &mut Ui, text: &str) {
    let colour = palette(ui).text_weak;
    ui.label(RichText::new(text).text_style(small()).color(colour));
}

/// A caption above a field.
pub fn caption(ui: &mut Ui, text: &str) -> Response {
    let colour = palette(ui).text_weak;
    ui.label(RichText::new(text).text_style(small()).color(colour))
}

/// A rounded surface on a panel.
pub fn card<R>(ui: &mut Ui, contents: impl FnOnce(&mut Ui) -> R) -> InnerResponse<R> {
    let colours = palette(ui);
    Frame::new()
        .fill(colours.raised)
        .corner_radius(CORNER_LARGE)
        .inner_margin(Margin::same(space::M as i8))
        .show(ui, |ui| {
            // A button has the colour of the card; one step up it is seen as a button again.
            let buttons = &mut ui.visuals_mut().widgets.inactive;
            buttons.weak_bg_fill = colours.hover;
            ui.visuals_mut().widgets.hovered.bg_stroke.color = colours.text_weak;
            contents(ui)
        })
}

/// How a number is shown on a slider.
#[derive(Clone, Copy, Debug)]
pub struct NumberFormat<'a> {
    /// Unit behind the number.
    pub suffix: &'a str,
    /// Digits behind the point.
    pub decimals: usize,
    /// What the shown number is multiplied with (100 for per cent).
    pub scale: f64,
    /// Whether the slider gives small values more room.
    pub is_logarithmic: bool,
    /// The word that stands for 0, where that means something else than a number.
    pub zero: Option<&'a str>,
}

/// Whole pixels.
pub const PIXELS: NumberFormat<'_> = NumberFormat {
    suffix: " px",
    decimals: 0,
    scale: 1.0,
    is_logarithmic: false,
    zero: None,
};
/// 0 to 1 as per cent.
pub const PER_CENT: NumberFormat<'_> = NumberFormat {
    suffix: " %",
    decimals: 0,
    scale: 100.0,
    is_logarithmic: false,
    zero: None,
};
/// A plain number with one digit behind the point.
pub const PLAIN: NumberFormat<'_> = NumberFormat {
    suffix: "",
    decimals: 1,
    scale: 1.0,
    is_logarithmic: false,
    zero: None,
};
/// A count.
pub const COUNT: NumberFormat<'_> = NumberFormat {
    suffix: "",
    decimals: 0,
    scale: 1.0,
    is_logarithmic: false,
    zero: None,
};

/// Takes the keyboard from whatever has it.
pub fn release_keyboard(ctx: &egui::Context) {
    ctx.memory_mut(|memory| {
        if let Some(id) = memory.focused() {
            memory.surrender_focus(id);
        }
    });
}

/// From so many points on a slider stands in one line; below, its rail has a line of its own.
const ONE_LINE_WIDTH: f32 = 232.0;

/// A slider over the whole width: name at the left, rail, number at the right.
///
/// The response covers rail and number: `changed` while dragging, `drag_stopped` or `lost_focus` when done. It has the id
/// of the one that is in use, so that a number that was typed is an undo step of its own.
pub fn slider_row(
    ui: &mut Ui,
    label: &str,
    hint_text: &str,
    value: &mut f32,
    range: RangeInclusive<f32>,
    format: NumberFormat<'_>,
) -> Response {
    let scale = format.scale;
    let range = f64::from(*range.start()) * scale..=f64::from(*range.end()) * scale;
    let mut shown = f64::from(*value) * scale;
    let width = ui.available_width();
    let response = if width >= ONE_LINE_WIDTH {
        ui.horizontal(|ui| {
            ui.spacing_mut().interact_size.y = 22.0;
            let name_size = vec2((width * 0.38).clamp(104.0, 160.0), 22.0);
            ui.allocate_ui_with_layout(name_size, Layout::left_to_right(Align::Center), |ui| {
                ui.set_width(name_size.x);
                slider_name_ui(ui, label, hint_text);
            });
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                let number = slider_number_ui(ui, label, &mut shown, &range, format);
                one_of(slider_rail_ui(ui, label, &mut shown, &range, format), number)
            })
            .inner
        })
        .inner
    } else {
        ui.vertical(|ui| {
            ui.spacing_mut().item_spacing.y = 0.0;
            let number = ui
                .horizontal(|ui| {
                    slider_name_ui(ui, label, hint_text);
                    ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                        slider_number_ui(ui, label, &mut shown, &range, format)
                    })
                    .inner
                })
                .inner;
            one_of(slider_rail_ui(ui, label, &mut shown, &range, format), number)
        })
        .inner
    };
    if response.changed() {
        *value = (shown / scale) as f32;
    }
    response
}

/// Rail and number as one response.
fn one_of(rail: Response, number: Response) -> Response {
    if number.has_focus() || number.lost_focus() || number.dragged() || number.drag_stopped() {
        number.union(rail)
    } else {
        rail.union(number)
    }
}

fn slider_name_ui(ui: &mut Ui, label: &str, hint_text: &str) {
    let name = ui.add(Label::new(RichText::new(label).text_style(TextStyle::Body)).truncate());
    if !hint_text.is_empty() {
        name.on_hover_ui(|ui| tooltip(ui, label, hint_text, ""));
    }
}

fn slider_number_ui(
    ui: &mut Ui,
    label: &str,
    shown: &mut f64,
    range: &RangeInclusive<f64>,
    format: NumberFormat<'_>,
) -> Response {
    let mut drag = DragValue::new(shown)
        .range(range.clone())
        // Else it would bring what lies beyond into the range, and report a change that nobody made.
        .clamp_existing_to_range(false)
        .speed((range.end() - range.start()) / 300.0)
        .suffix(format.suffix)
        .fixed_decimals(format.decimals)
        .update_while_editing(false);
    if let Some(word) = format.zero {
        drag = drag.custom_formatter(move |number, decimals| {
            if number == 0.0 {
                word.to_owned()
            } else {
                format_with_decimals_in_range(number, decimals)
            }
        });
    }
    let response = ui
        .scope(|ui| {
            ui.spacing_mut().button_padding = vec2(4.0, 1.0);
            ui.spacing_mut().interact_size.y = 22.0;
            ui.add_sized(vec2(52.0, 22.0), drag)
        })
        .inner;
    let name = format!("{label} value");
    ui.ctx()
        .accesskit_node_builder(response.id, |node| node.set_label(name));
    response
}

fn slider_rail_ui(
    ui: &mut Ui,
    label: &str,
    shown: &mut f64,
    range: &RangeInclusive<f64>,
    format: NumberFormat<'_>,
) -> Response {
    let rail = ui
        .scope(|ui| {
            ui.spacing_mut().slider_width = ui.available_width();
            ui.spacing_mut().interact_size.y = 20.0;
            // The filled part of the rail takes this colour.
            ui.visuals_mut().selection.bg_fill = palette(ui).accent;
            ui.add(
                Slider::new(shown, range.clone())
                    .show_value(false)
                    // Else it would round what it shows, and report a change that nobody made.
                    .clamping(SliderClamping::Edits)
                    .step_by(10f64.powi(-(format.decimals as i32)))
                    .logarithmic(format.is_logarithmic),
            )
        })
        .inner;
    ui.ctx()
        .accesskit_node_builder(rail.id, |node| node.set_label(label.to_owned()));
    rail
}

/// A choice between a few words, all of them visible.
pub fn segmented<T: Copy + PartialEq>(
    ui: &mut Ui,
    name: &str,
    value: &mut T,
    options: &[(T, &str, &str)],
) -> bool {
    let colours = palette(ui);
    let mut is_changed = false;
    Frame::new()
        .fill(colours.sunken)
        .corner_radius(CORNER)
        .inner_margin(Margin::same(2))
        .show(ui, |ui| {
            ui.horizontal(|ui| {
                ui.spacing_mut().item_spacing.x = 2.0;
                // The words stand in the middle anyway; the room is theirs.
                ui.spacing_mut().button_padding.x = 4.0;
                let width =
                    (ui.available_width() - 2.0 * (options.len() as f32 - 1.0)) / options.len() as f32;
                for &(option, label, hint_text) in options {
                    let is_on = *value == option;
                    let colour = if is_on { colours.accent } else { colours.text_weak };
                    let button = Button::selectable(is_on, RichText::new(label).color(colour))
                        .frame_when_inactive(is_on)
                        .corner_radius(4)
                        .truncate()
                        .min_size(vec2(width, 24.0));
                    let response = ui
                        .allocate_ui_with_layout(
                            vec2(width, 24.0),
                            Layout::centered_and_justified(egui::Direction::LeftToRight),
                            |ui| ui.add(button),
                        )
                        .inner;
                    let enabled = ui.is_enabled();
                    let full_name = format!("{name}: {label}");
                    response
                        .widget_info(|| WidgetInfo::selected(Role::RadioButton, enabled, is_on, &full_name));
                    if response.on_hover_text(hint_text).clicked() && !is_on {
                        *value = option;
                        is_changed = true;
                    }
                }
            });
        });
    is_changed
}

/// What an empty place says: what belongs here, and how it gets here.
pub fn empty_state(ui: &mut Ui, glyph: &str, heading: &str, text: &str) {
    let colours = palette(ui);
    ui.vertical_centered(|ui| {
        ui.add_space(space::M);
        ui.label(RichText::new(glyph).size(26.0).color(colours.text_weak));
        ui.label(RichText::new(heading).text_style(strong()));
        hint(ui, text);
        ui.add_space(space::M);
    });
}

/// Room for a drawing with an accessible name.
pub fn drawing(ui: &mut Ui, size: Vec2, name: &str) -> (Response, egui::Painter) {
    let (response, painter) = ui.allocate_painter(size, Sense::hover());
    response.widget_info(|| WidgetInfo::labeled(Role::Image, true, name));
    (response, painter)
}

#[cfg(test)]
mod tests {
    use egui_kittest::Harness;

    use super::*;
    use crate::theme::{self, DARK, LIGHT};

    #[test]
    fn an_empty_checkbox_has_an_outline_in_both_themes_and_in_menus() {
        for (theme, colours) in [(egui::Theme::Dark, DARK), (egui::Theme::Light, LIGHT)] {
            for is_in_menu in [false, true] {
                let show = |ui: &mut Ui| {
                    ui.ctx().set_theme(theme);
                    if is_in_menu {
                        egui::containers::menu::menu_style(ui.style_mut());
                    }
                    checkbox(ui, &mut false, "Hatching");
                };
                let mut harness = Harness::builder()
                    .with_context_setup(theme::install)
                    .build_ui(show);
                harness.run_steps(3);
                let outline = Stroke::new(1.0, colours.text_weak);
                let is_outlined =
                    |shape: &egui::Shape| matches!(shape, egui::Shape::Rect(rect) if rect.stroke == outline);
                let shapes = &harness.output().shapes;
                assert!(
                    shapes.iter().any(|clipped| is_outlined(&clipped.shape)),
                    "{theme:?}, in a menu: {is_in_menu}"
                );
            }
        }
    }
}
