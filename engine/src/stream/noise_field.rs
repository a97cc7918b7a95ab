//! The fixed noise of a canvas: one field per slot, with regions' own noise where they are on top.

use std::sync::Arc;

use candle_core::{Device, Result, Tensor};

use super::{
    mask_set::MaskSet,
    masks::LatentSize,
    noise::{Draw, gaussian},
};
use crate::api::{Region, Seed};

/// Coverage from which a cell belongs to a region. Noise is chosen, never mixed: a mixture would not have unit variance.
const OWNED: f32 = 0.5;

/// Noise of all slots, on the processor and on the device.
#[derive(Clone, Debug)]
pub struct NoiseField {
    seed: Seed,
    shape: Shape,
    /// Noise of each seed in use: `[T, c, h, w]`.
    fields: Vec<(Seed, Arc<Vec<f32>>)>,
    owners: Vec<Option<Seed>>,
    /// `[T, c, h, w]`.
    pub tensor: Tensor,
}

/// What a field's length depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    slots: usize,
    channels: usize,
    size: LatentSize,
}

impl NoiseField {
    /// Composes the noise of a canvas. What `before` has is taken over where it still holds.
    ///
    /// # Errors
    /// If the device has no room.
    pub fn new(
        before: Option<&Self>,
        seed: Seed,
        (slots, channels, size): (usize, usize, LatentSize),
        regions: &[&Region],
        masks: &MaskSet,
        device: &Device,
    ) -> Result<Self> {
        let shape = Shape {
            slots,
            channels,
            size,
        };
        let before = before.filter(|field| field.shape == shape);
        let owners = owners(regions, masks, size.area());
        if let Some(before) = before
            && before.seed == seed
            && before.owners == owners
        {
            return Ok(before.clone());
        }
        let mut fields = Vec::new();
        let seeds = std::iter::once(seed).chain(regions.iter().filter_map(|region| region.seed));
        for seed in seeds {
            if fields.iter().all(|(known, _)| *known != seed) {
                let known = before.and_then(|field| field.fields.iter().find(|(known, _)| *known == seed));
                let field =
                    known.map_or_else(|| Arc::new(field_of(seed, shape)), |(_, field)| Arc::clone(field));
                fields.push((seed, field));
            }
        }
        let mut values = fields[0].1.to_vec();
        for (owner, field) in &fields[1..] {
            for (plane, own) in values
                .chunks_exact_mut(size.area())
                .zip(field.chunks_exact(size.area()))
            {
                for (cell, value) in plane.iter_mut().enumerate() {
                    if owners.get(cell).is_some_and(|seed| *seed == Some(*owner)) {
                        *value = own[cell];
                    }
                }
            }
        }
        Ok(Self {
            seed,
            shape,
            fields,
            owners,
            tensor: Tensor::from_vec(values, (slots, channels, size.height, size.width), device)?,
        })
    }

    /// The noise of one slot, `[1, c, h, w]`.
    ///
    /// # Errors
    /// If there is no such slot.
    pub fn slot(&self, slot: usize) -> Result<Tensor> {
        self.tensor.narrow(0, slot, 1)
    }
}

fn field_of(seed: Seed, shape: Shape) -> Vec<f32> {
    (0..shape.slots)
        .flat_map(|slot| gaussian(seed, Draw::Slot(slot), shape.channels, shape.size))
        .collect()
}

/// The seed of the topmost region at each cell; empty if no region has a seed of its own.
fn owners(regions: &[&Region], masks: &MaskSet, area: usize) -> Vec<Option<Seed>> {
    if regions.iter().all(|region| region.seed.is_none()) {
        return Vec::new();
    }
    let mut owners = vec![None; area];
    for (region, layer) in regions.iter().zip(masks.layers()) {
        for (owner, &coverage) in owners.iter_mut().zip(layer.coverage.iter()) {
            if coverage >= OWNED {
                *owner = region.seed;
            }
        }
    }
    owners
}
