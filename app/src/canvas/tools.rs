//! What a drag on the canvas does, from press to release.

use eframe::egui::{self, CursorIcon, LayerId, Modifiers, Painter, PointerButton, Pos2, Rect, Ui};
use wordbrush_engine::api::{Mask, RegionId};

use super::{
    Blocked, CanvasAction, CanvasInputs, CanvasLayout, decorations,
    display::{FillSource, Pane, Tool, wipe_x},
    input::{FrameInput, PointerEvent, TimedEvent},
    view::{Placement, View},
};
use crate::{
    document::{Edit, Gesture, MaskTiles, Target},
    paint::{
        self, BrushSettings, Ink, PenSample, Point, ShapeMode, Stroke, combined, ellipse_outline,
        polygon_mask, rectangle_outline,
    },
};

/// How near to the line of a wipe a press must be to drag it, in points.
const WIPE_GRIP: f32 = 8.0;
/// A pointer that moved less than this between press and release was a click, in points.
const CLICK_SLACK: f32 = 4.0;

/// What is around the tools in this frame.
pub(super) struct Scene<'a> {
    pub(super) inputs: &'a CanvasInputs<'a>,
    pub(super) rect: Rect,
    pub(super) pixels_per_point: f32,
    /// Whether nothing modal lies above the canvas.
    pub(super) is_reachable: bool,
    pub(super) layer: LayerId,
    pub(super) context: &'a egui::Context,
}

/// Whether the canvas may take presses: it is enabled and no modal window is open above it.
pub(super) fn is_reachable(ui: &Ui) -> bool {
    let modal = ui.ctx().memory(|memory| memory.top_modal_layer());
    ui.is_enabled() && modal.is_none_or(|layer| layer == ui.layer_id())
}

impl Scene<'_> {
    fn panes(&self, wipe: f32) -> Vec<Pane> {
        self.inputs.display.layout.panes(self.rect, wipe)
    }

    /// The pane at a place, or the first one for places beyond.
    fn pane_at(&self, position: Pos2, wipe: f32) -> Pane {
        let panes = self.panes(wipe);
        *panes
            .iter()
            .find(|pane| pane.clip.contains(position))
            .unwrap_or(&panes[0])
    }

    fn placement(&self, view: &View, pane_rect: Rect) -> Placement {
        Placement::new(view, pane_rect, self.pixels_per_point)
    }

    /// Whether a press at this place is meant for the canvas and not for something above it.
    fn is_free(&self, position: Pos2) -> bool {
        self.is_reachable
            && self.rect.contains(position)
            && self
                .context
                .layer_id_at(position)
                .is_none_or(|layer| layer == self.layer)
    }

    fn wipe_x(&self, wipe: f32) -> Option<f32> {
        matches!(self.inputs.display.layout, CanvasLayout::Wipe(..)).then(|| wipe_x(self.rect, wipe))
    }

    /// Changes the view by wheel or trackpad, if the pointer is over the canvas.
    fn navigate(&self, view: &mut View, wipe: f32, change: impl FnOnce(&Placement, Pos2) -> View) {
        let Some(position) = self.context.pointer_latest_pos() else {
            return;
        };
        if self.is_free(position) {
            let pane = self.pane_at(position, wipe);
            *view = change(&self.placement(view, pane.view_rect), position);
        }
    }

    fn canvas_middle(&self) -> Point {
        let size = self.inputs.document.size;
        [size.width() as f32 / 2.0, size.height() as f32 / 2.0]
    }
}

/// The drag in progress and what outlives it.
#[derive(Default)]
pub(super) struct Tools {
    drag: Option<Drag>,
    /// Where the last stroke ended, for straight lines with Shift.
    last_end: Option<(RegionId, Point)>,
    /// A mask as it will be once the actions of this frame are carried out: what is shown, and what a second
    /// stroke within the same frame begins on.
    fresh: Option<(RegionId, Mask)>,
}

/// A drag from press to release.
struct Drag {
    kind: DragKind,
    button: PointerButton,
    /// The part of the window it began in; it stays there when it leaves that part.
    pane_rect: Rect,
    last_position: Pos2,
}

enum DragKind {
    Stroke(Box<LiveStroke>),
    Shape(DrawnShape),
    /// Resizes the brush, or draws a straight line if the pointer does not move.
    BrushSize {
        start: Pos2,
        brush: BrushSettings,
        has_moved: bool,
        pressure: f32,
    },
    Pan,
    Zoom {
        anchor: Pos2,
    },
    Rotate,
    Wipe,
}

struct LiveStroke {
    stroke: Stroke,
    gesture: Gesture,
    label: &'static str,
    /// The mask with all of the stroke so far.
    mask: Mask,
    last_sample: PenSample,
    is_trailing: bool,
}

struct DrawnShape {
    tool: Tool,
    region: RegionId,
    points: Vec<Point>,
    is_constrained: bool,
    is_subtracting: bool,
}

impl DrawnShape {
    fn outline(&self) -> Vec<Point> {
        let (Some(&start), Some(&end)) = (self.points.first(), self.points.last()) else {
            return Vec::new();
        };
        let end = if self.is_constrained {
            squared(start, end)
        } else {
            end
        };
        match self.tool {
            Tool::Rectangle => rectangle_outline(start, end),
            Tool::Ellipse => ellipse_outline(start, end),
            _ => self.points.clone(),
        }
    }

    fn label(&self) -> &'static str {
        match self.tool {
            Tool::Rectangle => "Rectangle",
            Tool::Ellipse => "Ellipse",
            _ => "Lasso",
        }
    }
}

/// The corner that makes a square of the rectangle between two corners.
fn squared(start: Point, end: Point) -> Point {
    let (dx, dy) = (end[0] - start[0], end[1] - start[1]);
    let side = dx.abs().max(dy.abs());
    [start[0] + side.copysign(dx), start[1] + side.copysign(dy)]
}

impl LiveStroke {
    fn begin(scene: &Scene<'_>, region: RegionId, mask: Mask, sample: PenSample) -> Self {
        let inputs = scene.inputs;
        let (ink, label) = if inputs.tool == Tool::Eraser {
            (Ink::Erase, "Eraser stroke")
        } else {
            (Ink::Paint, "Brush stroke")
        };
        let stroke = Stroke::begin(
            region,
            mask.clone(),
            inputs.brush,
            ink,
            inputs.symmetry,
            scene.canvas_middle(),
            sample,
        );
        Self {
            stroke,
            gesture: Gesture::fresh(),
            label,
            mask,
            last_sample: sample,
            is_trailing: inputs.brush.stabiliser > 0.0,
        }
    }

    /// Hands over the tiles that changed since the last time.
    fn flush(&mut self, actions: &mut Vec<CanvasAction>) {
        let Some(change) = self.stroke.take_changes() else {
            return;
        };
        lay_tiles(&mut self.mask, &change);
        actions.push(CanvasAction::Edit {
            edit: Edit::MaskTiles(change),
            label: self.label,
            gesture: Some(self.gesture),
        });
    }
}

fn lay_tiles(mask: &mut Mask, change: &MaskTiles) {
    for tile in &change.tiles {
        mask.set_tile(tile.column, tile.row, tile.data.clone());
    }
}

impl Tools {
    /// Gives up an unfinished shape or lasso.
    pub(super) fn cancel_shape(&mut self) {
        if let Some(Drag {
            kind: DragKind::Shape(_),
            ..
        }) = self.drag
        {
            self.drag = None;
        }
    }

    pub(super) fn is_painting(&self) -> bool {
        self.drag
            .as_ref()
            .is_some_and(|drag| matches!(drag.kind, DragKind::Stroke(_) | DragKind::Shape(_)))
    }

    /// A stabilised brush goes on moving while the pen rests.
    pub(super) fn needs_repaint(&self) -> bool {
        matches!(&self.drag, Some(Drag { kind: DragKind::Stroke(live), .. }) if live.is_trailing)
    }

    /// The mask that is being changed, with all of the ink so far.
    pub(super) fn live_mask(&self) -> Option<(RegionId, &Mask)> {
        match &self.drag {
            Some(Drag {
                kind: DragKind::Stroke(live),
                ..
            }) => Some((live.stroke.region(), &live.mask)),
            _ => self.fresh.as_ref().map(|(region, mask)| (*region, mask)),
        }
    }

    /// The region that tools may change with its mask, or why there is none.
    fn paintable(&self, scene: &Scene<'_>) -> Result<(RegionId, Mask), Blocked> {
        let Target::Region(id) = scene.inputs.target else {
            return Err(Blocked::NoRegion);
        };
        match scene.inputs.document.region(id) {
            None => Err(Blocked::NoRegion),
            Some(region) if region.locked => Err(Blocked::Locked),
            Some(region) if !region.visible => Err(Blocked::Hidden),
            Some(region) => Ok((id, self.latest(id).unwrap_or(&region.mask).clone())),
        }
    }

    fn latest(&self, region: RegionId) -> Option<&Mask> {
        self.fresh
            .as_ref()
            .filter(|(id, _)| *id == region)
            .map(|(_, mask)| mask)
    }

    /// Takes in everything that happened since the last frame.
    pub(super) fn handle(
        &mut self,
        scene: &Scene<'_>,
        input: &FrameInput,
        view: &mut View,
        wipe: &mut f32,
        actions: &mut Vec<CanvasAction>,
    ) {
        self.fresh = None;
        for event in &input.events {
            self.handle_event(scene, input, event, view, wipe, actions);
        }
        if let Some(touch) = scene.context.multi_touch() {
            self.handle_touch(scene, &touch, view, *wipe, actions);
        }
        if let Some(Drag {
            kind: DragKind::Stroke(live),
            ..
        }) = &mut self.drag
        {
            if live.is_trailing {
                live.last_sample.time_secs = input.time_secs.max(live.last_sample.time_secs);
                live.stroke.push(live.last_sample);
            }
            live.flush(actions);
        }
    }

    fn handle_event(
        &mut self,
        scene: &Scene<'_>,
        input: &FrameInput,
        timed: &TimedEvent,
        view: &mut View,
        wipe: &mut f32,
        actions: &mut Vec<CanvasAction>,
    ) {
        match timed.event {
            PointerEvent::Press {
                position,
                button,
                modifiers,
            } => {
                if self.drag.is_none() && scene.is_free(position) {
                    let pane = scene.pane_at(position, *wipe);
                    let kind = self.pressed(scene, modifiers, button, position, timed, view, *wipe, actions);
                    self.drag = kind.map(|kind| Drag {
                        kind,
                        button,
                        pane_rect: pane.view_rect,
                        last_position: position,
                    });
                }
            }
            PointerEvent::Move(position) => {
                self.moved(scene, input.modifiers, position, timed, view, wipe, actions);
            }
            PointerEvent::Release { position, button } => {
                if self.drag.as_ref().is_some_and(|drag| drag.button == button) {
                    self.moved(scene, input.modifiers, position, timed, view, wipe, actions);
                    self.finish(scene, view, actions);
                }
            }
            PointerEvent::Lost => self.finish(scene, view, actions),
            PointerEvent::Cancel => self.cancel_shape(),
            PointerEvent::Wheel { steps } => scene.navigate(view, *wipe, |placement, position| {
                placement.zoomed_at(
                    position,
                    1.2_f32.powf(steps.clamp(-10.0, 10.0)),
                    scene.inputs.document.size,
                )
            }),
            PointerEvent::Pinch(factor) => scene.navigate(view, *wipe, |placement, position| {
                placement.zoomed_at(position, factor, scene.inputs.document.size)
            }),
            PointerEvent::Scroll(delta) => scene.navigate(view, *wipe, |placement, _| {
                placement.panned_by(delta, scene.inputs.document.size)
            }),
            PointerEvent::Turn(angle) => {
                let turned = view_turned(*view, angle);
                scene.navigate(view, *wipe, |_, _| turned);
            }
        }
    }

    /// Two fingers move the view; what the first of them had begun to paint ends there.
    fn handle_touch(
        &mut self,
        scene: &Scene<'_>,
        touch: &egui::MultiTouchInfo,
        view: &mut View,
        wipe: f32,
        actions: &mut Vec<CanvasAction>,
    ) {
        if !scene.is_free(touch.center_pos) {
            return;
        }
        match &self.drag {
            Some(Drag {
                kind: DragKind::Stroke(_),
                ..
            }) => self.finish(scene, view, actions),
            _ => self.drag = None,
        }
        let canvas = scene.inputs.document.size;
        let pane = scene.pane_at(touch.center_pos, wipe);
        *view = scene
            .placement(view, pane.view_rect)
            .zoomed_at(touch.center_pos, touch.zoom_delta, canvas);
        *view = scene
            .placement(view, pane.view_rect)
            .panned_by(touch.translation_delta, canvas);
        view.rotate_by(touch.rotation_delta);
    }

    /// Which drag a press begins; clicks are done at once and begin none.
    fn pressed(
        &mut self,
        scene: &Scene<'_>,
        modifiers: Modifiers,
        button: PointerButton,
        position: Pos2,
        timed: &TimedEvent,
        view: &View,
        wipe: f32,
        actions: &mut Vec<CanvasAction>,
    ) -> Option<DragKind> {
        let (inputs, keys) = (scene.inputs, timed.keys);
        let zoom = DragKind::Zoom { anchor: position };
        match button {
            PointerButton::Middle if modifiers.command => return Some(zoom),
            PointerButton::Middle => return Some(DragKind::Pan),
            PointerButton::Primary => {}
            _ => return None,
        }
        if scene
            .wipe_x(wipe)
            .is_some_and(|x| (x - position.x).abs() <= WIPE_GRIP)
        {
            return Some(DragKind::Wipe);
        }
        if keys.r || (keys.space && modifiers.shift) {
            return Some(DragKind::Rotate);
        }
        if keys.space {
            return Some(if modifiers.command { zoom } else { DragKind::Pan });
        }
        let pane = scene.pane_at(position, wipe);
        let placement = scene.placement(view, pane.view_rect);
        let point = placement.canvas_from_screen(position);
        if modifiers.alt || inputs.tool == Tool::Pick {
            if let Some([x, y]) = placement.pixel_at(position, inputs.document.size) {
                let target = inputs
                    .document
                    .region_at(x, y)
                    .map_or(Target::Background, Target::Region);
                actions.push(CanvasAction::Select(target));
            }
            return None;
        }
        match inputs.tool {
            Tool::Pan => return Some(DragKind::Pan),
            Tool::Zoom => return Some(zoom),
            Tool::Rotate => return Some(DragKind::Rotate),
            Tool::Brush | Tool::Eraser if modifiers.shift => {
                return Some(DragKind::BrushSize {
                    start: position,
                    brush: inputs.brush.sanitised(),
                    has_moved: false,
                    pressure: timed.pressure,
                });
            }
            _ => {}
        }
        let (region, mask) = match self.paintable(scene) {
            Ok(paintable) => paintable,
            Err(blocked) => {
                actions.push(CanvasAction::Blocked(blocked));
                return None;
            }
        };
        match inputs.tool {
            Tool::Brush | Tool::Eraser => {
                let sample = sample_at(point, timed);
                Some(DragKind::Stroke(Box::new(LiveStroke::begin(
                    scene, region, mask, sample,
                ))))
            }
            Tool::Lasso | Tool::Rectangle | Tool::Ellipse => Some(DragKind::Shape(DrawnShape {
                tool: inputs.tool,
                region,
                points: vec![point],
                is_constrained: modifiers.shift,
                is_subtracting: modifiers.command,
            })),
            Tool::Fill => {
                if let Some(pixel) = placement.pixel_at(position, inputs.document.size) {
                    let mode = if modifiers.command {
                        ShapeMode::Subtract
                    } else {
                        ShapeMode::Add
                    };
                    let patch = fill_patch(scene, &mask, pixel);
                    self.change_area(scene, region, &mask, patch, mode, "Fill", actions);
                }
                None
            }
            Tool::Pick | Tool::Pan | Tool::Zoom | Tool::Rotate => None,
        }
    }

    fn moved(
        &mut self,
        scene: &Scene<'_>,
        modifiers: Modifiers,
        position: Pos2,
        timed: &TimedEvent,
        view: &mut View,
        wipe: &mut f32,
        actions: &mut Vec<CanvasAction>,
    ) {
        let Some(drag) = &mut self.drag else { return };
        let canvas = scene.inputs.document.size;
        let step = position - drag.last_position;
        let placement = scene.placement(view, drag.pane_rect);
        match &mut drag.kind {
            DragKind::Stroke(live) => {
                let sample = sample_at(placement.canvas_from_screen(position), timed);
                live.stroke.push(sample);
                live.last_sample = sample;
            }
            DragKind::Shape(shape) => {
                let point = placement.canvas_from_screen(position);
                if shape.tool != Tool::Lasso {
                    shape.points.truncate(1);
                }
                shape.points.push(point);
                shape.is_constrained = modifiers.shift;
            }
            DragKind::BrushSize {
                start,
                brush,
                has_moved,
                ..
            } => {
                let offset = position - *start;
                *has_moved |= offset.length() > CLICK_SLACK;
                if *has_moved {
                    // The rim follows the pointer sideways; up and down is hardness.
                    let size = brush.size_px + 2.0 * offset.x / placement.points_per_pixel();
                    let range = BrushSettings::SIZE_RANGE_PX;
                    actions.push(CanvasAction::SetBrushSize(
                        size.clamp(*range.start(), *range.end()),
                    ));
                    if offset.y.abs() > 24.0 {
                        let past = offset.y - 24.0_f32.copysign(offset.y);
                        actions.push(CanvasAction::SetBrushHardness(
                            (brush.hardness - past / 200.0).clamp(0.0, 1.0),
                        ));
                    }
                }
            }
            DragKind::Pan => *view = placement.panned_by(step, canvas),
            DragKind::Zoom { anchor } => {
                *view = placement.zoomed_at(*anchor, ((step.x - step.y) * 0.01).exp(), canvas);
            }
            DragKind::Rotate => view.rotate_by(placement.angle_between(drag.last_position, position)),
            DragKind::Wipe => *wipe = ((position.x - scene.rect.left()) / scene.rect.width()).clamp(0.0, 1.0),
        }
        drag.last_position = position;
    }

    fn finish(&mut self, scene: &Scene<'_>, view: &View, actions: &mut Vec<CanvasAction>) {
        let Some(drag) = self.drag.take() else { return };
        match drag.kind {
            DragKind::Stroke(mut live) => {
                live.stroke.end(live.last_sample);
                live.flush(actions);
                actions.push(CanvasAction::EndGesture);
                self.last_end = Some((live.stroke.region(), live.last_sample.position));
                self.fresh = Some((live.stroke.region(), live.mask));
            }
            DragKind::Shape(shape) => self.draw_shape(scene, &shape, actions),
            DragKind::BrushSize {
                start,
                has_moved: false,
                pressure,
                ..
            } => {
                let placement = scene.placement(view, drag.pane_rect);
                let end = PenSample {
                    position: placement.canvas_from_screen(start),
                    pressure,
                    time_secs: 0.0,
                };
                self.straight_line(scene, end, actions);
            }
            _ => {}
        }
    }

    /// Joins a finished shape with the mask; a mere click is none.
    fn draw_shape(&mut self, scene: &Scene<'_>, shape: &DrawnShape, actions: &mut Vec<CanvasAction>) {
        let outline = shape.outline();
        let Some(region) = scene.inputs.document.region(shape.region) else {
            return;
        };
        if shape.points.len() < 2 || outline.len() < 3 {
            return;
        }
        let mode = if shape.is_subtracting {
            ShapeMode::Subtract
        } else {
            scene.inputs.area.shape_mode
        };
        let mask = self.latest(shape.region).unwrap_or(&region.mask).clone();
        let filled = polygon_mask(scene.inputs.document.size, &outline);
        self.change_area(
            scene,
            shape.region,
            &mask,
            Ok(filled),
            mode,
            shape.label(),
            actions,
        );
    }

    fn change_area(
        &mut self,
        scene: &Scene<'_>,
        region: RegionId,
        mask: &Mask,
        area: Result<Mask, Blocked>,
        mode: ShapeMode,
        label: &'static str,
        actions: &mut Vec<CanvasAction>,
    ) {
        let area = match area {
            Ok(area) => area,
            Err(blocked) => {
                actions.push(CanvasAction::Blocked(blocked));
                return;
            }
        };
        let changed = combined(mask, &area, mode);
        actions.push(CanvasAction::Edit {
            edit: Edit::set_mask(scene.inputs.document, region, &changed),
            label,
            gesture: None,
        });
        self.fresh = Some((region, changed));
    }

    /// Shift and a click: a line from where the last stroke ended.
    fn straight_line(&mut self, scene: &Scene<'_>, end: PenSample, actions: &mut Vec<CanvasAction>) {
        let (region, mask) = match self.paintable(scene) {
            Ok(paintable) => paintable,
            Err(blocked) => {
                actions.push(CanvasAction::Blocked(blocked));
                return;
            }
        };
        let start = match self.last_end {
            Some((painted, point)) if painted == region => point,
            _ => end.position,
        };
        let mut live = LiveStroke::begin(
            scene,
            region,
            mask,
            PenSample {
                position: start,
                ..end
            },
        );
        live.stroke.push_straight(end);
        live.flush(actions);
        actions.push(CanvasAction::EndGesture);
        self.last_end = Some((region, end.position));
        self.fresh = Some((region, live.mask));
    }

    /// Draws what is in progress, and the brush under the pointer.
    pub(super) fn draw(
        &self,
        painter: &Painter,
        scene: &Scene<'_>,
        input: &FrameInput,
        view: &View,
        wipe: f32,
    ) {
        let inputs = scene.inputs;
        for pane in scene.panes(wipe) {
            let painter = painter.with_clip_rect(pane.clip);
            let placement = scene.placement(view, pane.view_rect);
            decorations::symmetry_guides(&painter, &placement, inputs.document.size, inputs.symmetry);
        }
        if let Some(x) = scene.wipe_x(wipe) {
            decorations::wipe_line(painter, scene.rect, x);
        }
        if let Some(Drag {
            kind: DragKind::Shape(shape),
            pane_rect,
            ..
        }) = &self.drag
        {
            let placement = scene.placement(view, *pane_rect);
            decorations::shape_preview(painter, &placement, &shape.outline(), shape.points.len() > 1);
        }
        let is_brush = matches!(inputs.tool, Tool::Brush | Tool::Eraser);
        let Some(pointer) = self.hover_position(scene).filter(|_| is_brush) else {
            return;
        };
        let at = match self.drag {
            Some(Drag {
                kind: DragKind::BrushSize { start, .. },
                ..
            }) => start,
            Some(Drag {
                kind: DragKind::Stroke(_),
                ..
            }) => pointer,
            Some(_) => return,
            None if input.keys.space || input.keys.r || input.modifiers.alt => return,
            None => pointer,
        };
        let pane = scene.pane_at(at, wipe);
        let placement = scene.placement(view, pane.view_rect);
        if let (true, None, Some((_, from))) = (input.modifiers.shift, &self.drag, self.last_end) {
            decorations::shape_preview(
                painter,
                &placement,
                &[from, placement.canvas_from_screen(at)],
                false,
            );
        }
        decorations::brush_outline(painter, &placement, at, inputs.brush.sanitised().size_px);
    }

    fn hover_position(&self, scene: &Scene<'_>) -> Option<Pos2> {
        let position = scene.context.input(|input| input.pointer.latest_pos())?;
        (self.drag.is_some() || scene.is_free(position)).then_some(position)
    }

    /// The cursor over the canvas; `None` leaves it to others.
    pub(super) fn cursor(
        &self,
        scene: &Scene<'_>,
        input: &FrameInput,
        is_hovered: bool,
    ) -> Option<CursorIcon> {
        if let Some(drag) = &self.drag {
            return Some(match drag.kind {
                DragKind::Stroke(_) | DragKind::Shape(_) => CursorIcon::Crosshair,
                DragKind::BrushSize { .. } | DragKind::Wipe => CursorIcon::ResizeHorizontal,
                DragKind::Pan | DragKind::Rotate => CursorIcon::Grabbing,
                DragKind::Zoom { .. } => CursorIcon::ZoomIn,
            });
        }
        let keys = input.keys;
        let icon = match scene.inputs.tool {
            _ if keys.space && input.modifiers.command => CursorIcon::ZoomIn,
            _ if keys.space || keys.r => CursorIcon::Grab,
            _ if input.modifiers.alt => CursorIcon::PointingHand,
            Tool::Pan | Tool::Rotate => CursorIcon::Grab,
            Tool::Zoom => CursorIcon::ZoomIn,
            Tool::Pick => CursorIcon::PointingHand,
            _ => CursorIcon::Crosshair,
        };
        is_hovered.then_some(icon)
    }
}

fn view_turned(mut view: View, angle: f32) -> View {
    view.rotate_by(angle);
    view
}

fn sample_at(position: Point, timed: &TimedEvent) -> PenSample {
    PenSample {
        position,
        pressure: timed.pressure,
        time_secs: timed.time_secs,
    }
}

/// The patch that a bucket fills, or why it cannot.
fn fill_patch(scene: &Scene<'_>, mask: &Mask, pixel: [u32; 2]) -> Result<Mask, Blocked> {
    let inputs = scene.inputs;
    let (size, tolerance) = (inputs.document.size, inputs.area.fill_tolerance);
    let picture = inputs.frame.or(inputs.document.background.image.as_ref());
    match (inputs.area.fill_source, picture) {
        (FillSource::Mask, _) => Ok(paint::fill_on_mask(
            mask,
            pixel,
            (tolerance.clamp(0.0, 1.0) * 255.0) as u8,
        )),
        (_, None) => Err(Blocked::NoPicture),
        (FillSource::Picture, Some(picture)) => Ok(paint::fill_by_colour(picture, size, pixel, tolerance)),
        (FillSource::EveryColour, Some(picture)) => Ok(paint::colour_at(picture, size, pixel).map_or_else(
            || Mask::new(size),
            |colour| paint::select_colour(picture, size, colour, tolerance),
        )),
    }
}
