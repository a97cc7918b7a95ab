//! Colours, type and spacing in one place.
//!
//! The interface is neutral grey so that it does not tint what the painter sees; one accent marks what is active.
//! States never rest on colour alone: a shape or a word always says the same.

mod copy_glyph;
pub mod icons;
pub mod widgets;

use std::sync::Arc;

use eframe::egui::{
    self, Color32, CornerRadius, FontData, FontDefinitions, FontFamily, FontId, FontTweak, Margin, Shadow,
    Stroke, TextStyle, Theme, Vec2, Visuals, style::WidgetVisuals, vec2,
};

/// The spacing scale, in points.
pub mod space {
    /// Between parts of one control.
    pub const XS: f32 = 4.0;
    /// Between controls.
    pub const S: f32 = 8.0;
    /// Inside panels.
    pub const M: f32 = 12.0;
    /// Between groups.
    pub const L: f32 = 16.0;
    /// Around empty states and dialogs.
    pub const XL: f32 = 24.0;
}

/// Corner radius of controls.
pub const CORNER: CornerRadius = CornerRadius::same(6);
/// Corner radius of cards and windows.
pub const CORNER_LARGE: CornerRadius = CornerRadius::same(10);

/// The colours of one theme.
#[derive(Clone, Copy, Debug)]
pub struct Palette {
    /// Behind the canvas.
    pub desk: Color32,
    /// Panels and bars.
    pub panel: Color32,
    /// Cards, buttons.
    pub raised: Color32,
    /// Controls under the pointer.
    pub hover: Color32,
    /// Text fields, rails.
    pub sunken: Color32,
    /// Lines between areas.
    pub line: Color32,
    /// Text.
    pub text: Color32,
    /// Secondary text; 4.5:1 on panels.
    pub text_weak: Color32,
    /// The one accent.
    pub accent: Color32,
    /// Text and icons on the accent.
    pub on_accent: Color32,
    /// The accent as a faint surface.
    pub accent_faint: Color32,
    /// Something works differently than asked.
    pub warn: Color32,
    /// Something failed.
    pub error: Color32,
}

/// For dark surroundings.
pub const DARK: Palette = Palette {
    desk: Color32::from_rgb(19, 20, 22),
    panel: Color32::from_rgb(30, 31, 34),
    raised: Color32::from_rgb(43, 45, 49),
    hover: Color32::from_rgb(56, 58, 64),
    sunken: Color32::from_rgb(22, 23, 25),
    line: Color32::from_rgb(50, 52, 57),
    text: Color32::from_rgb(230, 231, 234),
    text_weak: Color32::from_rgb(158, 162, 170),
    accent: Color32::from_rgb(79, 209, 185),
    on_accent: Color32::from_rgb(8, 34, 30),
    accent_faint: Color32::from_rgb(34, 62, 58),
    warn: Color32::from_rgb(240, 184, 87),
    error: Color32::from_rgb(255, 122, 110),
};

/// For bright surroundings.
pub const LIGHT: Palette = Palette {
    desk: Color32::from_rgb(205, 207, 211),
    panel: Color32::from_rgb(246, 246, 248),
    raised: Color32::from_rgb(232, 233, 236),
    hover: Color32::from_rgb(219, 221, 226),
    sunken: Color32::from_rgb(255, 255, 255),
    line: Color32::from_rgb(216, 218, 223),
    text: Color32::from_rgb(29, 31, 35),
    text_weak: Color32::from_rgb(95, 99, 108),
    accent: Color32::from_rgb(6, 106, 91),
    on_accent: Color32::WHITE,
    accent_faint: Color32::from_rgb(209, 235, 230),
    warn: Color32::from_rgb(146, 92, 0),
    error: Color32::from_rgb(184, 40, 30),
};

/// The palette in use.
pub fn palette(ui: &egui::Ui) -> &'static Palette {
    if ui.visuals().dark_mode { &DARK } else { &LIGHT }
}

/// Small print: hints, units.
pub fn small() -> TextStyle {
    TextStyle::Small
}

/// Emphasised body text and titles of panels.
pub fn strong() -> TextStyle {
    TextStyle::Name("strong".into())
}

/// Titles of dialogs.
pub fn title() -> TextStyle {
    TextStyle::Name("title".into())
}

/// Icons that stand alone.
pub fn icon() -> TextStyle {
    TextStyle::Name("icon".into())
}

/// Gives a context the app's fonts and both themes.
pub fn install(ctx: &egui::Context) {
    ctx.set_fonts(fonts());
    ctx.add_glyph_rasterizer(copy_glyph::copy_glyph());
    for (theme, palette) in [(Theme::Dark, &DARK), (Theme::Light, &LIGHT)] {
        ctx.set_style_of(theme, style(theme, palette));
    }
}

fn fonts() -> FontDefinitions {
    let mut fonts = FontDefinitions::default();
    let add = |fonts: &mut FontDefinitions, name: &str, bytes: &'static [u8], tweak: FontTweak| {
        let font = FontData::from_static(bytes).tweak(tweak);
        fonts.font_data.insert(name.to_owned(), Arc::new(font));
    };
    add(
        &mut fonts,
        "Inter",
        include_bytes!("../../../assets/fonts/Inter-Regular.ttf"),
        FontTweak::default(),
    );
    add(
        &mut fonts,
        "Inter SemiBold",
        include_bytes!("../../../assets/fonts/Inter-SemiBold.ttf"),
        FontTweak::default(),
    );
    // Lucide's glyphs stand on the baseline and fill the em; lowered, they are centred on the letters.
    let centred = FontTweak {
        scale: 1.14,
        y_offset_factor: 0.14,
        ..FontTweak::default()
    };
    add(
        &mut fonts,
        "Lucide",
        include_bytes!("../../../assets/fonts/Lucide.ttf"),
        centred,
    );

    let fallbacks = fonts
        .families
        .get(&FontFamily::Proportional)
        .cloned()
        .unwrap_or_default();
    let family = |first: &str| {
        let mut names = vec![first.to_owned(), "Lucide".to_owned()];
        names.extend(fallbacks.iter().cloned());
        names
    };
    fonts.families.insert(FontFamily::Proportional, family("Inter"));
    fonts.families.insert(semibold_family(), family("Inter SemiBold"));
    fonts
}

fn semibold_family() -> FontFamily {
    FontFamily::Name("semibold".into())
}

fn style(theme: Theme, palette: &Palette) -> egui::Style {
    let mut style = theme.default_style();
    style.text_styles = [
        (TextStyle::Small, FontId::proportional(11.0)),
        (TextStyle::Body, FontId::proportional(13.0)),
        (TextStyle::Button, FontId::proportional(13.0)),
        (TextStyle::Monospace, FontId::monospace(12.0)),
        (TextStyle::Heading, FontId::new(16.0, semibold_family())),
        (strong(), FontId::new(13.0, semibold_family())),
        (title(), FontId::new(20.0, semibold_family())),
        (icon(), FontId::proportional(16.0)),
    ]
    .into();

    let spacing = &mut style.spacing;
    spacing.item_spacing = vec2(space::S, 6.0);
    spacing.button_padding = vec2(10.0, 5.0);
    spacing.interact_size = vec2(28.0, 26.0);
    spacing.window_margin = Margin::same(16);
    spacing.menu_margin = Margin::same(6);
    spacing.icon_width = 16.0;
    spacing.icon_width_inner = 10.0;
    spacing.icon_spacing = 6.0;
    spacing.slider_rail_height = 4.0;
    spacing.combo_width = 120.0;
    spacing.tooltip_width = 320.0;
    spacing.indent = space::L;
    spacing.scroll.bar_width = 6.0;
    spacing.scroll.floating_width = 4.0;
    // Room of its own, so that it covers no numbers.
    spacing.scroll.floating_allocated_width = 8.0;

    style.interaction.tooltip_delay = 0.4;
    style.interaction.selectable_labels = false;
    style.visuals = visuals(theme, palette);
    style
}

fn visuals(theme: Theme, palette: &Palette) -> Visuals {
    let mut visuals = theme.default_visuals();
    let control = |fill: Color32, outline: Color32, text: Color32| WidgetVisuals {
        bg_fill: fill,
        weak_bg_fill: fill,
        bg_stroke: Stroke::new(1.0, outline),
        corner_radius: CORNER,
        fg_stroke: Stroke::new(1.0, text),
        expansion: 0.0,
    };
    visuals.widgets.noninteractive = WidgetVisuals {
        bg_fill: palette.panel,
        weak_bg_fill: palette.panel,
        bg_stroke: Stroke::new(1.0, palette.line),
        corner_radius: CORNER,
        fg_stroke: Stroke::new(1.0, palette.text),
        expansion: 0.0,
    };
    visuals.widgets.inactive = control(palette.raised, Color32::TRANSPARENT, palette.text);
    visuals.widgets.hovered = control(palette.hover, palette.line, palette.text);
    visuals.widgets.active = control(palette.hover, palette.accent, palette.text);
    visuals.widgets.open = control(palette.hover, palette.line, palette.text);
    visuals.selection.bg_fill = palette.accent_faint;
    visuals.selection.stroke = Stroke::new(1.0, palette.accent);
    visuals.weak_text_color = Some(palette.text_weak);
    visuals.hyperlink_color = palette.accent;
    visuals.faint_bg_color = palette.raised;
    visuals.extreme_bg_color = palette.sunken;
    visuals.text_edit_bg_color = Some(palette.sunken);
    visuals.code_bg_color = palette.raised;
    visuals.warn_fg_color = palette.warn;
    visuals.error_fg_color = palette.error;
    visuals.panel_fill = palette.panel;
    visuals.window_fill = palette.panel;
    visuals.window_stroke = Stroke::new(1.0, palette.line);
    visuals.window_corner_radius = CORNER_LARGE;
    visuals.menu_corner_radius = CORNER;
    let shadow = |offset: i8, blur: u8, alpha: u8| Shadow {
        offset: [0, offset],
        blur,
        spread: 0,
        color: Color32::from_black_alpha(alpha),
    };
    visuals.popup_shadow = shadow(4, 16, 70);
    visuals.window_shadow = shadow(8, 32, 90);
    visuals.slider_trailing_fill = true;
    visuals.handle_shape = egui::style::HandleShape::Circle;
    visuals.indent_has_left_vline = false;
    visuals.interact_cursor = None;
    visuals
}

/// Black or white, whichever reads better on a colour.
pub fn readable_on(colour: [u8; 3]) -> Color32 {
    let [red, green, blue] = colour.map(f32::from);
    if red * 0.299 + green * 0.587 + blue * 0.114 > 150.0 {
        Color32::BLACK
    } else {
        Color32::WHITE
    }
}

/// The size of square icon buttons.
pub const ICON_BUTTON: Vec2 = vec2(28.0, 28.0);

#[cfg(test)]
mod tests {
    use super::*;

    fn luminance(colour: Color32) -> f32 {
        let linear = egui::Rgba::from(colour);
        0.2126 * linear.r() + 0.7152 * linear.g() + 0.0722 * linear.b()
    }

    fn contrast(a: Color32, b: Color32) -> f32 {
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn text_is_readable_on_every_surface_of_both_themes() {
        for palette in [DARK, LIGHT] {
            for surface in [palette.panel, palette.sunken, palette.raised] {
                assert!(contrast(palette.text, surface) >= 7.0, "{palette:?}");
                assert!(
                    contrast(palette.text_weak, surface) >= 4.5,
                    "{palette:?} {surface:?}"
                );
            }
            for signal in [palette.accent, palette.warn, palette.error] {
                assert!(contrast(signal, palette.panel) >= 4.5, "{palette:?} {signal:?}");
            }
            assert!(
                contrast(palette.accent, palette.accent_faint) >= 4.5,
                "{palette:?}"
            );
            assert!(contrast(palette.on_accent, palette.accent) >= 4.5, "{palette:?}");
        }
    }
}
