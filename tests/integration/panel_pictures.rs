//! Small pictures of panels, compared with those in `tests/fixtures/pictures`.
//!
//! `UPDATE_SNAPSHOTS=1 cargo test -p integration_tests panel_pictures` renews those that differ; look at them before
//! they are committed.

use egui::{Rect, accesskit::Role};
use egui_kittest::{Harness, SnapshotOptions, image_snapshot_options, kittest::Queryable as _};
use wordbrush::{app::App, command::AppCommand};

use crate::harness::{AppHarness as _, rendered_app_of_size};

/// A glyph that is missing or a colour that is off is dozens of pixels; drivers differ by a few at rounded corners.
const MOST_PIXELS_OFF: usize = 4;

fn window() -> Harness<'static, Option<App>> {
    let mut harness = rendered_app_of_size(900.0, 900.0);
    harness.run_until_fresh();
    // The pointer would light up what lies under it, and messages come and go.
    harness.event(egui::Event::PointerGone);
    harness.run_steps(8);
    harness
}

/// Compares a part of the window.
fn compare(harness: &mut Harness<'static, Option<App>>, part: Rect, name: &str) {
    let window = harness.render().unwrap();
    let [left, top] = [part.min.x, part.min.y].map(|edge| edge.floor() as u32);
    let [right, bottom] = [part.max.x, part.max.y].map(|edge| edge.ceil() as u32);
    let part = image::imageops::crop_imm(&window, left, top, right - left, bottom - top).to_image();
    let options = SnapshotOptions::new()
        .max_failed_pixels(MOST_PIXELS_OFF)
        .output_path(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/pictures"));
    image_snapshot_options(&part, name, &options);
}

/// The right panel down to a slider.
fn side_panel(harness: &Harness<'static, Option<App>>, lowest: &str) -> Rect {
    let top = harness.get_by_label("Panel: Regions").rect();
    let bottom = harness
        .get_by_role_and_label(Role::Slider, lowest)
        .rect()
        .bottom();
    Rect::from_min_max(
        egui::pos2(top.left() - 14.0, top.top() - 10.0),
        egui::pos2(900.0, bottom + 6.0),
    )
}

#[test]
fn the_list_of_regions_in_the_dark() {
    let mut harness = window();
    let part = side_panel(&harness, "Edge softness");
    compare(&mut harness, part, "regions-dark");
}

#[test]
fn the_stream_panel_in_the_dark() {
    let mut harness = window();
    harness.get_by_label("Panel: Stream").click();
    harness.run_steps(4);
    harness.event(egui::Event::PointerGone);
    harness.run_steps(8);
    let part = side_panel(&harness, "Steps");
    compare(&mut harness, part, "stream-dark");
}

#[test]
fn the_tools_in_the_dark() {
    let mut harness = window();
    let top = harness.get_by_label("Brush").rect();
    let bottom = harness.get_by_label("Pick region").rect();
    compare(&mut harness, top.union(bottom).expand(4.0), "tools-dark");
}

#[test]
fn the_list_of_regions_in_the_light() {
    let mut harness = window();
    let ctx = harness.ctx.clone();
    let app = harness.state_mut().as_mut().unwrap();
    app.run(&ctx, AppCommand::ToggleTheme);
    harness.run_steps(8);
    let part = side_panel(&harness, "Edge softness");
    compare(&mut harness, part, "regions-light");
}
