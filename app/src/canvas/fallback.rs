//! The canvas through egui's own textures, where there is no graphics card of ours to draw on.
//!
//! Simpler than `gpu`: regions are always filled, and nothing is hatched or outlined.

use eframe::egui::{
    self, Color32, ColorImage, Mesh, Painter, Shape, TextureHandle, TextureOptions, pos2, vec2,
};
use wordbrush_engine::api::{CanvasSize, Picture};

use super::{
    display::{Layer, OverlayMode, Pane},
    overlay::{Overlay, Patch},
    view::Placement,
};

/// egui textures of what the canvas shows.
#[derive(Default)]
pub(super) struct FallbackTextures {
    frame: Option<Shown>,
    background: Option<Shown>,
    regions: Option<TextureHandle>,
}

struct Shown {
    picture: Picture,
    texture: TextureHandle,
}

impl FallbackTextures {
    /// Brings the textures up to date; once a frame, before the panes are drawn.
    pub(super) fn update(
        &mut self,
        context: &egui::Context,
        frame: Option<&Picture>,
        background: Option<&Picture>,
        overlay: &mut Overlay,
    ) {
        show(&mut self.frame, context, "frame", frame);
        show(&mut self.background, context, "background", background);
        let size = overlay.size();
        let size = [size.width() as usize, size.height() as usize];
        if !fits(context, size) {
            self.regions = None;
            return;
        }
        let texture = match &mut self.regions {
            Some(texture) if texture.size() == size => texture,
            slot => {
                overlay.mark_all();
                let blank = ColorImage::filled(size, Color32::TRANSPARENT);
                slot.insert(context.load_texture("regions", blank, TextureOptions::LINEAR))
            }
        };
        for patch in overlay.take_patches() {
            let corner = [patch.rect.x0 as usize, patch.rect.y0 as usize];
            texture.set_partial(corner, image_of(&patch), TextureOptions::LINEAR);
        }
    }

    /// Draws one pane.
    pub(super) fn draw(
        &self,
        painter: &Painter,
        placement: &Placement,
        pane: &Pane,
        canvas: CanvasSize,
        overlay_mode: OverlayMode,
        overlay_opacity: f32,
    ) {
        let painter = painter.with_clip_rect(pane.clip.intersect(painter.clip_rect()));
        let quad = |texture, tint| textured_quad(placement, canvas, texture, tint);
        painter.add(quad(egui::TextureId::default(), Color32::WHITE));
        let picture = match pane.layer {
            Layer::Result => self.frame.as_ref().or(self.background.as_ref()),
            Layer::Background => self.background.as_ref(),
            Layer::Masks => None,
        };
        if let Some(shown) = picture {
            painter.add(quad(shown.texture.id(), Color32::WHITE));
        }
        let opacity = match (pane.layer, overlay_mode) {
            (Layer::Masks, _) => 1.0,
            (_, OverlayMode::Off) => 0.0,
            _ => overlay_opacity,
        };
        if let Some(regions) = &self.regions
            && opacity > 0.0
        {
            let tint = Color32::WHITE.gamma_multiply(opacity);
            painter.add(quad(regions.id(), tint));
        }
    }
}

fn show(slot: &mut Option<Shown>, context: &egui::Context, name: &str, picture: Option<&Picture>) {
    let Some(picture) = picture else {
        *slot = None;
        return;
    };
    if slot.as_ref().is_some_and(|shown| shown.picture.is_same(picture)) {
        return;
    }
    let size = picture.size();
    let size = [size.width() as usize, size.height() as usize];
    if !fits(context, size) {
        *slot = None;
        return;
    }
    let image = ColorImage::from_rgba_unmultiplied(size, picture.rgba());
    match slot {
        Some(shown) => {
            shown.texture.set(image, TextureOptions::LINEAR);
            shown.picture = picture.clone();
        }
        None => {
            *slot = Some(Shown {
                picture: picture.clone(),
                texture: context.load_texture(name, image, TextureOptions::LINEAR),
            });
        }
    }
}

/// Whether egui's backend takes a texture of this size; what does not fit is not shown.
fn fits(context: &egui::Context, size: [usize; 2]) -> bool {
    let limit = context.input(|input| input.max_texture_side);
    size[0].max(size[1]) <= limit
}

fn image_of(patch: &Patch) -> ColorImage {
    let size = [patch.rect.width() as usize, patch.rect.height() as usize];
    ColorImage::from_rgba_premultiplied(size, &patch.rgba)
}

fn textured_quad(
    placement: &Placement,
    canvas: CanvasSize,
    texture: egui::TextureId,
    tint: Color32,
) -> Shape {
    let size = vec2(canvas.width() as f32, canvas.height() as f32);
    let is_plain = texture == egui::TextureId::default();
    let mut mesh = Mesh::with_texture(texture);
    for corner in [pos2(0.0, 0.0), pos2(1.0, 0.0), pos2(1.0, 1.0), pos2(0.0, 1.0)] {
        mesh.vertices.push(egui::epaint::Vertex {
            pos: placement.screen_from_canvas([corner.x * size.x, corner.y * size.y]),
            uv: if is_plain { egui::epaint::WHITE_UV } else { corner },
            color: tint,
        });
    }
    mesh.indices.extend([0, 1, 2, 0, 2, 3]);
    Shape::mesh(mesh)
}
