//! Weights in the order in which the kernels read them.
use super::{
    element::Element,
    simd::Isa,
    tile::{MAX_PARTS, STEP_BF16},
};

/// Some columns of the packed matrix, side by side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Panel {
    /// First output channel.
    pub(crate) column: usize,
    /// Columns, padding included.
    pub(crate) width: usize,
    /// Where the weights begin.
    pub(crate) offset: usize,
}

/// How output channels come out of columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Columns {
    /// One column a channel.
    Plain,
    /// The first half of the columns holds values, the second half their gates; a channel is made of one of each.
    Gated,
}

/// A matrix `[n, k]` ready to be multiplied with rows, packed once when a model is loaded.
pub(crate) struct PackedMatrix<E> {
    pub(crate) data: Vec<E>,
    pub(crate) panels: Vec<Panel>,
    /// Elements of each part of the inner dimension, without padding.
    pub(crate) parts: Vec<usize>,
    /// Output channels.
    pub(crate) channels: usize,
    pub(crate) columns: Columns,
    pub(crate) isa: Isa,
}

impl<E: Element> PackedMatrix<E> {
    /// Packs `weights`, `[n, k]` row-major, whose inner dimension consists of `parts`.
    pub(crate) fn new(isa: Isa, weights: &[f32], n: usize, parts: &[usize], columns: Columns) -> Self {
        let k: usize = parts.iter().sum();
        assert!(weights.len() == n * k, "{} weights for [{n}, {k}]", weights.len());
        assert!((1..=MAX_PARTS).contains(&parts.len()), "{} parts", parts.len());
        assert!(parts.iter().all(|&part| part > 0), "a part is empty");
        let (widest, unit) = E::panel_columns(isa);
        let (channels, per_channel, widest, unit) = match columns {
            Columns::Plain => (n, 1, widest, unit),
            Columns::Gated => (n / 2, 2, 2 * unit, 2 * unit),
        };
        let padded_k: usize = parts.iter().map(|part| part.next_multiple_of(E::STEP)).sum();
        let mut panels = Vec::new();
        let (mut column, mut offset) = (0, 0);
        while column < channels {
            let units = (per_channel * (channels - column)).div_ceil(unit);
            let most = widest / unit;
            // Four vectors are better cut in two and two than in three and one.
            let take = if units == most + 1 && most > 1 {
                units.div_ceil(2)
            } else {
                units.min(most)
            };
            let width = take * unit;
            panels.push(Panel {
                column,
                width,
                offset,
            });
            column += width / per_channel;
            offset += width * padded_k;
        }
        let mut data = vec![E::default(); offset + STEP_BF16];
        for panel in &panels {
            for place in 0..panel.width {
                let row = match columns {
                    Columns::Plain => panel.column + place,
                    Columns::Gated if place < panel.width / 2 => panel.column + place,
                    Columns::Gated => channels + panel.column + place - panel.width / 2,
                };
                let last = if columns == Columns::Gated && place < panel.width / 2 {
                    channels
                } else {
                    n
                };
                if row >= last {
                    continue;
                }
                let (mut from, mut to) = (0, 0);
                for &part in parts {
                    for index in 0..part {
                        let position = E::position_in_panel(to + index, place, panel.width);
                        data[panel.offset + position] = E::from_f32(weights[row * k + from + index]);
                    }
                    from += part;
                    to += part.next_multiple_of(E::STEP);
                }
            }
        }
        Self {
            data,
            panels,
            parts: parts.to_vec(),
            channels,
            columns,
            isa,
        }
    }
}
