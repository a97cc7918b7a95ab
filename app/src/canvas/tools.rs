//! What a drag on the canvas does, from press to release.

use eframe::egui::{self, CursorIcon, Modifiers, Painter, PointerButton, Pos2};
use wordbrush_engine::api::{CanvasSize, Mask, RegionId};

use super::{
    Blocked, CanvasAction, CanvasInputs, decorations,
    display::{FillSource, Tool},
    drag::{Drag, DragKind, DrawnShape, LiveStroke},
    input::{FrameInput, PointerEvent, TimedEvent},
    scene::Scene,
    view::View,
};
use crate::{
    document::{Gesture, RegionLayer, Target},
    paint::{BrushSettings, Ink, MaskArea, MaskChange, PenSample, Point, ShapeMode},
};

/// How near to the line of a wipe a press must be to drag it, in points.
const WIPE_GRIP: f32 = 8.0;
/// A pointer that moved less than this between press and release was a click, in points.
const CLICK_SLACK: f32 = 4.0;
/// A second finger that comes so soon after the first was meant from the start: what the first painted was no stroke.
const BOTH_FINGERS_SECS: f64 = 0.4;

/// Where a stroke ended.
#[derive(Clone, Copy)]
struct StrokeEnd {
    region: RegionId,
    point: Point,
    /// On a canvas of another size the place means another one.
    canvas: CanvasSize,
}

/// The drag in progress and what outlives it.
#[derive(Default)]
pub(super) struct Tools {
    drag: Option<Drag>,
    /// Where the last stroke ended, for straight lines with Shift.
    last_end: Option<StrokeEnd>,
    /// A mask as it will be once the strokes of this frame are carried out: what is shown, and what a second
    /// stroke within the same frame begins on.
    fresh: Option<(RegionId, Mask)>,
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

    /// Gives up a shape that was begun before the canvas got its size.
    fn drop_shape_of_another_size(&mut self, size: CanvasSize) {
        if let Some(Drag {
            kind: DragKind::Shape(shape),
            ..
        }) = &self.drag
            && shape.canvas != size
        {
            self.drag = None;
        }
    }

    /// Gives up a stroke in progress, with the ink that was not handed over yet; answers which gesture it was.
    pub(super) fn abandon_stroke(&mut self) -> Option<Gesture> {
        match self.drag.take() {
            Some(Drag {
                kind: DragKind::Stroke(live),
                ..
            }) => Some(live.gesture),
            other => {
                self.drag = other;
                None
            }
        }
    }

    /// The stroke that is being painted; its tiles are laid over the mask as it was when it began.
    pub(super) fn stroke(&self) -> Option<(RegionId, Gesture)> {
        match &self.drag {
            Some(Drag {
                kind: DragKind::Stroke(live),
                ..
            }) => Some((live.stroke.region(), live.gesture)),
            _ => None,
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
        let region = region_in_hand(scene)?;
        let mask = self.latest(region.id).unwrap_or(&region.mask);
        Ok((region.id, mask.clone()))
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
        self.drop_shape_of_another_size(scene.inputs.document.size);
        for event in &input.events {
            self.handle_event(scene, input, event, view, wipe, actions);
        }
        // A release may be lost, as may everything that happens beyond the window.
        if self.drag.is_some() && !scene.context.input(|input| input.pointer.any_down()) {
            self.finish(scene, view, *wipe, actions);
        }
        if let Some(touch) = scene.context.multi_touch() {
            self.handle_touch(scene, &touch, input.time_secs, view, *wipe, actions);
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
                if self.drag.is_none() && !scene.closes_menus(position) && scene.is_free(position) {
                    let kind = self.pressed(scene, modifiers, button, position, timed, view, *wipe, actions);
                    self.drag = kind.map(|kind| Drag {
                        kind,
                        button,
                        pane: scene.pane_index_at(position, *wipe),
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
                    self.finish(scene, view, *wipe, actions);
                }
            }
            PointerEvent::Lost => {
                // What was drawn of a shape is not what was meant.
                self.cancel_shape();
                self.finish(scene, view, *wipe, actions);
            }
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

    /// Two fingers move the view. What the first of them had begun to paint ends there, and is taken back if both fingers
    /// came at about the same time.
    fn handle_touch(
        &mut self,
        scene: &Scene<'_>,
        touch: &egui::MultiTouchInfo,
        now_secs: f64,
        view: &mut View,
        wipe: f32,
        actions: &mut Vec<CanvasAction>,
    ) {
        if !scene.is_free(touch.center_pos) {
            return;
        }
        match &self.drag {
            Some(Drag {
                kind: DragKind::Stroke(live),
                ..
            }) if now_secs - live.begun_secs > BOTH_FINGERS_SECS => self.finish(scene, view, wipe, actions),
            _ => {
                actions.extend(self.abandon_stroke().map(CanvasAction::TakeBack));
                self.drag = None;
            }
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
        &self,
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
                return done_or_tap(CanvasAction::Select(target), timed, actions);
            }
            return None;
        }
        match inputs.tool {
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
                canvas: inputs.document.size,
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
                    let action = match area_to_fill(scene.inputs, pixel) {
                        Ok(area) => CanvasAction::ChangeMask {
                            region,
                            change: MaskChange::Join(area, mode),
                            label: "Fill",
                        },
                        Err(blocked) => CanvasAction::Blocked(blocked),
                    };
                    return done_or_tap(action, timed, actions);
                }
                None
            }
            Tool::Pick => None,
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
        let placement = scene.placement(view, scene.pane(drag.pane, *wipe).view_rect);
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
            DragKind::Tap(_) => {}
            DragKind::Wipe => *wipe = ((position.x - scene.rect.left()) / scene.rect.width()).clamp(0.0, 1.0),
        }
        drag.last_position = position;
    }

    fn finish(&mut self, scene: &Scene<'_>, view: &View, wipe: f32, actions: &mut Vec<CanvasAction>) {
        let Some(drag) = self.drag.take() else { return };
        match drag.kind {
            DragKind::Stroke(mut live) => {
                live.stroke.end(live.last_sample);
                self.last_end = Some(StrokeEnd {
                    region: live.stroke.region(),
                    point: live.last_sample.position,
                    canvas: scene.inputs.document.size,
                });
                self.fresh = Some(live.hand_over(actions));
            }
            DragKind::Shape(shape) => Self::draw_shape(scene, &shape, actions),
            DragKind::BrushSize {
                start,
                has_moved: false,
                pressure,
                ..
            } => {
                let placement = scene.placement(view, scene.pane(drag.pane, wipe).view_rect);
                let end = PenSample {
                    position: placement.canvas_from_screen(start),
                    pressure,
                    time_secs: 0.0,
                };
                self.straight_line(scene, end, actions);
            }
            DragKind::Tap(action) => actions.push(action),
            _ => {}
        }
    }

    /// Joins a finished shape with the mask; a mere click is none.
    fn draw_shape(scene: &Scene<'_>, shape: &DrawnShape, actions: &mut Vec<CanvasAction>) {
        let outline = shape.outline();
        if shape.points.len() < 2 || outline.len() < 3 {
            return;
        }
        let mode = if shape.is_subtracting {
            ShapeMode::Subtract
        } else {
            scene.inputs.area.shape_mode
        };
        actions.push(CanvasAction::ChangeMask {
            region: shape.region,
            change: MaskChange::Join(MaskArea::Outline(outline), mode),
            label: shape.label(),
        });
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
        let start = self.line_start(scene, region).unwrap_or(end.position);
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
        self.last_end = Some(StrokeEnd {
            region,
            point: end.position,
            canvas: scene.inputs.document.size,
        });
        self.fresh = Some(live.hand_over(actions));
    }

    /// Where the last stroke on a region's mask ended.
    fn line_start(&self, scene: &Scene<'_>, region: RegionId) -> Option<Point> {
        let is_here = |end: &StrokeEnd| end.region == region && end.canvas == scene.inputs.document.size;
        self.last_end.filter(is_here).map(|end| end.point)
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
            pane,
            ..
        }) = &self.drag
        {
            let placement = scene.placement(view, scene.pane(*pane, wipe).view_rect);
            decorations::shape_preview(painter, &placement, &shape.outline(), shape.points.len() > 1);
        }
        self.draw_pick(painter, scene, input, view, wipe);
        let is_brush = matches!(inputs.tool, Tool::Brush | Tool::Eraser);
        let Some(pointer) = self.hover_position(scene).filter(|_| is_brush) else {
            return;
        };
        let brush = inputs.brush.sanitised();
        let at = match self.drag {
            Some(Drag {
                kind: DragKind::BrushSize { start, has_moved, .. },
                pane,
                ..
            }) => {
                if has_moved {
                    let placement = scene.placement(view, scene.pane(pane, wipe).view_rect);
                    decorations::brush_figures(painter, &placement, start, brush.size_px, brush.hardness);
                }
                start
            }
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
        let from = match inputs.target {
            Target::Region(region) => self.line_start(scene, region),
            Target::Background => None,
        };
        if let (true, None, Some(from)) = (input.modifiers.shift, &self.drag, from) {
            decorations::shape_preview(
                painter,
                &placement,
                &[from, placement.canvas_from_screen(at)],
                false,
            );
        }
        let ink = if inputs.tool == Tool::Eraser {
            Ink::Erase
        } else {
            Ink::Paint
        };
        decorations::brush_outline(painter, &placement, at, brush.size_px, ink);
    }

    /// What a click would select, while clicks select.
    fn draw_pick(&self, painter: &Painter, scene: &Scene<'_>, input: &FrameInput, view: &View, wipe: f32) {
        let picks = input.modifiers.alt || scene.inputs.tool == Tool::Pick;
        let is_moving_view = input.keys.space || input.keys.r;
        if !picks || is_moving_view || self.drag.is_some() {
            return;
        }
        let Some(pointer) = self.hover_position(scene) else {
            return;
        };
        let pane = scene.pane_at(pointer, wipe);
        let placement = scene.placement(view, pane.view_rect);
        let document = scene.inputs.document;
        let Some([x, y]) = placement.pixel_at(pointer, document.size) else {
            return;
        };
        let region = document.region_at(x, y).and_then(|id| document.region(id));
        decorations::region_badge(painter, pointer, region);
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
                DragKind::Stroke(_) | DragKind::Shape(_) | DragKind::Tap(_) => CursorIcon::Crosshair,
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
            Tool::Pick => CursorIcon::PointingHand,
            // A press would be refused; the hand learns it before.
            _ if region_in_hand(scene).is_err() => CursorIcon::NotAllowed,
            _ => CursorIcon::Crosshair,
        };
        is_hovered.then_some(icon)
    }
}

/// Does at once what a click means; a finger's may still become part of a gesture, and waits until it is lifted.
fn done_or_tap(
    action: CanvasAction,
    timed: &TimedEvent,
    actions: &mut Vec<CanvasAction>,
) -> Option<DragKind> {
    if timed.is_touch {
        return Some(DragKind::Tap(action));
    }
    actions.push(action);
    None
}

/// The region that tools may change, or why there is none.
fn region_in_hand<'a>(scene: &Scene<'a>) -> Result<&'a RegionLayer, Blocked> {
    let Target::Region(id) = scene.inputs.target else {
        return Err(Blocked::NoRegion);
    };
    match scene.inputs.document.region(id) {
        None => Err(Blocked::NoRegion),
        Some(region) if region.locked => Err(Blocked::Locked),
        Some(region) if !region.visible => Err(Blocked::Hidden),
        Some(region) => Ok(region),
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

/// The area that a bucket fills, or why it cannot.
fn area_to_fill(inputs: &CanvasInputs<'_>, pixel: [u32; 2]) -> Result<MaskArea, Blocked> {
    let tolerance = inputs.area.fill_tolerance.clamp(0.0, 1.0);
    if inputs.area.fill_source == FillSource::Mask {
        return Ok(MaskArea::Enclosed {
            pixel,
            tolerance: (tolerance * 255.0) as u8,
        });
    }
    let picture = inputs.frame.or(inputs.document.background.image.as_ref());
    Ok(MaskArea::Coloured {
        picture: picture.ok_or(Blocked::NoPicture)?.clone(),
        pixel,
        tolerance,
        is_connected: inputs.area.fill_source == FillSource::Picture,
    })
}
