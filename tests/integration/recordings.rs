//! Recorded strokes, replayed to the masks they are known to give.
//!
//! `fixtures/strokes/NAME.json` holds what the pen did and `NAME.png` the mask. To accept a wanted change of the
//! brush engine, run with `UPDATE_STROKES=1` and look at the new pictures before they are committed.

use std::path::{Path, PathBuf};

use image::GrayImage;
use serde_json::Value;
use wordbrush::paint::{BrushSettings, Ink, PenSample, Stroke, Symmetry};
use wordbrush_engine::api::{CanvasSize, Mask, RegionId};

struct Recording {
    size: CanvasSize,
    base: Mask,
    brush: BrushSettings,
    ink: Ink,
    symmetry: Symmetry,
    samples: Vec<PenSample>,
}

impl Recording {
    fn load(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        let size: CanvasSize = serde_json::from_value(value["canvas"].clone()).unwrap();
        let samples: Vec<(f32, f32, f32, f64)> = serde_json::from_value(value["samples"].clone()).unwrap();
        Self {
            size,
            base: match value["base"].as_str().unwrap() {
                "full" => Mask::full(size),
                "empty" => Mask::new(size),
                other => panic!("unknown base {other:?}"),
            },
            brush: serde_json::from_value(value["brush"].clone()).unwrap(),
            ink: serde_json::from_value(value["ink"].clone()).unwrap(),
            symmetry: serde_json::from_value(value["symmetry"].clone()).unwrap(),
            samples: samples
                .into_iter()
                .map(|(x, y, pressure, time_secs)| PenSample {
                    position: [x, y],
                    pressure,
                    time_secs,
                })
                .collect(),
        }
    }

    /// Replays it, fetching the changed tiles after every so many samples, as UI frames would.
    fn replay(&self, samples_per_frame: usize) -> Mask {
        let middle = [self.size.width() as f32 / 2.0, self.size.height() as f32 / 2.0];
        let (&first, rest) = self.samples.split_first().unwrap();
        let base = self.base.clone();
        let mut stroke = Stroke::begin(
            RegionId(1),
            base,
            self.brush,
            self.ink,
            self.symmetry,
            middle,
            first,
        );
        let mut mask = self.base.clone();
        let mut fetch = |stroke: &mut Stroke| {
            for tile in stroke.take_changes().into_iter().flat_map(|change| change.tiles) {
                mask.set_tile(tile.column, tile.row, tile.data);
            }
        };
        for frame in rest.chunks(samples_per_frame) {
            for &sample in frame {
                stroke.push(sample);
            }
            fetch(&mut stroke);
        }
        stroke.end(*self.samples.last().unwrap());
        fetch(&mut stroke);
        mask
    }
}

fn recordings() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/strokes");
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    paths.sort();
    assert!(!paths.is_empty());
    paths
}

#[test]
fn recorded_strokes_give_their_known_masks() {
    for path in recordings() {
        let recording = Recording::load(&path);
        let coverage = recording.replay(3).to_coverage();
        let picture_path = path.with_extension("png");
        if std::env::var_os("UPDATE_STROKES").is_some() {
            let (width, height) = recording.size.into();
            GrayImage::from_raw(width, height, coverage)
                .unwrap()
                .save(&picture_path)
                .unwrap();
            continue;
        }
        let known = image::open(&picture_path).unwrap().into_luma8().into_raw();
        assert_eq!(known.len(), coverage.len(), "{path:?}");
        // One step of 255 is the last bit of the rounding of another processor.
        let wrong = known
            .iter()
            .zip(&coverage)
            .filter(|(a, b)| a.abs_diff(**b) > 1)
            .count();
        assert_eq!(wrong, 0, "pixels of {path:?} differ");
    }
}

#[test]
fn a_stroke_is_the_same_at_any_frame_rate() {
    for path in recordings() {
        let recording = Recording::load(&path);
        assert_eq!(recording.replay(1), recording.replay(1000), "{path:?}");
    }
}
