//! The sign for copying in egui's colour picker, which none of the fonts has.

use eframe::egui::{
    Color32, ColorImage,
    epaint::text::{GlyphBitmap, GlyphRasterizer, GlyphRasterizerRequest, RasterizedGlyph},
    vec2,
};

/// Draws the sign wherever it is written.
pub(super) fn copy_glyph() -> GlyphRasterizer {
    GlyphRasterizer::new("wordbrush copy glyph", rasterized)
}

/// Two sheets, the front one over the other's corner.
fn rasterized(request: &GlyphRasterizerRequest<'_>) -> Option<RasterizedGlyph> {
    if request.cluster != "📋" {
        return None;
    }
    let side = request.font_size_px.clamp(6.0, 256.0).round() as usize;
    let (sheet, line) = (side * 2 / 3, (side / 12).max(1));
    let front = side - sheet;
    let mut image = ColorImage::filled([side, side], Color32::TRANSPARENT);
    for y in 0..side {
        for x in 0..side {
            let is_front = x >= front && y >= front;
            let (x_in, y_in) = if is_front { (x - front, y - front) } else { (x, y) };
            let is_edge = |at: usize| at < line || at + line >= sheet;
            let is_inside = x_in < sheet && y_in < sheet;
            if is_inside && (is_edge(x_in) || is_edge(y_in)) {
                image[(x, y)] = Color32::WHITE;
            }
        }
    }
    Some(RasterizedGlyph {
        bitmap: GlyphBitmap {
            image,
            // It stands a little below the line that the letters stand on, as high as they are.
            offset_px: vec2(0.0, -0.85 * side as f32),
            is_color: false,
        },
        advance_px: side as f32,
    })
}
