//! Calms a shaky hand.

use super::stroke::PenSample;

/// Lets the brush trail behind the pen, the more the stronger it is set.
///
/// The brush follows the pen as if drawn by a damped spring: after a time constant it has gone 63 % of the way.
/// Going by time and not by sample makes it feel the same at 60 and at 1000 samples a second.
#[derive(Clone, Copy, Debug)]
pub struct Stabiliser {
    time_constant_secs: f32,
    brush: Option<PenSample>,
}

impl Stabiliser {
    /// Time constant at full strength.
    const MAX_SECS: f32 = 0.18;

    /// With a strength of 0 to 1; the first sample is where the brush starts.
    pub fn new(strength: f32) -> Self {
        Self {
            time_constant_secs: strength * strength * Self::MAX_SECS,
            brush: None,
        }
    }

    /// Where the brush is when the pen is at `pen`.
    pub fn follow(&mut self, pen: PenSample) -> PenSample {
        let Some(brush) = self.brush.filter(|_| self.time_constant_secs > 0.0) else {
            self.brush = Some(pen);
            return pen;
        };
        let passed = (pen.time_secs - brush.time_secs).max(0.0) as f32;
        let part = 1.0 - (-passed / self.time_constant_secs).exp();
        let toward = |from: f32, to: f32| from + (to - from) * part;
        let brush = PenSample {
            position: [
                toward(brush.position[0], pen.position[0]),
                toward(brush.position[1], pen.position[1]),
            ],
            pressure: toward(brush.pressure, pen.pressure),
            time_secs: pen.time_secs.max(brush.time_secs),
        };
        self.brush = Some(brush);
        brush
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(x: f32, time_secs: f64) -> PenSample {
        PenSample {
            position: [x, 0.0],
            pressure: 1.0,
            time_secs,
        }
    }

    #[test]
    fn without_strength_the_brush_is_the_pen() {
        let mut stabiliser = Stabiliser::new(0.0);
        stabiliser.follow(at(0.0, 0.0));
        assert_eq!(stabiliser.follow(at(10.0, 0.0)).position, [10.0, 0.0]);
    }

    #[test]
    fn the_brush_ends_at_the_same_place_whatever_the_sample_rate() {
        let run = |samples: usize| {
            let mut stabiliser = Stabiliser::new(0.8);
            stabiliser.follow(at(0.0, 0.0));
            // The pen jumps at once and stays.
            (1..=samples)
                .map(|i| {
                    stabiliser
                        .follow(at(100.0, 0.1 * i as f64 / samples as f64))
                        .position[0]
                })
                .last()
                .unwrap()
        };
        assert!((run(5) - run(500)).abs() < 0.1);
        assert!((40.0..90.0).contains(&run(10)), "{}", run(10));
    }

    #[test]
    fn clocks_that_run_backwards_do_not_push_it_off() {
        let mut stabiliser = Stabiliser::new(1.0);
        stabiliser.follow(at(0.0, 5.0));
        assert_eq!(stabiliser.follow(at(50.0, 1.0)).position, [0.0, 0.0]);
    }
}
