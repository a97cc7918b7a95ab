//! Where the canvas lies on the screen: the only place that knows zoom, rotation and mirroring.
//!
//! A [`View`] is what the painter chose; a [`Placement`] is that view in a certain part of the window. Zoom counts
//! physical screen pixels per canvas pixel, so that 100 % is sharp on every display.

use std::f32::consts::{PI, TAU};

use eframe::egui::{Pos2, Rect, Vec2, pos2, vec2};
use wordbrush_engine::api::CanvasSize;

use crate::paint::Point;

/// What the painter looks at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct View {
    /// The canvas point in the middle of the window part, in canvas pixels.
    centre: Point,
    /// Physical screen pixels per canvas pixel.
    zoom: f32,
    /// Clockwise on an unmirrored screen, in radians, -π to π.
    rotation: f32,
    /// Whether left and right are swapped.
    is_mirrored: bool,
}

impl Default for View {
    fn default() -> Self {
        Self {
            centre: [0.0; 2],
            zoom: 1.0,
            rotation: 0.0,
            is_mirrored: false,
        }
    }
}

impl View {
    /// Smallest and largest zoom.
    pub const ZOOM_RANGE: std::ops::RangeInclusive<f32> = 0.05..=32.0;

    /// Physical screen pixels per canvas pixel; 1 is 100 %.
    pub fn zoom(&self) -> f32 {
        self.zoom
    }

    /// Rotation in radians, clockwise.
    pub fn rotation(&self) -> f32 {
        self.rotation
    }

    /// Whether left and right are swapped.
    pub fn is_mirrored(&self) -> bool {
        self.is_mirrored
    }

    /// How far the picture is turned clockwise as seen, in whole degrees from 0 to 359.
    pub fn seen_turn_degrees(&self) -> i32 {
        let turn = if self.is_mirrored {
            -self.rotation
        } else {
            self.rotation
        };
        (turn.to_degrees().round() as i32).rem_euclid(360)
    }

    /// Shows the whole canvas in `rect` with a small margin; rotation and mirroring stay.
    pub fn fit(&mut self, canvas: CanvasSize, rect: Rect, pixels_per_point: f32) {
        let (width, height) = (canvas.width() as f32, canvas.height() as f32);
        let (sin, cos) = (self.rotation.sin().abs(), self.rotation.cos().abs());
        let turned = vec2(width * cos + height * sin, width * sin + height * cos);
        let room = (rect.size() * 0.94).max(Vec2::splat(1.0)) * pixels_per_point;
        self.set_zoom((room.x / turned.x).min(room.y / turned.y));
        self.centre = [width / 2.0, height / 2.0];
    }

    /// One canvas pixel per screen pixel, the middle stays.
    pub fn actual_size(&mut self) {
        self.zoom = 1.0;
    }

    /// Stands upright again.
    pub fn reset_rotation(&mut self) {
        self.rotation = 0.0;
    }

    /// Swaps left and right of the screen.
    pub fn toggle_mirror(&mut self) {
        self.is_mirrored = !self.is_mirrored;
    }

    /// Turns the picture on the screen around the middle, clockwise as seen.
    pub fn rotate_by(&mut self, angle: f32) {
        let angle = if self.is_mirrored { -angle } else { angle };
        if angle.is_finite() {
            self.rotation = (self.rotation + angle + PI).rem_euclid(TAU) - PI;
            // Turned to and fro, it stands upright again, not nearly so.
            if self.rotation.abs() < 1e-4 {
                self.rotation = 0.0;
            }
        }
    }

    /// Puts the middle of the window part onto a canvas point, kept on the canvas so that it cannot get lost.
    fn set_centre(&mut self, centre: Point, canvas: CanvasSize) {
        self.centre = [
            centre[0].clamp(0.0, canvas.width() as f32),
            centre[1].clamp(0.0, canvas.height() as f32),
        ];
    }

    fn set_zoom(&mut self, zoom: f32) {
        if zoom.is_finite() {
            self.zoom = zoom.clamp(*Self::ZOOM_RANGE.start(), *Self::ZOOM_RANGE.end());
        }
    }
}

/// A view in a part of the window; screen positions are in egui's points.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Placement {
    /// The part of the window.
    pub rect: Rect,
    /// Physical pixels per point.
    pub pixels_per_point: f32,
    view: View,
    /// Columns of the matrix from canvas pixels to points.
    columns: [Vec2; 2],
    origin: Pos2,
}

impl Placement {
    /// Places a view into `rect`.
    pub fn new(view: &View, rect: Rect, pixels_per_point: f32) -> Self {
        let scale = view.zoom / pixels_per_point;
        let (sin, cos) = view.rotation.sin_cos();
        let flip = if view.is_mirrored { -1.0 } else { 1.0 };
        let columns = [vec2(flip * cos, sin) * scale, vec2(flip * -sin, cos) * scale];
        let mut origin = rect.center() - columns[0] * view.centre[0] - columns[1] * view.centre[1];
        if view.rotation == 0.0 {
            // Canvas pixels fall onto screen pixels and stay sharp.
            let snap = |value: f32| (value * pixels_per_point).round() / pixels_per_point;
            origin = pos2(snap(origin.x), snap(origin.y));
        }
        Self {
            rect,
            pixels_per_point,
            view: *view,
            columns,
            origin,
        }
    }

    /// Where a canvas point is on the screen.
    pub fn screen_from_canvas(&self, [x, y]: Point) -> Pos2 {
        self.origin + self.columns[0] * x + self.columns[1] * y
    }

    /// Which canvas point is at a place on the screen; may lie beyond the canvas.
    pub fn canvas_from_screen(&self, position: Pos2) -> Point {
        let [a, b] = self.inverse();
        let offset = position - self.origin;
        [a.x * offset.x + b.x * offset.y, a.y * offset.x + b.y * offset.y]
    }

    /// The canvas pixel at a place on the screen, if it lies on the canvas.
    pub fn pixel_at(&self, position: Pos2, canvas: CanvasSize) -> Option<[u32; 2]> {
        let [x, y] = self.canvas_from_screen(position);
        let is_inside = x >= 0.0 && y >= 0.0 && x < canvas.width() as f32 && y < canvas.height() as f32;
        is_inside.then_some([x as u32, y as u32])
    }

    /// Points on the screen per canvas pixel.
    pub fn points_per_pixel(&self) -> f32 {
        self.view.zoom / self.pixels_per_point
    }

    /// Columns of the matrix from points back to canvas pixels.
    pub fn inverse(&self) -> [Vec2; 2] {
        let [a, b] = self.columns;
        let determinant = a.x * b.y - b.x * a.y;
        [vec2(b.y, -a.y) / determinant, vec2(-b.x, a.x) / determinant]
    }

    /// The view zoomed by a factor, so that the canvas point at `position` stays there.
    pub fn zoomed_at(&self, position: Pos2, factor: f32, canvas: CanvasSize) -> View {
        let fixed = self.canvas_from_screen(position);
        let mut view = self.view;
        view.set_zoom(view.zoom * factor);
        let then = Self::new(&view, self.rect, self.pixels_per_point).canvas_from_screen(position);
        let centre = [0, 1].map(|axis| view.centre[axis] + fixed[axis] - then[axis]);
        view.set_centre(centre, canvas);
        view
    }

    /// The view with the canvas moved along by a drag on the screen, in points.
    pub fn panned_by(&self, drag: Vec2, canvas: CanvasSize) -> View {
        let [a, b] = self.inverse();
        let step = a * drag.x + b * drag.y;
        let mut view = self.view;
        view.set_centre([view.centre[0] - step.x, view.centre[1] - step.y], canvas);
        view
    }

    /// How far a drag from one place to another turned around the middle, in radians, clockwise.
    pub fn angle_between(&self, from: Pos2, to: Pos2) -> f32 {
        let centre = self.rect.center();
        (to - centre).angle() - (from - centre).angle()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn canvas() -> CanvasSize {
        CanvasSize::new(640, 480).unwrap()
    }

    fn rect() -> Rect {
        Rect::from_min_size(pos2(100.0, 50.0), vec2(800.0, 600.0))
    }

    fn close(a: Point, b: Point, by: f32) -> bool {
        (a[0] - b[0]).abs() <= by && (a[1] - b[1]).abs() <= by
    }

    #[test]
    fn a_turn_is_told_as_it_is_seen() {
        let turned = |by: f32| {
            let mut view = View::default();
            view.rotate_by(by.to_radians());
            view
        };
        assert_eq!(turned(0.2).seen_turn_degrees(), 0);
        assert_eq!(turned(45.0).seen_turn_degrees(), 45);
        assert_eq!(turned(-15.0).seen_turn_degrees(), 345);
        assert_eq!(turned(180.0).seen_turn_degrees(), 180);
        let mut mirrored = View::default();
        mirrored.toggle_mirror();
        mirrored.rotate_by(45_f32.to_radians());
        assert_eq!(mirrored.seen_turn_degrees(), 45);
    }

    #[test]
    fn fit_shows_all_of_the_canvas_whichever_way_it_is_turned() {
        for (rotation, mirrored) in [(0.0, false), (1.0, true), (-2.5, false)] {
            let mut view = View::default();
            view.rotate_by(rotation);
            if mirrored {
                view.toggle_mirror();
            }
            view.fit(canvas(), rect(), 1.5);
            let placement = Placement::new(&view, rect(), 1.5);
            for corner in [[0.0, 0.0], [640.0, 0.0], [0.0, 480.0], [640.0, 480.0]] {
                assert!(
                    rect().contains(placement.screen_from_canvas(corner)),
                    "{rotation}"
                );
            }
        }
    }

    #[test]
    fn hundred_percent_is_one_physical_pixel_on_a_sharp_display() {
        let mut view = View::default();
        view.fit(canvas(), rect(), 2.0);
        view.actual_size();
        let placement = Placement::new(&view, rect(), 2.0);
        let step = placement.screen_from_canvas([11.0, 0.0]) - placement.screen_from_canvas([10.0, 0.0]);
        assert!((step.x - 0.5).abs() < 1e-4);
        let corner = placement.screen_from_canvas([0.0, 0.0]) * 2.0;
        assert!((corner.x - corner.x.round()).abs() < 1e-3 && (corner.y - corner.y.round()).abs() < 1e-3);
    }

    #[test]
    fn mirrored_views_turn_the_way_the_hand_does() {
        let mut view = View::default();
        view.fit(canvas(), rect(), 1.0);
        view.toggle_mirror();
        let top = |view: &View| {
            let placement = Placement::new(view, rect(), 1.0);
            placement.screen_from_canvas([320.0, 0.0]) - rect().center()
        };
        let before = top(&view);
        view.rotate_by(0.3);
        assert!(((top(&view).angle() - before.angle()) - 0.3).abs() < 1e-2);
    }

    #[test]
    fn the_canvas_cannot_get_lost() {
        let placement = Placement::new(&View::default(), rect(), 1.0);
        let view = placement.panned_by(vec2(1e6, -1e6), canvas());
        let placement = Placement::new(&view, rect(), 1.0);
        assert!(close(
            placement.canvas_from_screen(rect().center()),
            [0.0, 480.0],
            1.0
        ));
    }

    proptest! {
        #[test]
        fn there_and_back_is_the_same_place(
            x in -1000f32..2000.0, y in -1000f32..2000.0, zoom in 0.05f32..32.0,
            turn in -3f32..3.0, mirrored: bool, scale in 0.5f32..3.0,
        ) {
            let mut view = View::default();
            view.set_centre([200.0, 300.0], canvas());
            view.set_zoom(zoom);
            view.rotate_by(turn);
            if mirrored {
                view.toggle_mirror();
            }
            let placement = Placement::new(&view, rect(), scale);
            let back = placement.canvas_from_screen(placement.screen_from_canvas([x, y]));
            prop_assert!(close(back, [x, y], 0.02 + 2e-4 * (x.abs() + y.abs()) / zoom.min(1.0)), "{back:?}");
        }

        #[test]
        fn zoom_keeps_the_point_under_the_cursor(
            px in 150f32..850.0, py in 100f32..600.0, factor in 0.5f32..2.0, turn in -3f32..3.0, mirrored: bool,
        ) {
            let mut view = View::default();
            view.fit(canvas(), rect(), 1.0);
            view.rotate_by(turn);
            if mirrored {
                view.toggle_mirror();
            }
            let placement = Placement::new(&view, rect(), 1.0);
            let before = placement.canvas_from_screen(pos2(px, py));
            let zoomed = Placement::new(&placement.zoomed_at(pos2(px, py), factor, canvas()), rect(), 1.0);
            let after = zoomed.canvas_from_screen(pos2(px, py));
            // Where the middle would leave the canvas it is held there instead.
            let is_held = [zoomed.view.centre[0], zoomed.view.centre[1] * 640.0 / 480.0]
                .iter()
                .any(|value| *value <= 0.0 || *value >= 640.0);
            prop_assert!(is_held || close(before, after, 1.1), "{before:?} {after:?}");
        }

        #[test]
        fn zoom_stays_in_range(factors in proptest::collection::vec(any::<f32>(), 1..20)) {
            let mut view = View::default();
            for factor in factors {
                view = Placement::new(&view, rect(), 1.0).zoomed_at(pos2(300.0, 200.0), factor, canvas());
                prop_assert!(View::ZOOM_RANGE.contains(&view.zoom));
                prop_assert!(view.centre.iter().all(|value| value.is_finite()));
            }
        }
    }
}
