//! Mirrored and turned copies of every dab.

use std::f32::consts::TAU;

use serde::{Deserialize, Serialize};

use super::Point;

/// Which copies of a stroke are painted along with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Symmetry {
    /// None.
    #[default]
    Off,
    /// Left and right of an upright axis.
    Vertical,
    /// Above and below a level axis.
    Horizontal,
    /// Both axes: four strokes.
    Both,
    /// Turned around the centre, this many strokes in all, 2 to 32.
    Radial(u8),
}

/// Moves a point to where its copy is painted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Copying {
    /// Rows of a 2 x 2 matrix about the centre.
    matrix: [[f32; 2]; 2],
    centre: Point,
}

impl Copying {
    pub(super) fn apply(&self, [x, y]: Point) -> Point {
        let (dx, dy) = (x - self.centre[0], y - self.centre[1]);
        let [[a, b], [c, d]] = self.matrix;
        [self.centre[0] + a * dx + b * dy, self.centre[1] + c * dx + d * dy]
    }
}

impl Symmetry {
    /// How often each stroke is painted.
    pub fn copies(self) -> usize {
        match self {
            Self::Off => 1,
            Self::Vertical | Self::Horizontal => 2,
            Self::Both => 4,
            Self::Radial(count) => count.clamp(2, 32).into(),
        }
    }

    /// The way to each copy, the stroke itself first.
    pub(super) fn copyings(self, centre: Point) -> Vec<Copying> {
        let mirrored = |x: f32, y: f32| [[x, 0.0], [0.0, y]];
        let matrices = match self {
            Self::Off => vec![mirrored(1.0, 1.0)],
            Self::Vertical => vec![mirrored(1.0, 1.0), mirrored(-1.0, 1.0)],
            Self::Horizontal => vec![mirrored(1.0, 1.0), mirrored(1.0, -1.0)],
            Self::Both => vec![
                mirrored(1.0, 1.0),
                mirrored(-1.0, 1.0),
                mirrored(1.0, -1.0),
                mirrored(-1.0, -1.0),
            ],
            Self::Radial(_) => (0..self.copies())
                .map(|turn| {
                    let (sin, cos) = (TAU * turn as f32 / self.copies() as f32).sin_cos();
                    [[cos, -sin], [sin, cos]]
                })
                .collect(),
        };
        matrices
            .into_iter()
            .map(|matrix| Copying { matrix, centre })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_lie_where_the_mirrors_put_them() {
        let copies = |symmetry: Symmetry| -> Vec<Point> {
            symmetry
                .copyings([50.0, 40.0])
                .iter()
                .map(|copying| copying.apply([60.0, 45.0]))
                .collect()
        };
        assert_eq!(copies(Symmetry::Off), [[60.0, 45.0]]);
        assert_eq!(copies(Symmetry::Vertical), [[60.0, 45.0], [40.0, 45.0]]);
        assert_eq!(copies(Symmetry::Horizontal), [[60.0, 45.0], [60.0, 35.0]]);
        assert_eq!(
            copies(Symmetry::Both),
            [[60.0, 45.0], [40.0, 45.0], [60.0, 35.0], [40.0, 35.0]]
        );
        let quarter = copies(Symmetry::Radial(4))[1];
        assert!((quarter[0] - 45.0).abs() < 1e-4 && (quarter[1] - 50.0).abs() < 1e-4);
        assert_eq!(copies(Symmetry::Radial(0)).len(), 2);
    }
}
