//! The canvas driven as a painter would: pointer and keys in, masks and pixels out.

use eframe::{
    egui::{
        CursorIcon, Event, Key, Modifiers, MouseWheelSource, MouseWheelUnit, PointerButton, Pos2, Shape,
        TouchDeviceId, TouchId, TouchPhase, vec2,
    },
    egui_wgpu::{RenderState, RendererOptions},
};
use egui_kittest::{
    Harness,
    kittest::Queryable as _,
    wgpu::{WgpuTestRenderer, create_render_state, default_wgpu_setup},
};
use wordbrush_engine::api::{CanvasSize, PixelRect, RegionId};

use super::*;
use crate::{
    document::{History, RegionField, RegionLayer, ResizeMode},
    paint::{Ink, PenSample, Stroke, polygon_mask, rectangle_outline},
};

const REGION: RegionId = RegionId(1);

/// The smallest app around a canvas.
struct Easel {
    canvas: CanvasState,
    document: Document,
    history: History,
    target: Target,
    tool: Tool,
    brush: BrushSettings,
    symmetry: Symmetry,
    area: AreaSettings,
    frame: Option<Picture>,
    display: CanvasDisplay,
    actions: Vec<CanvasAction>,
}

impl Easel {
    fn new(render_state: Option<&RenderState>, width: u32, height: u32) -> Self {
        let mut document = Document::new(CanvasSize::new(width, height).unwrap());
        for prompt in ["sky", "tree"] {
            let (_, edit) = Edit::new_region(&document, prompt);
            document.apply(edit);
        }
        Self {
            canvas: CanvasState::new(render_state),
            document,
            history: History::default(),
            target: Target::Region(REGION),
            tool: Tool::Brush,
            brush: BrushSettings {
                size_px: 20.0,
                hardness: 1.0,
                ..BrushSettings::default()
            },
            symmetry: Symmetry::Off,
            area: AreaSettings::default(),
            frame: None,
            display: CanvasDisplay::default(),
            actions: Vec::new(),
        }
    }

    fn ui(&mut self, ui: &mut Ui) {
        let inputs = CanvasInputs {
            document: &self.document,
            target: self.target,
            tool: self.tool,
            brush: self.brush,
            symmetry: self.symmetry,
            area: self.area,
            frame: self.frame.as_ref(),
            display: self.display,
        };
        let mut actions = Vec::new();
        canvas_ui(ui, &mut self.canvas, &inputs, &mut actions);
        for action in actions {
            match action.clone() {
                CanvasAction::Edit { edit, label, gesture } => {
                    self.history.apply(&mut self.document, edit, label, gesture);
                }
                CanvasAction::ChangeMask {
                    region,
                    change,
                    label,
                } => {
                    let mask = change.apply(&self.document.region(region).unwrap().mask);
                    let edit = Edit::set_mask(&self.document, region, &mask);
                    self.history.apply(&mut self.document, edit, label, None);
                }
                CanvasAction::EndGesture => self.history.end_gesture(),
                CanvasAction::TakeBack(gesture) => {
                    self.history.take_back(&mut self.document, gesture);
                }
                CanvasAction::Select(target) => self.target = target,
                CanvasAction::SetBrushSize(size) => self.brush.size_px = size,
                CanvasAction::SetBrushHardness(hardness) => self.brush.hardness = hardness,
                CanvasAction::StrokeEnded { .. } | CanvasAction::Blocked(_) => {}
            }
            self.actions.push(action);
        }
    }

    fn region(&self) -> &RegionLayer {
        self.document.region(REGION).unwrap()
    }

    fn coverage(&self, x: u32, y: u32) -> u8 {
        self.region().mask.coverage(x, y)
    }
}

struct Session(Harness<'static, Easel>);

impl Session {
    /// A 400 x 300 canvas at 100 % in the middle of a window of 640 x 480 points.
    fn new() -> Self {
        Self::with(Easel::new(None, 400, 300), None, 1.0)
    }

    fn rendered(easel: impl FnOnce(&RenderState) -> Easel, scale: f32) -> Self {
        let render_state = create_render_state(default_wgpu_setup(), RendererOptions::PREDICTABLE);
        let easel = easel(&render_state);
        Self::with(easel, Some(render_state), scale)
    }

    fn with(easel: Easel, render_state: Option<RenderState>, scale: f32) -> Self {
        let mut builder = Harness::builder()
            .with_size(vec2(640.0, 480.0))
            .with_pixels_per_point(scale);
        if let Some(render_state) = render_state {
            builder = builder.renderer(WgpuTestRenderer::from_render_state(render_state));
        }
        let app = |ui: &mut Ui, easel: &mut Easel| easel.ui(ui);
        let mut session = Self(builder.build_ui_state(app, easel));
        session.0.run_steps(2);
        session.easel().canvas.actual_size();
        session.0.run_steps(2);
        session
    }

    fn easel(&mut self) -> &mut Easel {
        self.0.state_mut()
    }

    /// The place on the screen of a canvas point.
    fn at(&self, point: [f32; 2]) -> Pos2 {
        let canvas = &self.0.state().canvas;
        let (rect, scale) = canvas.last_rect.unwrap();
        Placement::new(&canvas.view, rect, scale).screen_from_canvas(point)
    }

    /// One frame with these events, all at once.
    fn frame(&mut self, events: impl IntoIterator<Item = Event>) {
        self.0.input_mut().events.extend(events);
        self.0.step();
    }

    fn press(&self, point: [f32; 2], modifiers: Modifiers) -> Event {
        self.button(point, PointerButton::Primary, true, modifiers)
    }

    fn release(&self, point: [f32; 2]) -> Event {
        self.button(point, PointerButton::Primary, false, Modifiers::NONE)
    }

    fn button(&self, point: [f32; 2], button: PointerButton, pressed: bool, modifiers: Modifiers) -> Event {
        Event::PointerButton {
            pos: self.at(point),
            button,
            pressed,
            modifiers,
        }
    }

    fn moved(&self, point: [f32; 2]) -> Event {
        Event::PointerMoved(self.at(point))
    }

    /// Press, moves and release, each in a frame of its own.
    fn drag(&mut self, points: &[[f32; 2]], modifiers: Modifiers) {
        self.frame([Event::ModifiersChanged(modifiers), self.moved(points[0])]);
        self.frame([self.press(points[0], modifiers)]);
        for &point in &points[1..] {
            self.frame([self.moved(point)]);
        }
        self.frame([self.release(*points.last().unwrap())]);
        self.frame([Event::ModifiersChanged(Modifiers::NONE)]);
    }

    /// The rendered colour at a canvas point.
    fn pixels(&mut self) -> impl Fn([f32; 2]) -> [u8; 3] + use<> {
        let image = self.0.render().unwrap();
        let canvas = &self.0.state().canvas;
        let (rect, scale) = canvas.last_rect.unwrap();
        let placement = Placement::new(&canvas.view, rect, scale);
        move |point| {
            let place = placement.screen_from_canvas(point) * scale;
            let [red, green, blue, _] = image.get_pixel(place.x as u32, place.y as u32).0;
            [red, green, blue]
        }
    }
}

fn close(a: [u8; 3], b: [u8; 3]) -> bool {
    a.iter().zip(b).all(|(a, b)| a.abs_diff(b) <= 3)
}

#[test]
fn the_canvas_has_a_name_for_assistive_tools() {
    let session = Session::new();
    session.0.get_by_label("Canvas");
}

#[test]
fn a_stroke_is_one_undo_step_and_undo_brings_back_the_mask() {
    let mut session = Session::new();
    session.drag(&[[50.0, 50.0], [100.0, 50.0], [150.0, 80.0]], Modifiers::NONE);
    assert_eq!(session.easel().coverage(100, 50), 255);
    assert_eq!(session.easel().history.depth(), (1, 0));
    let easel = session.easel();
    assert_eq!(easel.history.undo(&mut easel.document).unwrap(), "Brush stroke");
    assert!(easel.region().mask.is_empty());
}

#[test]
fn every_pointer_event_of_a_frame_counts() {
    let mut session = Session::new();
    let corners = [[50.0, 50.0], [200.0, 50.0], [200.0, 200.0], [50.0, 200.0]];
    let mut events = vec![
        session.moved(corners[0]),
        session.press(corners[0], Modifiers::NONE),
    ];
    events.extend(corners.map(|corner| session.moved(corner)));
    events.push(session.release(corners[3]));
    session.frame(events);
    for [x, y] in [[125, 50], [200, 125], [125, 200]] {
        assert_eq!(session.easel().coverage(x, y), 255, "{x}, {y}");
    }
    assert_eq!(session.easel().coverage(125, 125), 0);
}

#[test]
fn a_shape_that_is_drawn_while_the_canvas_gets_another_size_is_given_up() {
    let mut session = Session::new();
    session.easel().tool = Tool::Rectangle;
    let corners = [[50.0, 50.0], [150.0, 120.0]];
    session.frame([session.moved(corners[0])]);
    session.frame([session.press(corners[0], Modifiers::NONE)]);
    session.frame([session.moved(corners[1])]);
    assert!(session.easel().canvas.is_painting());
    let easel = session.easel();
    let size = CanvasSize::new(200, 150).unwrap();
    let edit = Edit::resize(&easel.document, size, ResizeMode::Scale);
    easel
        .history
        .apply(&mut easel.document, edit, "Canvas size", None);
    session.frame([session.moved([60.0, 60.0])]);
    assert!(!session.easel().canvas.is_painting());
    session.frame([session.release([60.0, 60.0])]);
    assert_eq!(session.easel().history.depth(), (1, 0));
}

#[test]
fn two_taps_within_one_frame_both_leave_ink() {
    let mut session = Session::new();
    let mut events = vec![session.moved([30.0, 30.0])];
    for point in [[30.0, 30.0], [36.0, 36.0]] {
        events.push(session.moved(point));
        events.push(session.press(point, Modifiers::NONE));
        events.push(session.release(point));
    }
    session.frame(events);
    assert_eq!(session.easel().history.depth(), (2, 0));
    assert_eq!(session.easel().coverage(22, 30), 255);
    assert_eq!(session.easel().coverage(44, 36), 255);
}

#[test]
fn what_the_hand_draws_is_what_the_brush_engine_paints() {
    let mut session = Session::new();
    let points = [[40.0, 60.0], [120.0, 90.0], [200.0, 70.0]];
    session.drag(&points, Modifiers::NONE);
    let sample = |position| PenSample {
        position,
        pressure: 1.0,
        time_secs: 0.0,
    };
    let easel = session.easel();
    let blank = Mask::new(easel.document.size);
    let mut stroke = Stroke::begin(
        REGION,
        blank.clone(),
        easel.brush,
        Ink::Paint,
        Symmetry::Off,
        [0.0; 2],
        sample(points[0]),
    );
    for point in &points[1..] {
        stroke.push(sample(*point));
    }
    stroke.end(sample(points[2]));
    let mut expected = blank;
    for tile in stroke.take_changes().unwrap().tiles {
        expected.set_tile(tile.column, tile.row, tile.data);
    }
    assert_eq!(easel.region().mask, expected);
}

#[test]
fn locked_hidden_and_missing_regions_are_not_painted_and_say_why() {
    for (field, target, expected) in [
        (RegionField::Locked(true), Target::Region(REGION), Blocked::Locked),
        (
            RegionField::Visible(false),
            Target::Region(REGION),
            Blocked::Hidden,
        ),
        (RegionField::Locked(false), Target::Background, Blocked::NoRegion),
        (
            RegionField::Locked(false),
            Target::Region(RegionId(77)),
            Blocked::NoRegion,
        ),
    ] {
        let mut session = Session::new();
        session.easel().document.apply(Edit::Region(REGION, field));
        session.easel().target = target;
        session.drag(&[[50.0, 50.0], [100.0, 50.0]], Modifiers::NONE);
        assert_eq!(session.easel().actions, [CanvasAction::Blocked(expected)]);
        assert!(session.easel().region().mask.is_empty());
    }
}

#[test]
fn the_eraser_takes_away_what_the_brush_painted() {
    let mut session = Session::new();
    session.drag(&[[50.0, 50.0], [150.0, 50.0]], Modifiers::NONE);
    session.easel().tool = Tool::Eraser;
    session.drag(&[[100.0, 20.0], [100.0, 80.0]], Modifiers::NONE);
    assert_eq!(session.easel().coverage(60, 50), 255);
    assert_eq!(session.easel().coverage(100, 50), 0);
    assert_eq!(session.easel().history.undo_label(), Some("Eraser stroke"));
}

#[test]
fn shift_click_draws_a_straight_line_and_shift_drag_resizes() {
    let mut session = Session::new();
    session.drag(&[[50.0, 50.0], [52.0, 50.0]], Modifiers::NONE);
    session.drag(&[[250.0, 150.0]], Modifiers::SHIFT);
    assert_eq!(session.easel().coverage(150, 100), 255);
    assert_eq!(session.easel().history.depth(), (2, 0));

    session.drag(&[[100.0, 200.0], [130.0, 200.0]], Modifiers::SHIFT);
    assert_eq!(session.easel().brush.size_px, 80.0);
    assert_eq!(session.easel().history.depth(), (2, 0), "nothing was painted");
}

#[test]
fn shapes_add_and_with_ctrl_subtract() {
    let mut session = Session::new();
    session.easel().tool = Tool::Rectangle;
    session.drag(&[[20.0, 20.0], [60.0, 60.0], [120.0, 90.0]], Modifiers::NONE);
    assert_eq!(
        session.easel().region().mask.bounds(),
        PixelRect::new(20, 20, 120, 90)
    );
    session.easel().tool = Tool::Ellipse;
    session.drag(&[[40.0, 30.0], [80.0, 70.0]], Modifiers::COMMAND);
    assert_eq!(session.easel().coverage(60, 50), 0);
    session.easel().tool = Tool::Lasso;
    session.drag(&[[200.0, 20.0], [260.0, 20.0], [230.0, 80.0]], Modifiers::NONE);
    assert_eq!(session.easel().coverage(230, 40), 255);
    assert_eq!(session.easel().history.depth(), (3, 0));

    session.drag(&[[300.0, 20.0]], Modifiers::NONE);
    assert_eq!(session.easel().history.depth(), (3, 0), "a click is no shape");
}

#[test]
fn escape_gives_up_a_shape() {
    let mut session = Session::new();
    session.easel().tool = Tool::Rectangle;
    session.frame([session.moved([20.0, 20.0])]);
    session.frame([
        session.press([20.0, 20.0], Modifiers::NONE),
        session.moved([90.0, 90.0]),
    ]);
    assert!(session.easel().canvas.is_painting());
    session.0.key_press(Key::Escape);
    session.0.run_steps(2);
    session.frame([session.release([90.0, 90.0])]);
    assert_eq!(session.easel().history.depth(), (0, 0));
}

#[test]
fn the_bucket_fills_a_closed_outline_or_a_colour() {
    let mut session = Session::new();
    session.drag(
        &[
            [50.0, 50.0],
            [150.0, 50.0],
            [150.0, 150.0],
            [50.0, 150.0],
            [50.0, 50.0],
        ],
        Modifiers::NONE,
    );
    session.easel().tool = Tool::Fill;
    session.drag(&[[100.0, 100.0]], Modifiers::NONE);
    assert_eq!(session.easel().coverage(100, 100), 255);
    assert_eq!(session.easel().coverage(300, 100), 0);

    session.easel().area.fill_source = FillSource::Picture;
    session.drag(&[[300.0, 100.0]], Modifiers::NONE);
    assert_eq!(
        session.easel().actions.last(),
        Some(&CanvasAction::Blocked(Blocked::NoPicture))
    );
    let size = CanvasSize::new(4, 3).unwrap();
    session.easel().frame = Some(Picture::solid(size, [9, 9, 9, 255]));
    session.drag(&[[300.0, 100.0]], Modifiers::NONE);
    assert_eq!(session.easel().coverage(399, 299), 255);
}

#[test]
fn alt_click_picks_the_front_region_or_the_background() {
    let mut session = Session::new();
    session.drag(&[[50.0, 50.0], [150.0, 50.0]], Modifiers::NONE);
    session.easel().target = Target::Background;
    session.drag(&[[100.0, 50.0]], Modifiers::ALT);
    assert_eq!(session.easel().target, Target::Region(REGION));
    session.easel().tool = Tool::Pick;
    session.drag(&[[300.0, 250.0]], Modifiers::NONE);
    assert_eq!(session.easel().target, Target::Background);
}

#[test]
fn the_wheel_zooms_at_the_cursor_and_middle_drag_pans() {
    let mut session = Session::new();
    let cursor = session.at([100.0, 100.0]);
    session.frame([session.moved([100.0, 100.0])]);
    session.frame([Event::MouseWheel {
        unit: MouseWheelUnit::Line,
        delta: vec2(0.0, 3.0),
        phase: TouchPhase::Move,
        source: MouseWheelSource::Wheel,
        modifiers: Modifiers::NONE,
    }]);
    session.frame([]);
    assert!((session.easel().canvas.view().zoom() - 1.728).abs() < 1e-3);
    assert!((session.at([100.0, 100.0]) - cursor).length() < 1.0);

    let before = session.at([200.0, 150.0]);
    let middle = |session: &Session, point, pressed| {
        session.button(point, PointerButton::Middle, pressed, Modifiers::NONE)
    };
    session.frame([middle(&session, [100.0, 100.0], true)]);
    session.frame([Event::PointerMoved(cursor + vec2(30.0, -20.0))]);
    session.frame([middle(&session, [100.0, 100.0], false)]);
    let step = session.at([200.0, 150.0]) - before;
    assert!((step - vec2(30.0, -20.0)).length() < 1.5, "{step:?}");
    assert!(session.easel().region().mask.is_empty());
}

#[test]
fn space_pans_and_r_rotates_without_painting() {
    let mut session = Session::new();
    session.0.key_down(Key::Space);
    session.0.run_steps(2);
    let (before, start) = (session.at([200.0, 150.0]), session.at([100.0, 100.0]));
    session.frame([Event::PointerMoved(start)]);
    session.frame([session.press([100.0, 100.0], Modifiers::NONE)]);
    session.frame([Event::PointerMoved(start + vec2(25.0, 10.0))]);
    let place = start + vec2(25.0, 10.0);
    session.frame([Event::PointerButton {
        pos: place,
        button: PointerButton::Primary,
        pressed: false,
        modifiers: Modifiers::NONE,
    }]);
    assert!((session.at([200.0, 150.0]) - before - vec2(25.0, 10.0)).length() < 1.5);
    session.0.key_up(Key::Space);
    session.0.key_down(Key::R);
    session.0.run_steps(3);
    session.drag(&[[300.0, 100.0], [300.0, 200.0]], Modifiers::NONE);
    assert!(session.easel().canvas.view().rotation() > 0.2);
    assert!(session.easel().region().mask.is_empty());
    session.easel().canvas.reset_rotation();
    assert_eq!(session.easel().canvas.view().rotation(), 0.0);
}

#[test]
fn painting_is_exact_in_a_turned_mirrored_and_zoomed_view() {
    let mut session = Session::new();
    session.easel().canvas.rotate_by(0.7);
    session.easel().canvas.toggle_mirror();
    session.easel().canvas.zoom_by(1.3);
    session.0.run_steps(2);
    session.drag(&[[200.0, 150.0], [230.0, 170.0]], Modifiers::NONE);
    let bounds = session.easel().region().mask.bounds().unwrap();
    for (found, expected) in [
        (bounds.x0, 190_u32),
        (bounds.y0, 140),
        (bounds.x1, 240),
        (bounds.y1, 180),
    ] {
        assert!(found.abs_diff(expected) <= 1, "{bounds:?}");
    }
}

#[test]
fn losing_the_window_ends_the_stroke() {
    let mut session = Session::new();
    session.frame([session.moved([50.0, 50.0])]);
    session.frame([
        session.press([50.0, 50.0], Modifiers::NONE),
        session.moved([90.0, 50.0]),
    ]);
    session.frame([Event::WindowFocused(false)]);
    assert!(!session.easel().canvas.is_painting());
    session.frame([session.moved([150.0, 50.0])]);
    assert_eq!(session.easel().coverage(120, 50), 0);
    assert_eq!(session.easel().history.depth(), (1, 0));
}

fn touch(session: &Session, id: u64, phase: TouchPhase, point: [f32; 2]) -> Event {
    Event::Touch {
        device_id: TouchDeviceId(1),
        id: TouchId(id),
        phase,
        pos: session.at(point),
        force: None,
    }
}

/// Paints with one finger for some frames, until another one comes.
fn touch_twice(session: &mut Session, frames_before: usize) {
    session.frame([
        touch(session, 1, TouchPhase::Start, [50.0, 50.0]),
        session.moved([50.0, 50.0]),
        session.press([50.0, 50.0], Modifiers::NONE),
    ]);
    for _ in 0..frames_before {
        session.frame([]);
    }
    assert!(session.easel().canvas.is_painting());
    assert_eq!(session.easel().coverage(50, 50), 255);
    session.frame([touch(session, 2, TouchPhase::Start, [150.0, 50.0])]);
    session.frame([]);
    assert!(!session.easel().canvas.is_painting());
}

#[test]
fn a_mouse_that_leaves_the_window_goes_on_and_a_release_out_there_ends_the_stroke() {
    let mut session = Session::new();
    session.frame([session.moved([50.0, 50.0])]);
    session.frame([session.press([50.0, 50.0], Modifiers::NONE)]);
    session.frame([Event::PointerGone]);
    assert!(session.easel().canvas.is_painting());
    session.frame([session.moved([150.0, 50.0])]);
    assert_eq!(session.easel().coverage(120, 50), 255);
    session.frame([session.release([150.0, 50.0])]);
    assert!(!session.easel().canvas.is_painting());
    assert_eq!(session.easel().history.depth(), (1, 0));
}

#[test]
fn a_shape_that_the_loss_of_the_window_cuts_off_is_given_up() {
    let mut session = Session::new();
    session.easel().tool = Tool::Lasso;
    session.frame([session.moved([50.0, 50.0])]);
    session.frame([session.press([50.0, 50.0], Modifiers::NONE)]);
    session.frame([session.moved([150.0, 50.0])]);
    session.frame([session.moved([150.0, 150.0])]);
    session.frame([Event::WindowFocused(false)]);
    assert!(session.easel().region().mask.is_empty());
    assert!(!session.easel().canvas.is_painting());
}

#[test]
fn a_finger_fills_and_picks_when_it_is_lifted_and_two_do_neither() {
    let tap = |session: &mut Session, with_another: bool| {
        session.frame([
            touch(session, 1, TouchPhase::Start, [50.0, 50.0]),
            session.moved([50.0, 50.0]),
            session.press([50.0, 50.0], Modifiers::NONE),
        ]);
        assert!(session.easel().region().mask.is_empty());
        assert_eq!(session.easel().target, Target::Region(REGION));
        if with_another {
            session.frame([touch(session, 2, TouchPhase::Start, [150.0, 50.0])]);
            session.frame([touch(session, 2, TouchPhase::End, [150.0, 50.0])]);
        }
        session.frame([
            touch(session, 1, TouchPhase::End, [50.0, 50.0]),
            session.release([50.0, 50.0]),
            Event::PointerGone,
        ]);
    };
    let mut session = Session::new();
    session.easel().tool = Tool::Fill;
    tap(&mut session, true);
    assert!(session.easel().region().mask.is_empty());
    tap(&mut session, false);
    assert_eq!(session.easel().coverage(50, 50), 255);
    let mut session = Session::new();
    session.easel().tool = Tool::Pick;
    tap(&mut session, true);
    assert_eq!(session.easel().target, Target::Region(REGION));
    tap(&mut session, false);
    assert_eq!(session.easel().target, Target::Background);
}

#[test]
fn ink_stays_under_the_pen_when_its_pane_moves() {
    let mut session = Session::new();
    session.frame([session.moved([200.0, 150.0])]);
    session.frame([session.press([200.0, 150.0], Modifiers::NONE)]);
    // The layout changes under the pen: its pane is half as wide now, and so is elsewhere.
    session.easel().display.layout = CanvasLayout::SideBySide(Layer::Masks, Layer::Result);
    session.frame([]);
    session.frame([]);
    let state = &session.0.state().canvas;
    let (rect, scale) = state.last_rect.unwrap();
    let pen = Placement::new(&state.view, rect, scale).screen_from_canvas([230.0, 200.0]);
    session.frame([Event::PointerMoved(pen)]);
    assert_eq!(session.easel().coverage(230, 200), 255);
}

#[test]
fn a_line_starts_on_no_canvas_of_another_size() {
    let mut session = Session::new();
    session.drag(&[[50.0, 50.0], [60.0, 50.0]], Modifiers::NONE);
    let size = CanvasSize::new(300, 300).unwrap();
    let edit = Edit::resize(
        &session.easel().document,
        size,
        crate::document::ResizeMode::Scale,
    );
    session.easel().document.apply(edit);
    session.frame([]);
    session.frame([]);
    session.drag(&[[200.0, 200.0]], Modifiers::SHIFT);
    assert_eq!(session.easel().coverage(200, 200), 255);
    assert_eq!(session.easel().coverage(130, 125), 0, "no line leads there");
}

#[test]
fn two_fingers_at_a_time_paint_nothing() {
    let mut session = Session::new();
    touch_twice(&mut session, 0);
    assert!(session.easel().region().mask.is_empty());
    assert_eq!(session.easel().history.depth(), (0, 0));
}

#[test]
fn a_second_finger_ends_the_stroke_and_moves_the_view() {
    let mut session = Session::new();
    touch_twice(&mut session, 3);
    let before = session.easel().canvas.view().zoom();
    session.frame([
        touch(&session, 2, TouchPhase::Move, [250.0, 50.0]),
        touch(&session, 1, TouchPhase::Move, [40.0, 50.0]),
        session.moved([40.0, 50.0]),
    ]);
    session.frame([]);
    assert!(session.easel().canvas.view().zoom() > before * 1.3);
    assert_eq!(session.easel().history.depth(), (1, 0));
    assert_eq!(session.easel().coverage(150, 50), 0);
}

#[test]
fn a_resized_canvas_is_fitted_anew() {
    let mut session = Session::new();
    let size = CanvasSize::new(4096, 64).unwrap();
    let edit = Edit::resize(
        &session.easel().document,
        size,
        crate::document::ResizeMode::Scale,
    );
    session.easel().document.apply(edit);
    session.0.run_steps(2);
    let left = session.at([0.0, 32.0]);
    let right = session.at([4096.0, 32.0]);
    assert!(left.x > 0.0 && right.x < 640.0 && right.x - left.x > 500.0);
}

/// A frame whose left half is green and whose right half is blue.
fn two_colours() -> Picture {
    let rgba: Vec<u8> = (0..100 * 75)
        .flat_map(|i| {
            if i % 100 < 50 {
                [20, 200, 20, 255]
            } else {
                [20, 20, 200, 255]
            }
        })
        .collect();
    Picture::new(CanvasSize::new(100, 75).unwrap(), rgba).unwrap()
}

fn painted_easel(render_state: Option<&RenderState>) -> Easel {
    let mut easel = Easel::new(render_state, 400, 300);
    easel.frame = Some(two_colours());
    let mask = polygon_mask(
        easel.document.size,
        &rectangle_outline([100.0, 100.0], [300.0, 200.0]),
    );
    let edit = Edit::set_mask(&easel.document, REGION, &mask);
    easel.document.apply(edit);
    easel.display.overlay_opacity = 0.5;
    easel.target = Target::Background;
    easel
}

/// Half of the first region's colour over another one.
fn tinted(colour: [u8; 3]) -> [u8; 3] {
    let region = crate::document::region_colour(0);
    [0, 1, 2].map(|i| u8::midpoint(colour[i], region[i]))
}

#[test]
fn the_pane_shows_the_frame_with_the_regions_over_it() {
    for scale in [1.0, 2.0] {
        let mut session = Session::rendered(|render_state| painted_easel(Some(render_state)), scale);
        let pixel = session.pixels();
        assert!(
            close(pixel([50.0, 50.0]), [20, 200, 20]),
            "{:?}",
            pixel([50.0, 50.0])
        );
        assert!(close(pixel([350.0, 250.0]), [20, 20, 200]));
        assert!(close(pixel([150.0, 150.0]), tinted([20, 200, 20])));

        session.easel().display.overlay_mode = OverlayMode::Off;
        session.0.run_steps(1);
        assert!(close(session.pixels()([150.0, 150.0]), [20, 200, 20]));

        session.easel().display.overlay_mode = OverlayMode::Outlines;
        session.0.run_steps(1);
        let pixel = session.pixels();
        assert!(close(pixel([150.0, 150.0]), [20, 200, 20]));
        assert!(close(pixel([100.4, 150.0]), crate::document::region_colour(0)));
    }
}

#[test]
fn ink_is_on_screen_in_the_frame_in_which_the_pen_moved() {
    let mut session = Session::rendered(|render_state| Easel::new(Some(render_state), 400, 300), 1.0);
    session.easel().display.overlay_opacity = 1.0;
    session.frame([session.moved([30.0, 30.0])]);
    let before = session.pixels()([60.0, 30.0]);
    assert!(close(before, [255; 3]));
    session.frame([
        session.press([30.0, 30.0], Modifiers::NONE),
        session.moved([60.0, 30.0]),
        session.moved([120.0, 30.0]),
    ]);
    let after = session.pixels()([60.0, 30.0]);
    assert!(close(after, crate::document::region_colour(0)), "{after:?}");
}

#[test]
fn wipe_and_side_by_side_show_two_pictures() {
    let mut session = Session::rendered(|render_state| painted_easel(Some(render_state)), 1.0);
    session.easel().display.layout = CanvasLayout::Wipe(Layer::Masks, Layer::Result);
    session.0.run_steps(1);
    let pixel = session.pixels();
    assert!(close(pixel([150.0, 150.0]), crate::document::region_colour(0)));
    assert!(close(pixel([50.0, 50.0]), [255; 3]));
    assert!(close(pixel([350.0, 250.0]), [20, 20, 200]));

    // The line is dragged to the left.
    session.drag(&[[200.0, 150.0], [120.0, 150.0]], Modifiers::NONE);
    assert!(close(session.pixels()([150.0, 150.0]), tinted([20, 200, 20])));
    assert!(session.easel().actions.is_empty());

    session.easel().display.layout = CanvasLayout::SideBySide(Layer::Masks, Layer::Result);
    session.easel().canvas.fit();
    session.0.run_steps(2);
    let image = session.0.render().unwrap();
    let at = |x, y| {
        let [red, green, blue, _] = image.get_pixel(x, y).0;
        [red, green, blue]
    };
    assert!(close(at(160, 240), crate::document::region_colour(0)));
    assert!(close(at(410, 240), tinted([20, 200, 20])), "{:?}", at(410, 240));
}

#[test]
fn without_a_graphics_card_the_canvas_is_drawn_by_egui() {
    let mut session = Session::rendered(|_| painted_easel(None), 1.0);
    let pixel = session.pixels();
    assert!(close(pixel([50.0, 50.0]), [20, 200, 20]));
    assert!(
        close(pixel([150.0, 150.0]), tinted([20, 200, 20])),
        "{:?}",
        pixel([150.0, 150.0])
    );
}

#[test]
fn frames_and_canvases_of_any_size_are_shown() {
    let mut session = Session::rendered(|render_state| painted_easel(Some(render_state)), 1.0);
    for (width, height) in [(64, 64), (1000, 70), (4096, 4096)] {
        let size = CanvasSize::new(width, height).unwrap();
        let edit = Edit::resize(
            &session.easel().document,
            size,
            crate::document::ResizeMode::Scale,
        );
        session.easel().document.apply(edit);
        session.easel().frame = Some(Picture::solid(size, [200, 100, 50, 255]));
        session.0.run_steps(2);
        // The masks of the largest canvas reach the card over several frames, which are drawn here one by one.
        for _ in 0..size.area() >> 21 {
            let _drawn = session.pixels();
            session.0.run_steps(1);
        }
        let pixel = session.pixels();
        let (width, height) = (width as f32, height as f32);
        assert!(close(pixel([width * 0.1, height * 0.1]), [200, 100, 50]));
        assert!(close(pixel([width * 0.5, height * 0.5]), tinted([200, 100, 50])));
    }
}

#[test]
fn pixels_stay_sharp_above_two_hundred_percent() {
    let mut session = Session::rendered(|render_state| Easel::new(Some(render_state), 400, 300), 1.0);
    let rgba: Vec<u8> = (0..400 * 300)
        .flat_map(|i| if i % 2 == 0 { [0, 0, 0, 255] } else { [255; 4] })
        .collect();
    session.easel().frame = Some(Picture::new(CanvasSize::new(400, 300).unwrap(), rgba).unwrap());
    session.easel().canvas.zoom_by(8.0);
    session.frame([Event::PointerGone]);
    let pixel = session.pixels();
    assert!(close(pixel([200.1, 150.5]), [0; 3]) && close(pixel([200.9, 150.5]), [0; 3]));
    assert!(close(pixel([201.1, 150.5]), [255; 3]) && close(pixel([201.9, 150.5]), [255; 3]));

    // Far away the stripes become an even grey instead of a pattern.
    session.easel().canvas.zoom_by(1.0 / 32.0);
    session.frame([]);
    let pixel = session.pixels();
    for x in [180.0, 184.0, 188.0, 192.0] {
        assert!(close(pixel([x, 150.0]), [128; 3]), "{:?}", pixel([x, 150.0]));
    }
}

/// The words that are drawn over the canvas.
fn drawn_words(session: &Session) -> Vec<String> {
    fn words_of(shape: &Shape, words: &mut Vec<String>) {
        match shape {
            Shape::Text(text) => words.push(text.galley.text().to_owned()),
            Shape::Vec(shapes) => shapes.iter().for_each(|shape| words_of(shape, words)),
            _ => {}
        }
    }
    let mut words = Vec::new();
    for clipped in &session.0.output().shapes {
        words_of(&clipped.shape, &mut words);
    }
    words
}

#[test]
fn alt_names_the_region_that_a_click_would_select() {
    let mut session = Session::new();
    session.drag(&[[50.0, 50.0], [150.0, 50.0]], Modifiers::NONE);
    session.frame([session.moved([100.0, 50.0])]);
    assert!(drawn_words(&session).is_empty());
    session.frame([Event::ModifiersChanged(Modifiers::ALT)]);
    assert_eq!(drawn_words(&session), ["sky"]);
    session.frame([session.moved([100.0, 200.0])]);
    assert_eq!(drawn_words(&session), ["Background"]);
    session.frame([Event::ModifiersChanged(Modifiers::NONE)]);
    session.easel().tool = Tool::Pick;
    session.frame([session.moved([100.0, 50.0])]);
    assert_eq!(drawn_words(&session), ["sky"]);
}

#[test]
fn resizing_the_brush_shows_its_figures_until_it_is_let_go() {
    let mut session = Session::new();
    session.frame([
        Event::ModifiersChanged(Modifiers::SHIFT),
        session.moved([200.0, 150.0]),
        session.press([200.0, 150.0], Modifiers::SHIFT),
    ]);
    session.frame([session.moved([215.0, 150.0])]);
    session.frame([]);
    assert_eq!(session.easel().brush.size_px, 50.0);
    assert_eq!(drawn_words(&session), ["50 px · 100 %"]);
    session.frame([session.release([215.0, 150.0])]);
    session.frame([]);
    assert!(drawn_words(&session).is_empty());
}

#[test]
fn the_cursor_says_before_the_press_that_nothing_can_be_painted() {
    let mut session = Session::new();
    let cursor = |session: &mut Session| {
        session.frame([session.moved([100.0, 100.0])]);
        session.frame([]);
        session.0.output().platform_output.cursor_icon
    };
    assert_eq!(cursor(&mut session), CursorIcon::Crosshair);
    session.easel().target = Target::Background;
    assert_eq!(cursor(&mut session), CursorIcon::NotAllowed);
    session.easel().target = Target::Region(REGION);
    let lock = Edit::Region(REGION, RegionField::Locked(true));
    session.easel().document.apply(lock);
    assert_eq!(cursor(&mut session), CursorIcon::NotAllowed);
    session.easel().tool = Tool::Pick;
    assert_eq!(cursor(&mut session), CursorIcon::PointingHand);
}

#[test]
fn an_abandoned_stroke_paints_no_more() {
    let mut session = Session::new();
    session.frame([session.moved([50.0, 50.0])]);
    session.frame([session.press([50.0, 50.0], Modifiers::NONE)]);
    session.frame([session.moved([80.0, 50.0])]);
    let gesture = session.easel().canvas.abandon_stroke().unwrap();
    let easel = session.easel();
    assert!(easel.history.is_of_newest(gesture));
    easel.history.undo(&mut easel.document).unwrap();
    session.frame([session.moved([120.0, 50.0])]);
    session.frame([session.release([150.0, 50.0])]);
    assert!(session.easel().region().mask.is_empty());
    assert_eq!(session.easel().canvas.abandon_stroke(), None);
}

#[test]
fn a_fitted_canvas_goes_along_with_the_window_until_the_view_is_moved() {
    let mut session = Session::new();
    let corner = |session: &Session| session.at([400.0, 300.0]);
    session.easel().canvas.fit();
    session.0.run_steps(2);
    let fitted = session.easel().canvas.view().zoom();
    session.0.set_size(vec2(320.0, 240.0));
    session.0.run_steps(2);
    let smaller = session.easel().canvas.view().zoom();
    assert!(smaller < 0.55 * fitted, "{smaller} {fitted}");
    assert!(corner(&session).x < 320.0 && corner(&session).y < 240.0);

    session.easel().canvas.zoom_by(1.5);
    session.0.set_size(vec2(640.0, 480.0));
    session.0.run_steps(2);
    let chosen = session.easel().canvas.view().zoom();
    assert!((chosen - smaller * 1.5).abs() < 0.01, "{chosen}");
}

#[test]
fn side_by_side_shows_the_whole_canvas_in_each_half() {
    let mut session = Session::new();
    session.easel().canvas.fit();
    session.0.run_steps(2);
    session.easel().display.layout = CanvasLayout::SideBySide(Layer::Masks, Layer::Result);
    session.0.run_steps(2);
    assert!(session.at([400.0, 150.0]).x < 320.0);
}
