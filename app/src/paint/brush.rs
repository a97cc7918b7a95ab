//! What a brush is like.

use serde::{Deserialize, Serialize};

/// How a brush paints. Every field is taken at its nearest possible value.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BrushSettings {
    /// Diameter at full pressure in canvas pixels, 1 to 2000.
    pub size_px: f32,
    /// How much of the radius is solid, 0 (falls off from the middle) to 1 (a crisp disc).
    pub hardness: f32,
    /// How much of the way to its full coverage each dab goes, 0 to 1; below 1 a stroke builds up slowly.
    pub flow: f32,
    /// Coverage that a whole stroke cannot exceed, 0 to 1.
    pub opacity: f32,
    /// Distance between dabs as a part of the diameter, 0.02 to 2.
    pub spacing: f32,
    /// How calmly the brush follows the pen, 0 (at once) to 1.
    pub stabiliser: f32,
    /// Part of pen pressure in the size.
    pub pressure_size: PressureCurve,
    /// Part of pen pressure in the flow.
    pub pressure_flow: PressureCurve,
}

/// How pressure becomes a factor: from `minimum` at no pressure to 1 at full, bent by `gamma`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PressureCurve {
    /// Whether pressure counts at all.
    pub enabled: bool,
    /// The factor at no pressure, 0 to 1.
    pub minimum: f32,
    /// Above 1 the pen feels harder, below 1 softer; 0.1 to 10.
    pub gamma: f32,
}

impl Default for BrushSettings {
    fn default() -> Self {
        Self {
            size_px: 48.0,
            hardness: 0.8,
            flow: 1.0,
            opacity: 1.0,
            spacing: 0.1,
            stabiliser: 0.0,
            pressure_size: PressureCurve {
                enabled: true,
                ..PressureCurve::default()
            },
            pressure_flow: PressureCurve::default(),
        }
    }
}

impl Default for PressureCurve {
    fn default() -> Self {
        Self {
            enabled: false,
            minimum: 0.1,
            gamma: 1.0,
        }
    }
}

impl BrushSettings {
    /// Smallest and largest diameter in pixels.
    pub const SIZE_RANGE_PX: std::ops::RangeInclusive<f32> = 1.0..=2000.0;

    /// The same brush with every number within its range; what is not a number becomes the default.
    pub fn sanitised(self) -> Self {
        let default = Self::default();
        Self {
            size_px: within(
                self.size_px,
                *Self::SIZE_RANGE_PX.start(),
                *Self::SIZE_RANGE_PX.end(),
                default.size_px,
            ),
            hardness: within(self.hardness, 0.0, 1.0, default.hardness),
            flow: within(self.flow, 0.0, 1.0, default.flow),
            opacity: within(self.opacity, 0.0, 1.0, default.opacity),
            spacing: within(self.spacing, 0.02, 2.0, default.spacing),
            stabiliser: within(self.stabiliser, 0.0, 1.0, default.stabiliser),
            pressure_size: self.pressure_size.sanitised(),
            pressure_flow: self.pressure_flow.sanitised(),
        }
    }

    /// Radius in pixels under a pressure of 0 to 1.
    pub fn radius_px(&self, pressure: f32) -> f32 {
        self.size_px * 0.5 * self.pressure_size.factor(pressure)
    }

    /// Flow under a pressure of 0 to 1.
    pub fn flow_at(&self, pressure: f32) -> f32 {
        self.flow * self.pressure_flow.factor(pressure)
    }

    /// Distance to the next dab in pixels; never so small that a stroke takes forever.
    pub fn spacing_px(&self, radius_px: f32) -> f32 {
        (self.spacing * radius_px * 2.0).max(0.5)
    }

    /// The next larger (`steps` > 0) or smaller size, in steps that feel even to the hand.
    #[must_use]
    pub fn stepped_size(self, steps: i32) -> f32 {
        let size = self.sanitised().size_px * 1.15_f32.powi(steps);
        // Small sizes move by at least a pixel.
        let size = if steps > 0 {
            size.max(self.size_px + 1.0)
        } else {
            size.min(self.size_px - 1.0)
        };
        size.round()
            .clamp(*Self::SIZE_RANGE_PX.start(), *Self::SIZE_RANGE_PX.end())
    }
}

impl PressureCurve {
    /// What pressure (0 to 1) multiplies by.
    pub fn factor(&self, pressure: f32) -> f32 {
        if self.enabled {
            self.minimum + (1.0 - self.minimum) * pressure.powf(self.gamma)
        } else {
            1.0
        }
    }

    fn sanitised(self) -> Self {
        let default = Self::default();
        Self {
            enabled: self.enabled,
            minimum: within(self.minimum, 0.0, 1.0, default.minimum),
            gamma: within(self.gamma, 0.1, 10.0, default.gamma),
        }
    }
}

fn within(value: f32, low: f32, high: f32, otherwise: f32) -> f32 {
    if value.is_nan() {
        otherwise
    } else {
        value.clamp(low, high)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wild_settings_become_possible_ones() {
        let brush = BrushSettings {
            size_px: f32::INFINITY,
            hardness: f32::NAN,
            spacing: -1.0,
            ..BrushSettings::default()
        }
        .sanitised();
        assert_eq!(brush.size_px, 2000.0);
        assert_eq!(brush.hardness, BrushSettings::default().hardness);
        assert_eq!(brush.spacing, 0.02);
    }

    #[test]
    fn pressure_runs_from_the_minimum_to_full() {
        let curve = PressureCurve {
            enabled: true,
            minimum: 0.2,
            gamma: 2.0,
        };
        assert_eq!(curve.factor(0.0), 0.2);
        assert_eq!(curve.factor(1.0), 1.0);
        assert!((curve.factor(0.5) - 0.4).abs() < 1e-6);
        assert_eq!(PressureCurve::default().factor(0.3), 1.0);
    }

    #[test]
    fn size_steps_go_both_ways_and_stop_at_the_ends() {
        let brush = |size_px| BrushSettings {
            size_px,
            ..BrushSettings::default()
        };
        assert_eq!(brush(1.0).stepped_size(1), 2.0);
        assert_eq!(brush(1.0).stepped_size(-1), 1.0);
        assert_eq!(brush(100.0).stepped_size(1), 115.0);
        assert_eq!(brush(2000.0).stepped_size(1), 2000.0);
    }
}
