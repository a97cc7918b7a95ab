//! The canvas: shows the picture with its regions, and turns what pen, mouse and keys do there into actions.
//!
//! [`canvas_ui`] is called once a frame. It reads the document and never changes it; every change is a
//! [`CanvasAction`] for the app to carry out. A stroke in progress is shown at once, before its edit comes back
//! with the document, so that ink appears in the frame in which the pen moved.
//!
//! ```text
//! input (events ─▶ presses, moves) ─▶ tools (drag in progress) ─▶ CanvasAction
//! view (where the canvas lies) ──────────┘         │
//! overlay (masks ─▶ pixels, tile by tile) ◀────────┘ ─▶ gpu, or fallback where there is none
//! ```
//!
//! Held keys are read here (Space, R, Shift, Ctrl, Alt during a drag). Keys that are pressed once are commands of
//! the app, which calls the methods of [`CanvasState`].

mod decorations;
mod display;
mod drag;
mod fallback;
mod gpu;
mod input;
mod overlay;
mod scene;
mod tools;
mod view;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use eframe::{
    egui::{Rect, Response, Role, Sense, Ui, WidgetInfo},
    egui_wgpu::RenderState,
};
use parking_lot::Mutex;
use wordbrush_engine::api::{CanvasSize, Mask, Picture, RegionId};

pub use display::{AreaSettings, CanvasDisplay, CanvasLayout, FillSource, Layer, OverlayMode, Tool};
pub use view::{Placement, View};

use crate::{
    document::{Document, Edit, Gesture, Target},
    paint::{BrushSettings, MaskChange, StrokeInk, Symmetry},
};
use display::Pane;
use fallback::FallbackTextures;
use input::InputReader;
use overlay::{Overlay, OverlayLayer};
use tools::Tools;

/// What the canvas needs to know each frame.
#[derive(Clone, Copy, Debug)]
pub struct CanvasInputs<'a> {
    /// What is painted.
    pub document: &'a Document,
    /// What tools work on.
    pub target: Target,
    /// What a press does.
    pub tool: Tool,
    /// The brush, for [`Tool::Brush`] and [`Tool::Eraser`].
    pub brush: BrushSettings,
    /// Copies of each stroke, about the middle of the canvas.
    pub symmetry: Symmetry,
    /// How shape and fill tools work.
    pub area: AreaSettings,
    /// The newest picture of the engine.
    pub frame: Option<&'a Picture>,
    /// How everything is shown.
    pub display: CanvasDisplay,
}

/// What the painter did; the app carries it out after [`canvas_ui`].
#[derive(Clone, Debug, PartialEq)]
pub enum CanvasAction {
    /// A change of the document. Edits of one gesture belong to one entry of the history.
    Edit {
        /// The change.
        edit: Edit,
        /// What the history calls it.
        label: &'static str,
        /// The stroke it belongs to.
        gesture: Option<Gesture>,
    },
    /// A change of a whole mask. It may take longer than a frame, so that the app has another thread carry it out.
    ChangeMask {
        /// Whose mask.
        region: RegionId,
        /// The change.
        change: MaskChange,
        /// What the history calls it.
        label: &'static str,
    },
    /// A stroke has been painted to its end: its ink, for changes of the mask that were asked for before it.
    StrokeEnded {
        /// Whose mask it was painted on.
        region: RegionId,
        /// The gesture of its edits.
        gesture: Gesture,
        /// All of its ink.
        ink: Arc<StrokeInk>,
    },
    /// The stroke is over: [`crate::document::History::end_gesture`].
    EndGesture,
    /// What was painted of this stroke was no stroke: [`crate::document::History::take_back`].
    TakeBack(Gesture),
    /// Another target was picked.
    Select(Target),
    /// The brush was resized on the canvas, in canvas pixels.
    SetBrushSize(f32),
    /// The brush's hardness was dragged, 0 to 1.
    SetBrushHardness(f32),
    /// A tool could do nothing; the painter should be told why.
    Blocked(Blocked),
}

/// Why a tool did nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocked {
    /// The background has no mask to paint; a region must be selected.
    NoRegion,
    /// The region is locked.
    Locked,
    /// The region is hidden.
    Hidden,
    /// There is no picture to take colours from yet.
    NoPicture,
}

impl Blocked {
    /// A sentence for the painter.
    pub fn message(self) -> &'static str {
        match self {
            Self::NoRegion => "Select a region to paint, or add one",
            Self::Locked => "This region is locked",
            Self::Hidden => "This region is hidden",
            Self::NoPicture => "There is no picture to take colours from yet",
        }
    }
}

/// What the canvas remembers between frames.
pub struct CanvasState {
    view: View,
    /// The canvas that was fitted into the window; another size is fitted again.
    fitted: Option<CanvasSize>,
    /// The view as it was fitted; as long as nobody moves it, it goes along with the window's size.
    fitted_view: Option<View>,
    /// Where the line of the wipe view stands, 0 to 1.
    wipe: f32,
    /// Place of the first pane in the window and sharpness at the last frame.
    last_rect: Option<(Rect, f32)>,
    hovered: Option<[u32; 2]>,
    reader: InputReader,
    tools: Tools,
    overlay: Arc<Mutex<Overlay>>,
    renderer: Renderer,
}

enum Renderer {
    Gpu(gpu::Installed),
    Egui(Box<FallbackTextures>),
}

impl CanvasState {
    /// Prepares the graphics card once; without one, egui's own textures are used.
    pub fn new(render_state: Option<&RenderState>) -> Self {
        let size = CanvasSize::new(1, 1).expect("a pixel is a canvas");
        Self {
            view: View::default(),
            fitted: None,
            fitted_view: None,
            wipe: 0.5,
            last_rect: None,
            hovered: None,
            reader: InputReader::default(),
            tools: Tools::default(),
            overlay: Arc::new(Mutex::new(Overlay::new(size))),
            renderer: match render_state {
                Some(render_state) => Renderer::Gpu(gpu::install(render_state)),
                None => Renderer::Egui(Box::default()),
            },
        }
    }

    /// The present view.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// Shows the whole canvas.
    pub fn fit(&mut self) {
        self.fitted = None;
    }

    /// One canvas pixel per screen pixel.
    pub fn actual_size(&mut self) {
        self.view.actual_size();
    }

    /// Zooms about the middle; above 1 comes nearer.
    pub fn zoom_by(&mut self, factor: f32) {
        if let (Some((rect, scale)), Some(canvas)) = (self.last_rect, self.fitted) {
            let placement = Placement::new(&self.view, rect, scale);
            self.view = placement.zoomed_at(rect.center(), factor, canvas);
        }
    }

    /// Turns the view, in radians clockwise.
    pub fn rotate_by(&mut self, angle: f32) {
        self.view.rotate_by(angle);
    }

    /// Stands upright again.
    pub fn reset_rotation(&mut self) {
        self.view.reset_rotation();
    }

    /// Swaps left and right.
    pub fn toggle_mirror(&mut self) {
        self.view.toggle_mirror();
    }

    /// Gives up an unfinished shape or lasso.
    pub fn cancel_shape(&mut self) {
        self.tools.cancel_shape();
    }

    /// Gives up everything that belongs to one canvas, because another one takes its place.
    pub fn leave(&mut self) {
        self.tools = tools::Tools::default();
    }

    /// Gives up a stroke in progress; its gesture tells whether some of it has become part of the history.
    pub fn abandon_stroke(&mut self) -> Option<Gesture> {
        self.tools.abandon_stroke()
    }

    /// The canvas pixel under the pointer.
    pub fn hovered_pixel(&self) -> Option<[u32; 2]> {
        self.hovered
    }

    /// Whether a stroke is being painted right now; it lays its tiles over the mask that it began on.
    pub fn has_stroke(&self) -> bool {
        self.stroke().is_some()
    }

    /// The stroke that is being painted right now: whose mask it is on, and its gesture.
    pub fn stroke(&self) -> Option<(RegionId, Gesture)> {
        self.tools.stroke()
    }

    /// Whether a stroke or a shape is being drawn right now.
    pub fn is_painting(&self) -> bool {
        self.tools.is_painting()
    }
}

/// Draws the canvas into all the room that `ui` has, and gathers what the painter does there.
pub fn canvas_ui(
    ui: &mut Ui,
    state: &mut CanvasState,
    inputs: &CanvasInputs<'_>,
    actions: &mut Vec<CanvasAction>,
) -> Response {
    let (rect, response) = ui.allocate_exact_size(ui.available_size(), Sense::click_and_drag());
    response.widget_info(|| WidgetInfo::labeled(Role::Canvas, ui.is_enabled(), "Canvas"));
    let scale = ui.ctx().pixels_per_point();
    let canvas = inputs.document.size;
    let pane_rect = inputs.display.layout.panes(rect, state.wipe)[0].view_rect;
    let is_other_room = state.last_rect != Some((pane_rect, scale));
    let is_unmoved = state.fitted_view == Some(state.view) && !state.is_painting();
    if rect.is_positive() && (state.fitted != Some(canvas) || (is_other_room && is_unmoved)) {
        state.view.fit(canvas, pane_rect, scale);
        state.fitted = Some(canvas);
        state.fitted_view = Some(state.view);
    }
    state.last_rect = Some((pane_rect, scale));

    let frame_input = state.reader.read(ui.ctx());
    let scene = scene::Scene {
        inputs,
        rect,
        pixels_per_point: scale,
        is_reachable: scene::is_reachable(ui),
        layer: ui.layer_id(),
        context: ui.ctx(),
    };
    state
        .tools
        .handle(&scene, &frame_input, &mut state.view, &mut state.wipe, actions);

    let panes = inputs.display.layout.panes(rect, state.wipe);
    let needs_more_frames = update_overlay(state, inputs);
    draw_panes(ui, state, inputs, &panes, scale);
    let painter = ui.painter_at(rect);
    state
        .tools
        .draw(&painter, &scene, &frame_input, &state.view, state.wipe);

    let pointer = response.hover_pos();
    state.hovered = pointer.and_then(|position| {
        let pane = panes.iter().find(|pane| pane.clip.contains(position))?;
        Placement::new(&state.view, pane.view_rect, scale).pixel_at(position, canvas)
    });
    if let Some(icon) = state.tools.cursor(&scene, &frame_input, response.hovered()) {
        ui.ctx().set_cursor_icon(icon);
    }
    if state.tools.needs_repaint() || needs_more_frames {
        ui.ctx().request_repaint();
    }
    response
}

/// Shows the document's masks, with that of a stroke in progress as it is at this moment; returns whether so much changed
/// that it takes more than this frame.
fn update_overlay(state: &CanvasState, inputs: &CanvasInputs<'_>) -> bool {
    let document = inputs.document;
    let live = state.tools.live_mask();
    let mask_of = |region: RegionId, mask: &Mask| match live {
        Some((painted, live)) if painted == region && live.size() == mask.size() => live.clone(),
        _ => mask.clone(),
    };
    let layers = document
        .regions
        .iter()
        .filter(|region| region.visible)
        .map(|region| OverlayLayer {
            region: region.id,
            colour: region.colour,
            mask: mask_of(region.id, &region.mask),
        })
        .collect();
    let active = match inputs.target {
        Target::Region(id) => Some(id),
        Target::Background => None,
    };
    let mut overlay = state.overlay.lock();
    if overlay.size() != document.size {
        *overlay = Overlay::new(document.size);
    }
    overlay.update(layers, active);
    overlay.needs_more_frames()
}

fn draw_panes(ui: &Ui, state: &mut CanvasState, inputs: &CanvasInputs<'_>, panes: &[Pane], scale: f32) {
    let (canvas, display) = (inputs.document.size, inputs.display);
    let background = inputs.document.background.image.as_ref();
    if let Renderer::Egui(textures) = &mut state.renderer {
        textures.update(ui.ctx(), inputs.frame, background, &mut state.overlay.lock());
    }
    for (index, pane) in panes.iter().enumerate() {
        let placement = Placement::new(&state.view, pane.view_rect, scale);
        match &state.renderer {
            Renderer::Gpu(installed) => {
                if !pane.clip.is_positive() || !installed.can_show(canvas) {
                    continue;
                }
                let content = gpu::PaneContent {
                    layer: pane.layer,
                    overlay_mode: display.overlay_mode,
                    overlay_opacity: display.overlay_opacity,
                    is_hatched: display.is_hatched,
                    frame: inputs.frame.cloned(),
                    background: background.cloned(),
                };
                let overlay = Arc::clone(&state.overlay);
                ui.painter().add(gpu::pane_shape(
                    *installed, index, &placement, pane.clip, canvas, content, overlay,
                ));
            }
            Renderer::Egui(textures) => {
                let (mode, opacity) = (display.overlay_mode, display.overlay_opacity);
                textures.draw(ui.painter(), &placement, pane, canvas, mode, opacity);
            }
        }
    }
}
