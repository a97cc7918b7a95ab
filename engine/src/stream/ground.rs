//! The background where it is painted rather than kept.
//!
//! A background is held by putting its own latent in the average where no region is. Kept in part, it is held at the noisy
//! levels alone: from there on it is a region like others, with the background's prompt, that starts from the picture noised
//! to that level (as image to image does), and keeps of the picture what a latent at that level still shows. Between two
//! levels both take a share of the average, so that the strength has no steps. Regions are drawn on it as on any other.

/// The share of the background that is kept at each slot, the noisiest first.
#[derive(Clone, Debug, PartialEq)]
pub struct Ground {
    /// `[T]`, 0 to 1, falling.
    pub kept: Vec<f32>,
}

impl Ground {
    /// For a strength of 1 (all is kept) to 0 (nothing is); `None` if nothing is to be painted.
    pub fn new(keep_strength: f32, slots: usize) -> Option<Self> {
        // What is no number changes nothing.
        if keep_strength.is_nan() || keep_strength >= 1.0 {
            return None;
        }
        let levels = keep_strength.max(0.0) * slots as f32;
        Some(Self {
            kept: (0..slots)
                .map(|slot| (levels - slot as f32).clamp(0.0, 1.0))
                .collect(),
        })
    }

    /// The share that is kept in the end.
    pub fn finally_kept(&self) -> f32 {
        self.kept.last().copied().unwrap_or(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noisy_levels_are_kept_and_the_strength_has_no_steps() {
        assert_eq!(Ground::new(1.0, 5), None);
        assert_eq!(Ground::new(f32::NAN, 5), None);
        assert_eq!(Ground::new(0.0, 3).unwrap().kept, [0.0; 3]);
        assert_eq!(Ground::new(-1.0, 3).unwrap().kept, [0.0; 3]);
        assert_eq!(Ground::new(0.5, 4).unwrap().kept, [1.0, 1.0, 0.0, 0.0]);
        assert_eq!(Ground::new(0.625, 4).unwrap().kept, [1.0, 1.0, 0.5, 0.0]);
        assert_eq!(Ground::new(0.9375, 4).unwrap().finally_kept(), 0.75);
    }
}
