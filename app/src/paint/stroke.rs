//! Pen samples to evenly spaced dabs.

use serde::{Deserialize, Serialize};
use wordbrush_engine::api::{Mask, RegionId};

use super::{
    BrushSettings, Dab, Ink, Point, Stabiliser, StrokeBuffer, StrokeInk, Symmetry, symmetry::Copying,
};
use crate::document::MaskTiles;

/// How many times larger a dab must be than the last one to be due where the pen rests. So few that ink which flows slowly
/// does not gather in the middle.
const LEAST_GROWTH: f32 = 1.1;

/// Where the pen was at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PenSample {
    /// Canvas pixels.
    pub position: Point,
    /// 0 to 1; a mouse gives 1.
    pub pressure: f32,
    /// Seconds on any steady clock.
    pub time_secs: f64,
}

/// A stroke being painted: takes pen samples, gives changed tiles.
#[derive(Debug)]
pub struct Stroke {
    brush: BrushSettings,
    ink: Ink,
    region: RegionId,
    stabiliser: Stabiliser,
    walker: Walker,
    /// Of the last dab.
    dab_radius_px: f32,
    copyings: Vec<Copying>,
    buffer: StrokeBuffer,
}

impl Stroke {
    /// Touches down on a region's mask: the first dab is painted at once.
    ///
    /// `symmetry_centre` is in canvas pixels.
    pub fn begin(
        region: RegionId,
        mask: Mask,
        brush: BrushSettings,
        ink: Ink,
        symmetry: Symmetry,
        symmetry_centre: Point,
        first: PenSample,
    ) -> Self {
        let brush = brush.sanitised();
        let mut stroke = Self {
            brush,
            ink,
            region,
            stabiliser: Stabiliser::new(brush.stabiliser),
            walker: Walker::default(),
            dab_radius_px: 0.0,
            copyings: symmetry.copyings(symmetry_centre),
            buffer: StrokeBuffer::new(mask),
        };
        stroke.push(first);
        stroke
    }

    /// Whose mask it paints.
    pub fn region(&self) -> RegionId {
        self.region
    }

    /// Follows the pen. Samples that are not numbers are left out.
    pub fn push(&mut self, sample: PenSample) {
        if let Some(sample) = sanitised(sample) {
            let brush = self.stabiliser.follow(sample);
            self.walk_to(brush);
        }
    }

    /// Goes straight to a point with the pressure of the last sample, as for a line with Shift held.
    pub fn push_straight(&mut self, sample: PenSample) {
        if let Some(sample) = sanitised(sample) {
            self.walker.forget_direction();
            self.walk_to(sample);
            self.walker.forget_direction();
        }
    }

    /// The pen is lifted: the brush catches up with where the pen was last.
    pub fn end(&mut self, last: PenSample) {
        if let Some(last) = sanitised(last) {
            self.walk_to(last);
        }
    }

    /// The tiles that changed since the last call.
    pub fn take_changes(&mut self) -> Option<MaskTiles> {
        self.buffer
            .take_changes(self.region, self.ink, self.brush.opacity)
    }

    /// The whole stroke, without the mask below it.
    pub fn into_ink(self) -> StrokeInk {
        self.buffer.into_ink(self.ink, self.brush.opacity)
    }

    fn walk_to(&mut self, sample: PenSample) {
        let mut walker = self.walker;
        let brush = self.brush;
        let mut has_dabbed = false;
        walker.walk_to(
            sample,
            |pressure| brush.spacing_px(brush.radius_px(pressure)),
            |position, pressure| {
                has_dabbed = true;
                self.dab(position, pressure);
            },
        );
        // A pen touches down lightly and presses then: a tap gets its size where it is.
        if !has_dabbed && brush.radius_px(sample.pressure) > LEAST_GROWTH * self.dab_radius_px {
            walker.since_dab_px = 0.0;
            self.dab(sample.position, sample.pressure);
        }
        self.walker = walker;
    }

    fn dab(&mut self, position: Point, pressure: f32) {
        self.dab_radius_px = self.brush.radius_px(pressure);
        for copying in &self.copyings {
            self.buffer.add(&Dab {
                centre: copying.apply(position),
                radius_px: self.brush.radius_px(pressure),
                hardness: self.brush.hardness,
                flow: self.brush.flow_at(pressure),
            });
        }
    }
}

/// A sample that cannot do harm: finite, near the canvas, pressure from 0 to 1.
fn sanitised(sample: PenSample) -> Option<PenSample> {
    /// Beyond any canvas and brush, yet few enough dabs to get there.
    const FAR_PX: f32 = 16384.0;
    let [x, y] = sample.position;
    (x.is_finite() && y.is_finite()).then(|| PenSample {
        position: [x.clamp(-FAR_PX, FAR_PX), y.clamp(-FAR_PX, FAR_PX)],
        pressure: if sample.pressure.is_nan() {
            1.0
        } else {
            sample.pressure.clamp(0.0, 1.0)
        },
        time_secs: if sample.time_secs.is_finite() {
            sample.time_secs
        } else {
            0.0
        },
    })
}

/// Walks along a smooth path through the samples and stops wherever a dab is due.
///
/// Between two samples runs a cubic curve. It arrives straight, because nobody knows the next sample yet and ink
/// must not lag, and leaves halfway between the old direction and the new one; that rounds the corners a fast
/// hand leaves between sparse samples.
#[derive(Clone, Copy, Debug, Default)]
struct Walker {
    last: Option<PenSample>,
    /// The step before the last one, if the path is to be smooth.
    before: Option<[f32; 2]>,
    /// Distance gone since the last dab.
    since_dab_px: f32,
}

impl Walker {
    fn forget_direction(&mut self) {
        self.before = None;
    }

    fn walk_to(&mut self, to: PenSample, spacing_px: impl Fn(f32) -> f32, mut dab: impl FnMut(Point, f32)) {
        let Some(from) = self.last.replace(to) else {
            dab(to.position, to.pressure);
            return;
        };
        let chord = [
            to.position[0] - from.position[0],
            to.position[1] - from.position[1],
        ];
        let length = chord[0].hypot(chord[1]);
        if length <= 0.0 {
            return;
        }
        let leave = self.leaving_direction(chord, length);
        self.before = Some(chord);

        // Short straight pieces; finer than the eye sees and than dabs lie.
        let pieces = (length / 4.0).ceil().clamp(1.0, 64.0) as u32;
        let mut position = from.position;
        for piece in 1..=pieces {
            let t = piece as f32 / pieces as f32;
            let next = if piece == pieces {
                to.position
            } else {
                hermite(from.position, chord, leave, t)
            };
            let step = [next[0] - position[0], next[1] - position[1]];
            let step_px = step[0].hypot(step[1]);
            let pressure_at = |part: f32| {
                let along = (piece as f32 - 1.0 + part) / pieces as f32;
                from.pressure + (to.pressure - from.pressure) * along
            };
            let mut done_px = 0.0;
            loop {
                let pressure = pressure_at(if step_px > 0.0 { done_px / step_px } else { 1.0 });
                let due_px = (spacing_px(pressure) - self.since_dab_px).max(0.0);
                if done_px + due_px > step_px {
                    self.since_dab_px += step_px - done_px;
                    break;
                }
                done_px += due_px;
                self.since_dab_px = 0.0;
                let part = if step_px > 0.0 { done_px / step_px } else { 1.0 };
                dab(
                    [position[0] + step[0] * part, position[1] + step[1] * part],
                    pressure_at(part),
                );
            }
            position = next;
        }
    }

    /// Tangent at the start of the curve, scaled to its length.
    fn leaving_direction(&self, chord: [f32; 2], length: f32) -> [f32; 2] {
        let Some(before) = self.before else { return chord };
        let before_length = before[0].hypot(before[1]);
        let turn = (before[0] * chord[0] + before[1] * chord[1]) / (before_length * length).max(1e-6);
        // A corner of more than 60 degrees is meant as one.
        if turn < 0.5 {
            return chord;
        }
        let unit = |v: [f32; 2], length: f32| [v[0] / length.max(1e-6), v[1] / length.max(1e-6)];
        let (a, b) = (unit(before, before_length), unit(chord, length));
        let middle = [a[0] + b[0], a[1] + b[1]];
        let middle = unit(middle, middle[0].hypot(middle[1]));
        [middle[0] * length, middle[1] * length]
    }
}

/// Point of the curve that leaves `start` along `leave` and arrives at `start + chord` along `chord`.
fn hermite(start: Point, chord: [f32; 2], leave: [f32; 2], t: f32) -> Point {
    let (t2, t3) = (t * t, t * t * t);
    let along = -2.0 * t3 + 3.0 * t2;
    let leaving = t3 - 2.0 * t2 + t;
    let arriving = t3 - t2;
    [0, 1].map(|axis| start[axis] + along * chord[axis] + leaving * leave[axis] + arriving * chord[axis])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use wordbrush_engine::api::CanvasSize;

    use super::*;

    fn sample(x: f32, y: f32) -> PenSample {
        PenSample {
            position: [x, y],
            pressure: 1.0,
            time_secs: 0.0,
        }
    }

    fn dabs(samples: &[PenSample], spacing: f32) -> Vec<Point> {
        let mut walker = Walker::default();
        let mut dabs = Vec::new();
        for &next in samples {
            walker.walk_to(next, |_| spacing, |position, _| dabs.push(position));
        }
        dabs
    }

    #[test]
    fn dabs_lie_evenly_however_the_samples_do() {
        let uneven = [0.0, 0.3, 7.0, 7.1, 55.0, 100.0].map(|x| sample(x, 20.0));
        let dabs = dabs(&uneven, 5.0);
        assert_eq!(dabs.len(), 21);
        for (i, dab) in dabs.iter().enumerate() {
            assert!(
                (dab[0] - 5.0 * i as f32).abs() < 1e-3 && dab[1] == 20.0,
                "{dab:?}"
            );
        }
    }

    #[test]
    fn sparse_samples_of_a_circle_become_a_round_path() {
        let on_circle = |i: u32| {
            let angle = i as f32 / 24.0 * std::f32::consts::TAU;
            sample(100.0 * angle.cos(), 100.0 * angle.sin())
        };
        let samples: Vec<_> = (0..=24).map(on_circle).collect();
        let off = |point: &Point| (point[0].hypot(point[1]) - 100.0).abs();
        let worst = dabs(&samples, 1.0).iter().skip(30).map(off).fold(0.0, f32::max);
        // Straight chords would miss the circle by 0.86 px.
        assert!(worst < 0.6, "{worst}");
    }

    #[test]
    fn sharp_corners_stay_sharp() {
        let dabs = dabs(&[sample(0.0, 0.0), sample(50.0, 0.0), sample(10.0, 2.0)], 1.0);
        assert!(
            dabs.iter()
                .all(|dab| dab[0] <= 50.0 && (0.0..=2.0).contains(&dab[1]))
        );
    }

    fn paint(brush: BrushSettings, samples: &[PenSample], symmetry: Symmetry) -> Mask {
        let mut mask = Mask::new(CanvasSize::new(100, 80).unwrap());
        let mut stroke = Stroke::begin(
            RegionId(1),
            mask.clone(),
            brush,
            Ink::Paint,
            symmetry,
            [50.0, 40.0],
            samples[0],
        );
        for &sample in &samples[1..] {
            stroke.push(sample);
            for tile in stroke.take_changes().into_iter().flat_map(|change| change.tiles) {
                mask.set_tile(tile.column, tile.row, tile.data);
            }
        }
        stroke.end(*samples.last().unwrap());
        for tile in stroke.take_changes().into_iter().flat_map(|change| change.tiles) {
            mask.set_tile(tile.column, tile.row, tile.data);
        }
        mask
    }

    #[test]
    fn a_stabilised_stroke_still_ends_under_the_pen() {
        let brush = BrushSettings {
            size_px: 6.0,
            stabiliser: 1.0,
            ..BrushSettings::default()
        };
        let mask = paint(brush, &[sample(10.0, 40.0), sample(90.0, 40.0)], Symmetry::Off);
        assert_eq!(mask.coverage(50, 40), 255);
        assert_eq!(mask.coverage(89, 40), 255);
    }

    #[test]
    fn mirrored_strokes_are_mirror_images() {
        let brush = BrushSettings {
            size_px: 9.0,
            hardness: 0.3,
            ..BrushSettings::default()
        };
        let mask = paint(brush, &[sample(10.0, 10.0), sample(40.0, 30.0)], Symmetry::Both);
        for y in 0..80 {
            for x in 0..100 {
                let here = mask.coverage(x, y);
                for there in [mask.coverage(99 - x, y), mask.coverage(x, 79 - y)] {
                    assert!(here.abs_diff(there) <= 1, "{x}, {y}");
                }
            }
        }
    }

    #[test]
    fn pressure_makes_the_stroke_thin() {
        let press = |pressure| PenSample {
            pressure,
            ..sample(50.0, 40.0)
        };
        let brush = BrushSettings {
            size_px: 40.0,
            ..BrushSettings::default()
        };
        let width = |pressure| {
            let mask = paint(brush, &[press(pressure)], Symmetry::Off);
            mask.bounds().map_or(0, |bounds| bounds.width())
        };
        assert!(width(1.0) >= 40 && width(0.5) < 26 && width(0.5) > 18);
        assert_eq!(width(f32::NAN), width(1.0));
    }

    #[test]
    fn a_tap_is_as_large_as_the_pen_was_pressed() {
        let brush = BrushSettings {
            size_px: 40.0,
            hardness: 1.0,
            ..BrushSettings::default()
        };
        let width = |pressures: &[f32], drift: f32| {
            let press = |(at, &pressure): (usize, &f32)| PenSample {
                pressure,
                ..sample(50.0 + drift * at as f32, 40.0)
            };
            let samples: Vec<_> = pressures.iter().enumerate().map(press).collect();
            paint(brush, &samples, Symmetry::Off)
                .bounds()
                .map_or(0, |bounds| bounds.width())
        };
        for drift in [0.0, 0.1] {
            let tap = width(&[0.02, 0.1, 0.4, 0.9, 1.0, 0.6, 0.1], drift);
            assert!((37..=42).contains(&tap), "{drift}: {tap}");
        }
        assert_eq!(width(&[0.5; 6], 0.0), width(&[0.5], 0.0));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn no_sample_can_make_it_panic(
            samples in proptest::collection::vec(any::<(f32, f32, f32, f64)>(), 1..12),
            size in any::<f32>(), spacing in any::<f32>(), stabiliser in any::<f32>(), radial in any::<u8>(),
        ) {
            let brush = BrushSettings {
                size_px: size.min(40.0), spacing, stabiliser, ..BrushSettings::default()
            };
            let samples: Vec<_> = samples
                .into_iter()
                .map(|(x, y, pressure, time_secs)| PenSample { position: [x, y], pressure, time_secs })
                .collect();
            paint(brush, &samples, Symmetry::Radial(radial.min(4)));
        }
    }
}
