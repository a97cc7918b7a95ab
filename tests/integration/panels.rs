//! Every panel and command through the accessibility tree.

use egui_kittest::kittest::Queryable as _;

use crate::harness::{AppHarness as _, app, app_of_size};

#[test]
fn the_first_start_shows_a_painted_sample_and_a_frame() {
    let mut harness = app();
    harness.run_until_fresh();
    assert_eq!(harness.app().document().regions.len(), 4);
    harness.get_by_label("Region Meadow");
}

#[test]
fn zz_look() {
    for (w, h, name) in [(1360.0, 860.0, "a"), (1024.0, 700.0, "b")] {
        let mut harness = app_of_size(w, h);
        harness.run_until_fresh();
        let image = harness.render().unwrap();
        image.save(format!("/tmp/look-{name}.png")).unwrap();
    }
}
