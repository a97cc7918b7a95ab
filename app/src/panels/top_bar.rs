//! Menus, the canvas' title, the stream's controls and the freshness light.

use eframe::egui::{
    self, Align, Button, Color32, Label, Layout, MenuBar, Pos2, RichText, Role, ScrollArea, Sense, Shape,
    Stroke, TextFormat, TextStyle, Ui, WidgetInfo, text::LayoutJob, vec2,
};
use wordbrush_engine::api::{PictureMode, RunState};

use super::outbox::Outbox;
use crate::{
    command::{AppCommand, Menu},
    document::{Document, History},
    engine_link::{EngineLink, Freshness},
    keymap::Keymap,
    theme::{
        icons, palette, space, strong,
        widgets::{icon_button, icon_toggle, tooltip},
    },
};

/// What the bar reads.
#[derive(Clone, Copy)]
pub struct TopBarView<'a> {
    /// Name of the canvas.
    pub title: &'a str,
    /// Whether there are changes since the last save.
    pub is_dirty: bool,
    /// What is painted.
    pub document: &'a Document,
    /// For the names of undo and redo.
    pub history: &'a History,
    /// The stream.
    pub link: &'a EngineLink,
    /// For the keys beside the entries.
    pub keymap: &'a Keymap,
    /// Commands that turn something on and off, and whether it is on.
    pub toggles: [(AppCommand, bool); 3],
}

/// Draws the bar.
pub fn top_bar_ui(ui: &mut Ui, view: TopBarView<'_>, outbox: &mut Outbox) {
    let room = ui.available_width();
    ui.horizontal_centered(|ui| {
        MenuBar::new().ui(ui, |ui| {
            if room > 980.0 {
                for menu in Menu::ALL {
                    ui.menu_button(menu.label(), |ui| menu_ui(ui, menu, view, outbox));
                }
            } else {
                ui.menu_button("Menu", |ui| {
                    for menu in Menu::ALL {
                        ui.menu_button(menu.label(), |ui| menu_ui(ui, menu, view, outbox));
                    }
                });
            }
            // The bar takes the whole width, so that the rest of it stands inside.
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                ui.spacing_mut().item_spacing.x = space::XS;
                controls_ui(ui, view, outbox);
                ui.add_space(space::M);
                freshness_ui(ui, &view.link.freshness(), room > 640.0);
                ui.add_space(space::M);
                title_ui(ui, view);
            });
        });
    });
}

/// Room that a menu leaves above and below it, in points.
const MENU_MARGIN: f32 = 44.0;

fn menu_ui(ui: &mut Ui, menu: Menu, view: TopBarView<'_>, outbox: &mut Outbox) {
    ui.set_min_width(230.0);
    let is_numbered = |command: &AppCommand| matches!(command, AppCommand::SelectRegion(_));
    let (numbered, commands): (Vec<_>, Vec<_>) = AppCommand::all()
        .filter(|command| command.spec().menu == menu)
        .partition(is_numbered);
    // Below the bar on a small window, too: over it, its first entry would lie under the pointer.
    let height = ui.ctx().content_rect().height() - 2.0 * MENU_MARGIN;
    let entries = ScrollArea::vertical()
        .max_height(height)
        // Else a menu that has just opened would keep the height that areas begin with.
        .min_scrolled_height(height);
    entries.show(ui, |ui| {
        entries_ui(ui, &commands, view, outbox);
        if !numbered.is_empty() {
            let submenu = ui.menu_button(entry_text(ui, "", "Select region"), |ui| {
                ui.set_min_width(200.0);
                entries_ui(ui, &numbered, view, outbox);
            });
            let response = submenu.response;
            response.widget_info(|| WidgetInfo::labeled(Role::Button, true, "Select region"));
        }
    });
}

fn entries_ui(ui: &mut Ui, commands: &[AppCommand], view: TopBarView<'_>, outbox: &mut Outbox) {
    for &command in commands {
        if begins_group(command) {
            ui.separator();
        }
        let spec = command.spec();
        let label = match command {
            AppCommand::Undo => named(spec.label, view.history.undo_label()),
            AppCommand::Redo => named(spec.label, view.history.redo_label()),
            _ => spec.label.to_owned(),
        };
        let is_enabled = match command {
            AppCommand::Undo => view.history.undo_label().is_some(),
            AppCommand::Redo => view.history.redo_label().is_some(),
            AppCommand::RemoveBackgroundImage => view.document.background.image.is_some(),
            _ => true,
        };
        let toggle = view.toggles.iter().find(|(toggle, _)| *toggle == command);
        let is_on = toggle.map(|(_, is_on)| *is_on);
        let mut text = entry_text(ui, spec.icon, &label);
        if is_on == Some(true) {
            let font = TextStyle::Button.resolve(ui.style());
            text.append(
                icons::CHECK,
                space::S,
                TextFormat::simple(font, palette(ui).accent),
            );
        }
        let button = Button::new(text).shortcut_text(view.keymap.name(command));
        let response = ui.add_enabled(is_enabled, button);
        response.widget_info(|| match is_on {
            Some(is_on) => WidgetInfo::selected(Role::Button, is_enabled, is_on, &label),
            None => WidgetInfo::labeled(Role::Button, is_enabled, &label),
        });
        if response.on_hover_text(spec.hint).clicked() {
            outbox.run(command);
            ui.close();
        }
    }
}

/// A glyph and a name; without a glyph the name begins where the others do.
fn entry_text(ui: &Ui, glyph: &str, label: &str) -> LayoutJob {
    let (glyph, ink) = if glyph.is_empty() {
        (icons::CIRCLE, Color32::TRANSPARENT)
    } else {
        (glyph, Color32::PLACEHOLDER)
    };
    let font = TextStyle::Button.resolve(ui.style());
    let mut text = LayoutJob::default();
    text.append(glyph, 0.0, TextFormat::simple(font.clone(), ink));
    text.append(label, space::S, TextFormat::simple(font, Color32::PLACEHOLDER));
    text
}

fn named(verb: &str, what: Option<&str>) -> String {
    match what {
        Some(what) => format!("{verb}: {}", what.to_lowercase()),
        None => verb.to_owned(),
    }
}

/// Whether a line stands above a command in its menu.
fn begins_group(command: AppCommand) -> bool {
    matches!(
        command,
        AppCommand::Save
            | AppCommand::Export
            | AppCommand::Quit
            | AppCommand::CanvasSize
            | AppCommand::Settings
            | AppCommand::RaiseRegion
            | AppCommand::ToggleVisible
            | AppCommand::SwapRegions
            | AppCommand::InvertMask
            | AppCommand::Deselect
            | AppCommand::BrushLarger
            | AppCommand::ToggleDream
            | AppCommand::ModelWindow
            | AppCommand::RotateLeft
            | AppCommand::CycleView
            | AppCommand::TogglePerformance
            | AppCommand::ToggleTheme
    )
}

fn title_ui(ui: &mut Ui, view: TopBarView<'_>) {
    if ui.available_width() < 90.0 {
        return;
    }
    let colours = palette(ui);
    ui.with_layout(
        Layout::centered_and_justified(egui::Direction::LeftToRight),
        |ui| {
            let mark = if view.is_dirty { " •" } else { "" };
            let title = RichText::new(format!("{}{mark}", view.title))
                .text_style(strong())
                .color(colours.text_weak);
            let response = ui.add(Label::new(title).truncate());
            if view.is_dirty {
                response.on_hover_text("There are changes since the last save.");
            }
        },
    );
}

fn controls_ui(ui: &mut Ui, view: TopBarView<'_>, outbox: &mut Outbox) {
    let hint = |command: AppCommand| view.keymap.with_keys(command.spec().hint, command);
    let is_dreaming = view.document.settings.picture == PictureMode::Dream;
    let is_running = view.link.run_state() == RunState::Running;
    if icon_button(
        ui,
        icons::CIRCLE_HELP,
        "Help and shortcuts",
        &hint(AppCommand::Help),
    )
    .clicked()
    {
        outbox.run(AppCommand::Help);
    }
    let label = if is_dreaming { "Hold the picture" } else { "Dream" };
    if icon_toggle(
        ui,
        icons::INFINITY,
        label,
        &hint(AppCommand::ToggleDream),
        is_dreaming,
    )
    .clicked()
    {
        outbox.run(AppCommand::ToggleDream);
    }
    if icon_button(ui, icons::DICES, "Reroll", &hint(AppCommand::RerollAll)).clicked() {
        outbox.run(AppCommand::RerollAll);
    }
    if icon_button(ui, icons::STEP_FORWARD, "Single step", &hint(AppCommand::Step)).clicked() {
        outbox.run(AppCommand::Step);
    }
    let (glyph, label) = if is_running {
        (icons::PAUSE, "Pause")
    } else {
        (icons::PLAY, "Run")
    };
    if icon_toggle(ui, glyph, label, &hint(AppCommand::ToggleRun), !is_running).clicked() {
        outbox.run(AppCommand::ToggleRun);
    }
}

/// How the light looks: its form says the same as its colour.
#[derive(Clone, Copy, PartialEq)]
enum Light {
    Disc,
    Ring,
    Half,
    Bars,
    Cross,
}

fn freshness_ui(ui: &mut Ui, freshness: &Freshness, has_words: bool) {
    let colours = palette(ui);
    let (light, colour, text, hint) = match freshness {
        Freshness::NoModel => (
            Light::Ring,
            colours.text_weak,
            "No model".to_owned(),
            "Choose a model to see a picture.",
        ),
        Freshness::Loading { what, fraction } => {
            let text = format!("Loading {what} {:.0} %", fraction * 100.0);
            (
                Light::Half,
                colours.warn,
                text,
                "The model is being read; you can paint already.",
            )
        }
        Freshness::Fresh => (
            Light::Disc,
            colours.accent,
            "Up to date".to_owned(),
            "The picture shows every edit; nothing is computed until you change something.",
        ),
        Freshness::Streaming { steps_left: Some(1) } => (
            Light::Half,
            colours.accent,
            "1 step to go".to_owned(),
            "Your newest edit is in the picture and is being finished.",
        ),
        Freshness::Streaming {
            steps_left: Some(steps),
        } => (
            Light::Half,
            colours.accent,
            format!("{steps} steps to go"),
            "Your newest edit is in the picture and is being finished.",
        ),
        Freshness::Streaming { steps_left: None } => (
            Light::Disc,
            colours.accent,
            "Streaming".to_owned(),
            "The picture shows every edit and goes on.",
        ),
        Freshness::Behind => (
            Light::Ring,
            colours.warn,
            "Edit on its way".to_owned(),
            "Your newest edit is not in the picture yet.",
        ),
        Freshness::Paused { is_stale: true } => (
            Light::Bars,
            colours.warn,
            "Paused, edits waiting".to_owned(),
            "Run the stream, or make a single step.",
        ),
        Freshness::Paused { is_stale: false } => (
            Light::Bars,
            colours.text_weak,
            "Paused".to_owned(),
            "Run the stream, or make a single step.",
        ),
        Freshness::Rendering => (
            Light::Half,
            colours.accent,
            "Rendering".to_owned(),
            "The stream waits until the picture is finished.",
        ),
        Freshness::Failed => (
            Light::Cross,
            colours.error,
            "Stopped".to_owned(),
            "Something failed; an edit or another model tries again.",
        ),
    };
    let response = ui
        .scope(|ui| {
            ui.spacing_mut().item_spacing.x = 6.0;
            if has_words {
                ui.label(RichText::new(&text).color(colours.text));
            }
            let (rect, response) = ui.allocate_exact_size(vec2(14.0, 14.0), Sense::hover());
            paint_light(ui, rect.center(), light, colour);
            response.widget_info(|| WidgetInfo::labeled(Role::Label, true, format!("Freshness: {text}")));
            response
        })
        .response;
    response.on_hover_ui(|ui| tooltip(ui, &text, hint, ""));
}

fn paint_light(ui: &Ui, at: Pos2, light: Light, colour: Color32) {
    let painter = ui.painter();
    let radius = 5.0;
    let stroke = Stroke::new(1.5, colour);
    match light {
        Light::Disc => {
            painter.circle_filled(at, radius + 2.0, colour.gamma_multiply(0.25));
            painter.circle_filled(at, radius, colour);
        }
        Light::Ring => {
            painter.circle_stroke(at, radius, stroke);
        }
        Light::Half => {
            painter.circle_stroke(at, radius, stroke);
            let points = (0..=16)
                .map(|step| {
                    let angle = std::f32::consts::FRAC_PI_2 + std::f32::consts::PI * step as f32 / 16.0;
                    at + radius * vec2(angle.cos(), angle.sin())
                })
                .collect();
            painter.add(Shape::convex_polygon(points, colour, Stroke::NONE));
        }
        Light::Bars => {
            for side in [-2.5, 2.5] {
                let bar = egui::Rect::from_center_size(at + vec2(side, 0.0), vec2(3.0, 10.0));
                painter.rect_filled(bar, 1, colour);
            }
        }
        Light::Cross => {
            let arm = vec2(4.0, 4.0);
            let stroke = Stroke::new(2.0, colour);
            painter.line_segment([at - arm, at + arm], stroke);
            painter.line_segment([at + vec2(-4.0, 4.0), at + vec2(4.0, -4.0)], stroke);
        }
    }
}
