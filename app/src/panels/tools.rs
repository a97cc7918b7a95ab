//! The tool rail at the left, and the options of the tool in hand above the canvas.

use std::ops::RangeInclusive;

use eframe::egui::{
    self, Align, Button, DragValue, Layout, Popup, PopupCloseBehavior, RichText, Ui, style::StyleModifier,
    vec2,
};
use serde::{Deserialize, Serialize};

use super::outbox::Outbox;
use crate::{
    canvas::{AreaSettings, CanvasDisplay, CanvasLayout, FillSource, Layer, OverlayMode, Tool},
    command::AppCommand,
    document::History,
    keymap::Keymap,
    paint::{BrushSettings, ShapeMode, Symmetry},
    theme::{
        icons, palette, small, space,
        widgets::{
            PER_CENT, PLAIN, caption, checkbox, icon_toggle, segmented, sized_icon_toggle, slider_row,
            tooltip,
        },
    },
};

/// The tool in hand and how the canvas is shown.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ToolSettings {
    /// What a press does.
    pub tool: Tool,
    /// The brush.
    pub brush: BrushSettings,
    /// Copies of each stroke.
    pub symmetry: Symmetry,
    /// How shapes and fills work.
    pub area: AreaSettings,
    /// How the canvas is shown.
    pub display: CanvasDisplay,
}

impl Default for ToolSettings {
    fn default() -> Self {
        Self {
            tool: Tool::default(),
            brush: BrushSettings::default(),
            symmetry: Symmetry::default(),
            area: AreaSettings::default(),
            // The picture is what a painter wants to see; outlines tell where the regions are.
            display: CanvasDisplay {
                overlay_mode: OverlayMode::Outlines,
                overlay_opacity: 0.6,
                ..CanvasDisplay::default()
            },
        }
    }
}

/// Layouts offered: name, glyph, what is seen.
const LAYOUTS: [(CanvasLayout, &str, &str, &str); 6] = [
    (
        CanvasLayout::Single(Layer::Result),
        "Picture",
        icons::IMAGE,
        "What the model paints.",
    ),
    (
        CanvasLayout::Single(Layer::Masks),
        "Regions",
        icons::LAYERS,
        "The regions in their colours.",
    ),
    (
        CanvasLayout::Single(Layer::Background),
        "Background",
        icons::FILE_IMAGE,
        "The picture behind everything.",
    ),
    (
        CanvasLayout::Wipe(Layer::Masks, Layer::Result),
        WIPE,
        icons::BLEND,
        "Regions and picture, with a line to drag.",
    ),
    (
        CanvasLayout::SideBySide(Layer::Masks, Layer::Result),
        SIDE_BY_SIDE,
        icons::COLUMNS_2,
        "Regions at the left, picture at the right.",
    ),
    (
        CanvasLayout::Wipe(Layer::Background, Layer::Result),
        "Before and after",
        icons::CONTRAST,
        "Background and picture, with a line to drag.",
    ),
];

const WIPE: &str = "Wipe";
const SIDE_BY_SIDE: &str = "Side by side";

/// What either side of two pictures may show.
const SIDES: [(Layer, &str, &str); 3] = [
    (Layer::Masks, "Regions", "The regions in their colours."),
    (Layer::Result, "Picture", "What the model paints."),
    (Layer::Background, "Background", "The picture behind everything."),
];

impl ToolSettings {
    /// One picture, then two with a line to drag, then two side by side.
    pub fn next_layout(&mut self) {
        self.display.layout = match self.display.layout {
            CanvasLayout::Single(_) => CanvasLayout::Wipe(Layer::Masks, Layer::Result),
            CanvasLayout::Wipe(left, right) => CanvasLayout::SideBySide(left, right),
            CanvasLayout::SideBySide(..) => CanvasLayout::default(),
        };
    }
}

const TOOLS: [(Tool, AppCommand); 7] = [
    (Tool::Brush, AppCommand::ToolBrush),
    (Tool::Eraser, AppCommand::ToolEraser),
    (Tool::Fill, AppCommand::ToolFill),
    (Tool::Rectangle, AppCommand::ToolRectangle),
    (Tool::Ellipse, AppCommand::ToolEllipse),
    (Tool::Lasso, AppCommand::ToolLasso),
    (Tool::Pick, AppCommand::ToolPick),
];

/// Width of the rail.
pub const RAIL_WIDTH: f32 = 48.0;

/// Draws the tool rail.
pub fn tool_rail_ui(ui: &mut Ui, in_hand: Tool, history: &History, keymap: &Keymap, outbox: &mut Outbox) {
    ui.vertical_centered(|ui| {
        ui.spacing_mut().item_spacing.y = space::XS;
        ui.add_space(space::S);
        for (tool, command) in TOOLS {
            let hint = command.spec().hint;
            tool_button_ui(ui, in_hand == tool, command, hint, keymap, outbox);
        }
        ui.add_space(space::XS);
        ui.separator();
        for (command, verb, change) in [
            (AppCommand::Undo, "Takes back", history.undo_label()),
            (AppCommand::Redo, "Does again", history.redo_label()),
        ] {
            let hint = change.map(|change| format!("{verb}: {}.", change.to_lowercase()));
            ui.add_enabled_ui(hint.is_some(), |ui| {
                let hint = hint.as_deref().unwrap_or_default();
                tool_button_ui(ui, false, command, hint, keymap, outbox);
            });
        }
    });
}

fn tool_button_ui(
    ui: &mut Ui,
    is_on: bool,
    command: AppCommand,
    hint: &str,
    keymap: &Keymap,
    outbox: &mut Outbox,
) {
    let spec = command.spec();
    let size = vec2(34.0, 34.0);
    let hint_text = keymap.with_keys(hint, command);
    if sized_icon_toggle(ui, spec.icon, spec.label, &hint_text, is_on, size).clicked() {
        outbox.run(command);
    }
}

/// Draws the options of the tool in hand, and how the canvas is shown.
pub fn tool_options_ui(ui: &mut Ui, pen: &mut ToolSettings, keymap: &Keymap, outbox: &mut Outbox) {
    ui.horizontal(|ui| {
        ui.set_min_height(30.0);
        let room = ui.available_width();
        match pen.tool {
            Tool::Brush | Tool::Eraser => brush_options_ui(ui, pen, keymap, room),
            Tool::Fill => fill_options_ui(ui, &mut pen.area, room),
            Tool::Lasso | Tool::Rectangle | Tool::Ellipse => shape_options_ui(ui, &mut pen.area, room),
            Tool::Pick if room > 480.0 => {
                ui.label(
                    RichText::new("Click the canvas to select the region there")
                        .text_style(small())
                        .color(palette(ui).text_weak),
                );
            }
            Tool::Pick => {}
        }
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            view_options_ui(ui, &mut pen.display, room, outbox);
        });
    });
}

/// A number with its name before it.
fn number_ui(
    ui: &mut Ui,
    label: &str,
    value: &mut f32,
    range: RangeInclusive<f32>,
    scale: f32,
    suffix: &str,
    hint_text: &str,
) {
    let mut shown = *value * scale;
    let speed = f64::from(shown.abs() / 80.0).clamp(0.2, 8.0);
    let name = ui.label(
        RichText::new(label)
            .text_style(small())
            .color(palette(ui).text_weak),
    );
    let drag = DragValue::new(&mut shown)
        .range(range.start() * scale..=range.end() * scale)
        .clamp_existing_to_range(false)
        .speed(speed)
        .max_decimals(0)
        .suffix(suffix);
    let response = ui.add_sized(vec2(58.0, 24.0), drag).labelled_by(name.id);
    if response.changed() {
        *value = shown / scale;
    }
    response.on_hover_ui(|ui| tooltip(ui, label, hint_text, ""));
}

/// A property of the brush between 0 and 1.
struct BrushProperty {
    label: &'static str,
    hint: &'static str,
    /// What changes it by keys.
    commands: &'static [AppCommand],
    range: RangeInclusive<f32>,
    of: fn(&mut BrushSettings) -> &mut f32,
    /// From so much room on it stands above the canvas, too.
    from_room: f32,
}

const BRUSH_PROPERTIES: [BrushProperty; 5] = [
    BrushProperty {
        label: "Hardness",
        hint: "How crisp the edge is. Shift+drag up and down on the canvas changes it.",
        commands: &[AppCommand::BrushSofter, AppCommand::BrushHarder],
        range: 0.0..=1.0,
        of: |brush| &mut brush.hardness,
        from_room: 490.0,
    },
    BrushProperty {
        label: "Flow",
        hint: "How much of the way to full coverage each dab goes.",
        commands: &[],
        range: 0.01..=1.0,
        of: |brush| &mut brush.flow,
        from_room: 640.0,
    },
    BrushProperty {
        label: "Opacity",
        hint: "Coverage that a whole stroke cannot exceed.",
        commands: &[],
        range: 0.01..=1.0,
        of: |brush| &mut brush.opacity,
        from_room: 760.0,
    },
    BrushProperty {
        label: "Spacing",
        hint: "Distance between dabs as a part of the size.",
        commands: &[],
        range: 0.02..=1.0,
        of: |brush| &mut brush.spacing,
        from_room: f32::INFINITY,
    },
    BrushProperty {
        label: "Stabiliser",
        hint: "How calmly the brush follows the pen.",
        commands: &[],
        range: 0.0..=1.0,
        of: |brush| &mut brush.stabiliser,
        from_room: f32::INFINITY,
    },
];

/// A hint with the keys that do the same, as they are now.
fn hint_with_keys(hint: &str, commands: &[AppCommand], keymap: &Keymap) -> String {
    let names = commands.iter().map(|command| keymap.name(*command));
    let names: Vec<String> = names.filter(|name| !name.is_empty()).collect();
    match names.as_slice() {
        [] => hint.to_owned(),
        names => format!("{hint} Keys: {}.", names.join(" and ")),
    }
}

fn brush_options_ui(ui: &mut Ui, pen: &mut ToolSettings, keymap: &Keymap, room: f32) {
    let brush = &mut pen.brush;
    let hint = "Diameter. Drag the number, or Shift+drag sideways on the canvas.";
    let hint = hint_with_keys(hint, &[AppCommand::BrushSmaller, AppCommand::BrushLarger], keymap);
    number_ui(
        ui,
        "Size",
        &mut brush.size_px,
        BrushSettings::SIZE_RANGE_PX,
        1.0,
        " px",
        &hint,
    );
    for property in BRUSH_PROPERTIES
        .iter()
        .filter(|property| room > property.from_room)
    {
        let (range, value) = (property.range.clone(), (property.of)(brush));
        let hint = hint_with_keys(property.hint, property.commands, keymap);
        number_ui(ui, property.label, value, range, 100.0, " %", &hint);
    }
    let is_special = pen.symmetry != Symmetry::Off || pen.brush.stabiliser > 0.0;
    let hint = "Hardness, flow, opacity, spacing, stabiliser, pen pressure, symmetry.";
    let more = icon_toggle(ui, icons::SLIDERS_HORIZONTAL, "Brush settings", hint, is_special);
    Popup::menu(&more)
        // In the look of menus its numbers would have no boxes.
        .style(StyleModifier::default())
        .close_behavior(PopupCloseBehavior::CloseOnClickOutside)
        .show(|ui| more_brush_options_ui(ui, pen, keymap));
}

fn more_brush_options_ui(ui: &mut Ui, pen: &mut ToolSettings, keymap: &Keymap) {
    ui.set_width(280.0);
    ui.add_space(space::XS);
    let brush = &mut pen.brush;
    for property in &BRUSH_PROPERTIES {
        let (range, value) = (property.range.clone(), (property.of)(brush));
        let hint = hint_with_keys(property.hint, property.commands, keymap);
        slider_row(ui, property.label, &hint, value, range, PER_CENT);
    }
    ui.add_space(space::XS);
    checkbox(
        ui,
        &mut brush.pressure_size.enabled,
        "Pen pressure changes the size",
    );
    checkbox(
        ui,
        &mut brush.pressure_flow.enabled,
        "Pen pressure changes the flow",
    );
    if brush.pressure_size.enabled || brush.pressure_flow.enabled {
        let mut gamma = brush.pressure_size.gamma;
        let hint = "Above 1 the pen feels harder, below 1 softer.";
        if slider_row(ui, "Pressure curve", hint, &mut gamma, 0.3..=3.0, PLAIN).changed() {
            brush.pressure_size.gamma = gamma;
            brush.pressure_flow.gamma = gamma;
        }
    }
    ui.add_space(space::XS);
    caption(ui, "Symmetry");
    let options = [
        (Symmetry::Off, "Off", "One stroke."),
        (Symmetry::Vertical, "Sides", "Mirrored at an upright axis."),
        (Symmetry::Horizontal, "Level", "Mirrored at a level axis."),
        (Symmetry::Both, "Both", "Four strokes."),
        (Symmetry::Radial(6), "Star", "Six strokes round the centre."),
    ];
    segmented(ui, "Symmetry", &mut pen.symmetry, &options);
    ui.add_space(space::XS);
}

fn shape_options_ui(ui: &mut Ui, area: &mut AreaSettings, room: f32) {
    let modes = [
        (
            ShapeMode::Add,
            icons::PLUS,
            "Add the shape",
            "Ctrl held takes away.",
        ),
        (ShapeMode::Subtract, icons::SCISSORS, "Cut the shape out", ""),
        (ShapeMode::Intersect, icons::CROP, "Keep only what is inside", ""),
        (ShapeMode::Replace, icons::SQUARE, "The shape alone", ""),
    ];
    ui.spacing_mut().item_spacing.x = 2.0;
    for (mode, glyph, label, hint) in modes {
        if icon_toggle(ui, glyph, label, hint, area.shape_mode == mode).clicked() {
            area.shape_mode = mode;
        }
    }
    if room > 560.0 {
        ui.add_space(space::S);
        ui.label(
            RichText::new("Drag a shape; Ctrl takes away")
                .text_style(small())
                .color(palette(ui).text_weak),
        );
    }
}

fn fill_options_ui(ui: &mut Ui, area: &mut AreaSettings, room: f32) {
    let sources = [
        (
            FillSource::Mask,
            icons::LAYERS,
            "Fill closed shapes of the mask",
            "",
        ),
        (
            FillSource::Picture,
            icons::IMAGE,
            "Fill by the picture's colour",
            "As far as the colour is connected.",
        ),
        (
            FillSource::EveryColour,
            icons::PALETTE,
            "Fill every place of that colour",
            "",
        ),
    ];
    ui.spacing_mut().item_spacing.x = 2.0;
    for (source, glyph, label, hint) in sources {
        if icon_toggle(ui, glyph, label, hint, area.fill_source == source).clicked() {
            area.fill_source = source;
        }
    }
    if room > 420.0 {
        ui.add_space(space::S);
        ui.spacing_mut().item_spacing.x = space::S;
        let hint = "How unlike a place may be and still be filled.";
        number_ui(
            ui,
            "Tolerance",
            &mut area.fill_tolerance,
            0.0..=1.0,
            100.0,
            " %",
            hint,
        );
    }
}

fn view_options_ui(ui: &mut Ui, display: &mut CanvasDisplay, room: f32, outbox: &mut Outbox) {
    let overlays = [
        (
            OverlayMode::Off,
            icons::EYE_OFF,
            "No overlay",
            "Only the picture.",
        ),
        (
            OverlayMode::Outlines,
            icons::SQUARE_DASHED,
            "Outlines",
            "The regions' edges over the picture.",
        ),
        (
            OverlayMode::Filled,
            icons::LAYERS,
            "Region colours",
            "The regions over the picture.",
        ),
    ];
    ui.spacing_mut().item_spacing.x = 2.0;
    for (mode, glyph, label, hint) in overlays {
        if icon_toggle(ui, glyph, label, hint, display.overlay_mode == mode).clicked() {
            display.overlay_mode = mode;
        }
    }
    if display.overlay_mode != OverlayMode::Off && room > 350.0 {
        let mut opacity = display.overlay_opacity * 100.0;
        let drag = DragValue::new(&mut opacity)
            .range(5.0..=100.0)
            .clamp_existing_to_range(false)
            .suffix(" %")
            .max_decimals(0)
            .speed(0.5);
        let response = ui.add_sized(vec2(50.0, 24.0), drag);
        ui.ctx()
            .accesskit_node_builder(response.id, |node| node.set_label("Overlay opacity".to_owned()));
        if response.changed() {
            display.overlay_opacity = opacity / 100.0;
        }
        response.on_hover_ui(|ui| {
            tooltip(
                ui,
                "Overlay opacity",
                "How strongly regions cover the picture.",
                "",
            );
        });
    }
    ui.add_space(space::S);
    layout_menu_ui(ui, display, outbox);
}

fn layout_menu_ui(ui: &mut Ui, display: &mut CanvasDisplay, outbox: &mut Outbox) {
    let shown = LAYOUTS.iter().find(|(layout, ..)| *layout == display.layout);
    let (name, glyph) = match (shown, display.layout) {
        (Some((_, name, glyph, _)), _) => (*name, *glyph),
        (None, CanvasLayout::Single(_)) => ("Picture", icons::IMAGE),
        (None, CanvasLayout::Wipe(..)) => (WIPE, icons::BLEND),
        (None, CanvasLayout::SideBySide(..)) => (SIDE_BY_SIDE, icons::COLUMNS_2),
    };
    let hint = AppCommand::CycleView.spec().hint;
    let button = icon_toggle(
        ui,
        glyph,
        &format!("View: {name}"),
        hint,
        display.layout != LAYOUTS[0].0,
    );
    let menu = Popup::menu(&button).close_behavior(PopupCloseBehavior::CloseOnClickOutside);
    menu.show(|ui| {
        ui.set_min_width(260.0);
        for (layout, name, glyph, hint) in LAYOUTS {
            let item = Button::selectable(display.layout == layout, format!("{glyph}  {name}"));
            let response = ui.add(item);
            response.widget_info(|| {
                egui::WidgetInfo::selected(egui::Role::MenuItemRadio, true, display.layout == layout, name)
            });
            if response.on_hover_text(hint).clicked() {
                display.layout = layout;
            }
        }
        if let CanvasLayout::Wipe(left, right) | CanvasLayout::SideBySide(left, right) = &mut display.layout {
            for (label, side) in [("Left", left), ("Right", right)] {
                ui.add_space(space::XS);
                caption(ui, label);
                segmented(ui, label, side, &SIDES);
            }
        }
        ui.separator();
        checkbox(ui, &mut display.is_hatched, "Hatching")
            .on_hover_text("Patterns tell regions apart without colour.");
        if ui.button("Fit canvas").clicked() {
            outbox.run(AppCommand::ZoomFit);
            ui.close();
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keymap::KeyPreset;

    #[test]
    fn hints_name_the_keys_in_use() {
        let commands = [AppCommand::BrushSofter, AppCommand::BrushHarder];
        let hint = |file| {
            let keymap = Keymap::from_toml(KeyPreset::Wordbrush, file).unwrap();
            hint_with_keys("How crisp.", &commands, &keymap)
        };
        assert_eq!(hint(""), "How crisp. Keys: Shift+[ and Shift+].");
        assert_eq!(
            hint("brush-softer = []\nbrush-harder = [\"F3\"]"),
            "How crisp. Keys: F3."
        );
        assert_eq!(hint("brush-softer = []\nbrush-harder = []"), "How crisp.");
    }
}
