//! Attention block by block: scores of a few queries with some keys never leave the cache.
#![expect(
    clippy::large_stack_arrays,
    clippy::needless_range_loop,
    reason = "scratch of a block, sized for the largest; rows index several of its arrays"
)]

use super::{
    element::Element,
    math,
    picture::Shared,
    simd::{Isa, Simd, Task, dispatch},
    tile::{MAX_TILE, Part},
    work,
    workers::Team,
};

/// Keys whose scores are held at once.
const KEYS: usize = 256;
/// Queries of one task.
const QUERIES: usize = 64;
/// The widest head, padded.
pub(crate) const MAX_HEAD: usize = 256;

/// Sizes of an attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Heads {
    pub(crate) count: usize,
    /// Channels of a head.
    pub(crate) width: usize,
    pub(crate) keys: usize,
}

/// Which keys a query sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sight {
    /// All of them.
    All,
    /// Those at its own place and before.
    Back,
}

/// One head's keys and values in the order in which the kernels read them.
#[derive(Clone, Copy)]
struct Plan {
    /// Columns of a full panel and of the smallest one.
    panel: usize,
    unit: usize,
    /// Elements of a head's keys, and of its keys and values.
    keys: usize,
    head: usize,
}

impl Heads {
    fn plan<E: Element>(self, isa: Isa) -> Plan {
        let unit = E::panel_columns(isa).1;
        let keys = self.keys.next_multiple_of(unit) * self.width.next_multiple_of(E::STEP);
        let blocks = self.keys.div_ceil(KEYS);
        let last = (self.keys - (blocks - 1) * KEYS).next_multiple_of(E::STEP);
        let values = ((blocks - 1) * KEYS + last) * self.width.next_multiple_of(unit);
        Plan {
            panel: 2 * unit,
            unit,
            keys,
            head: keys + values,
        }
    }

    /// Elements that the packed keys and values of an image take.
    pub(crate) fn packed_len<E: Element>(self, isa: Isa) -> usize {
        self.count * self.plan::<E>(isa).head
    }
}

/// Packs keys and values of some images.
///
/// `keys` and `values` hold rows of `stride` elements, `heads.keys` for each image; `packed` gets
/// [`Heads::packed_len`] elements an image.
pub(crate) fn pack_keys_and_values<E: Element>(
    team: Team<'_>,
    isa: Isa,
    heads: Heads,
    images: usize,
    keys: &[E],
    values: &[E],
    stride: usize,
    packed: &mut [E],
) {
    let plan = heads.plan::<E>(isa);
    let rows = images * heads.keys;
    let channels = heads.count * heads.width;
    assert!(
        packed.len() >= images * heads.count * plan.head,
        "no room for the packed keys"
    );
    assert!(
        keys.len().min(values.len()) >= (rows - 1) * stride + channels,
        "keys or values are missing"
    );
    let shared = Shared(packed.as_mut_ptr());
    team.run(images * heads.count, |part| {
        let (image, head) = (part / heads.count, part % heads.count);
        // SAFETY: every part has its own head, in bounds as asserted.
        let packed = unsafe { shared.slice(part * plan.head, plan.head) };
        packed.fill(E::default());
        let (to_keys, to_values) = packed.split_at_mut(plan.keys);
        let row = |key: usize| (image * heads.keys + key) * stride + head * heads.width;
        let padded_head = heads.width.next_multiple_of(E::STEP);
        // Keys: a panel of some keys after the other; the inner dimension is the head's width.
        let mut first = 0;
        while first < heads.keys {
            let left = heads.keys - first;
            let width = if left > plan.unit { plan.panel } else { plan.unit };
            let panel = &mut to_keys[first * padded_head..];
            for key in 0..left.min(width) {
                let from = &keys[row(first + key)..][..heads.width];
                for (k, &value) in from.iter().enumerate() {
                    panel[E::position_in_panel(k, key, width)] = value;
                }
            }
            first += width;
        }
        // Values: for every block of keys, a panel of some channels after the other; the inner dimension is the key.
        let padded_width = heads.width.next_multiple_of(plan.unit);
        for block in (0..heads.keys).step_by(KEYS) {
            let count = KEYS.min(heads.keys - block);
            let padded = count.next_multiple_of(E::STEP);
            let to_values = &mut to_values[block * padded_width..];
            let mut first = 0;
            while first < heads.width {
                let left = heads.width - first;
                let width = if left > plan.unit { plan.panel } else { plan.unit };
                let panel = &mut to_values[first * padded..];
                for key in 0..count {
                    let from = &values[row(block + key) + first..][..left.min(width)];
                    for (column, &value) in from.iter().enumerate() {
                        panel[E::position_in_panel(key, column, width)] = value;
                    }
                }
                first += width;
            }
        }
    });
}

/// Attention of every token to the tokens of its own image.
///
/// `qkv` holds rows of queries, keys and values side by side, `heads.keys` for each image; `packed` has room for
/// [`Heads::packed_len`] elements an image; `out` gets rows of `heads * width`.
pub(crate) fn attend_to_self<E: Element>(
    team: Team<'_>,
    isa: Isa,
    heads: Heads,
    sight: Sight,
    images: usize,
    qkv: &[E],
    packed: &mut [E],
    out: &mut [E],
) {
    let channels = heads.count * heads.width;
    let stride = 3 * channels;
    let (keys, values) = (&qkv[channels..], &qkv[2 * channels..]);
    pack_keys_and_values(team, isa, heads, images, keys, values, stride, packed);
    let image_len = heads.packed_len::<E>(isa);
    let packed = &*packed;
    let of_image = |image: usize| &packed[image * image_len..][..image_len];
    attend(
        team, isa, heads, sight, images, heads.keys, qkv, stride, of_image, out,
    );
}

/// `out = softmax(queries keys^T) values` for every head; the scale is expected to be in the queries.
///
/// `queries` holds rows of `stride` elements, `count` for each image; `out` gets rows of `heads * width`. `packed` gives
/// an image's keys and values.
///
/// What a query does not see takes no part in its result, whatever it is.
pub(crate) fn attend<'p, E: Element>(
    team: Team<'_>,
    isa: Isa,
    heads: Heads,
    sight: Sight,
    images: usize,
    count: usize,
    queries: &[E],
    stride: usize,
    packed: impl Fn(usize) -> &'p [E] + Sync,
    out: &mut [E],
) {
    let plan = heads.plan::<E>(isa);
    let channels = heads.count * heads.width;
    let blocks = count.div_ceil(QUERIES);
    assert!(heads.width <= MAX_HEAD, "a head of {} channels", heads.width);
    assert!(out.len() >= images * count * channels, "the target is too short");
    let last_row = (images - 1) * count + count.next_multiple_of(E::READ_ROWS) - 1;
    let end = last_row * stride + channels - heads.width + heads.width.next_multiple_of(E::STEP);
    assert!(end <= queries.len(), "{} queries end before {end}", queries.len());
    work::count(2 * images * count * heads.keys * channels);
    let shared = Shared(out.as_mut_ptr());
    team.run(images * heads.count * blocks, |part| {
        let (image, rest) = (part / (heads.count * blocks), part % (heads.count * blocks));
        let (head, block) = (rest / blocks, rest % blocks);
        let packed = &packed(image)[head * plan.head..][..plan.head];
        let shared = &shared;
        let block = Block {
            isa,
            heads,
            sight,
            plan,
            queries: queries[(image * count) * stride + head * heads.width..].as_ptr(),
            stride,
            packed,
            first: block * QUERIES,
            last: count.min((block + 1) * QUERIES),
            out: Shared(
                shared
                    .0
                    .wrapping_add(image * count * channels + head * heads.width),
            ),
            channels,
        };
        // SAFETY: `isa` exists on this processor; bounds as asserted.
        unsafe { dispatch(isa, block) };
    });
}

struct Block<'p, E> {
    isa: Isa,
    heads: Heads,
    sight: Sight,
    plan: Plan,
    queries: *const E,
    stride: usize,
    packed: &'p [E],
    first: usize,
    last: usize,
    out: Shared<E>,
    channels: usize,
}

impl<E: Element> Task for Block<'_, E> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: `Isa::Amx` exists only where tiles do.
        #[cfg(target_arch = "x86_64")]
        let _tiles = (self.isa == Isa::Amx && E::STEP > 1).then(|| unsafe { super::amx::Tiles::configure() });
        let Heads { width, keys, .. } = self.heads;
        let padded_head = width.next_multiple_of(E::STEP);
        let padded_width = width.next_multiple_of(self.plan.unit);
        let (packed_keys, packed_values) = self.packed.split_at(self.plan.keys);
        // Scratch for `ROWS` queries: scores panel by panel, weights row by row, sums panel by panel.
        let mut scores = [0.0_f32; super::tile::ROWS_BF16 * KEYS];
        let mut weights = [E::default(); super::tile::ROWS_BF16 * (KEYS + super::tile::STEP_BF16)];
        let mut sums = [0.0_f32; super::tile::ROWS_BF16 * MAX_HEAD];
        let mut results = [0.0_f32; MAX_TILE];
        let mut largest = [0.0_f32; super::tile::ROWS_BF16];
        let mut total = [0.0_f32; super::tile::ROWS_BF16];
        let row_length = KEYS + E::STEP;
        let mut query = self.first;
        while query < self.last {
            let rows = E::ROWS.min(self.last - query);
            largest[..rows].fill(f32::NEG_INFINITY);
            total[..rows].fill(0.0);
            sums[..E::ROWS * padded_width].fill(0.0);
            let seen = match self.sight {
                Sight::All => keys,
                Sight::Back => keys.min(query + rows),
            };
            let mut block = 0;
            while block < seen {
                let count = KEYS.min(keys - block);
                let padded = count.next_multiple_of(E::STEP);
                // SAFETY: bounds as asserted by `attend`; scratch is sized for the largest block.
                unsafe {
                    let part = Part {
                        data: self.queries.add(query * self.stride),
                        stride: self.stride * size_of::<E>(),
                        length: width.div_ceil(E::STEP),
                    };
                    let mut first = 0;
                    while first < count {
                        let columns = if count - first > self.plan.unit {
                            self.plan.panel
                        } else {
                            self.plan.unit
                        };
                        let panel = packed_keys.as_ptr().add((block + first) * padded_head);
                        let to = scores.as_mut_ptr().add(first * E::ROWS);
                        E::tile::<S>(&[part], rows, panel, columns, to);
                        first += columns;
                    }
                    for row in 0..rows {
                        let visible = match self.sight {
                            Sight::All => count,
                            Sight::Back => count.min((query + row + 1).saturating_sub(block)),
                        };
                        let correction = self.softmax_row::<S>(
                            &mut scores,
                            row,
                            (visible, count),
                            &mut largest[row],
                            &mut total[row],
                            weights.as_mut_ptr().add(row * row_length),
                        );
                        weights[row * row_length..][visible..padded].fill(E::default());
                        if block > 0 {
                            for value in &mut sums[row * padded_width..][..padded_width] {
                                *value *= correction;
                            }
                        }
                    }
                    let part = Part {
                        data: weights.as_ptr(),
                        stride: row_length * size_of::<E>(),
                        length: count.div_ceil(E::STEP),
                    };
                    let values = packed_values.as_ptr().add(block * padded_width);
                    let mut first = 0;
                    while first < width {
                        let columns = if width - first > self.plan.unit {
                            self.plan.panel
                        } else {
                            self.plan.unit
                        };
                        E::tile::<S>(
                            &[part],
                            rows,
                            values.add(first * padded),
                            columns,
                            results.as_mut_ptr(),
                        );
                        for row in 0..rows {
                            for column in (0..columns.min(padded_width - first)).step_by(S::LANES) {
                                let sum = sums.as_mut_ptr().add(row * padded_width + first + column);
                                let value = S::load(results.as_ptr().add(row * columns + column));
                                S::store(sum, S::add(S::load(sum), value));
                            }
                        }
                        first += columns;
                    }
                }
                block += KEYS;
            }
            for row in 0..rows {
                // SAFETY: every task writes its own queries and head.
                unsafe {
                    let to = self.out.0.add((query + row) * self.channels);
                    let factor = S::splat(1.0 / total[row]);
                    for column in (0..width).step_by(S::LANES) {
                        let sum = S::load(sums.as_ptr().add(row * padded_width + column));
                        let value = S::mul(sum, factor);
                        let count = S::LANES.min(width - column);
                        if count == S::LANES {
                            E::store::<S>(to.add(column), value);
                        } else {
                            E::store_partial::<S>(to.add(column), value, count);
                        }
                    }
                }
            }
            query += rows;
        }
    }
}

impl<E: Element> Block<'_, E> {
    /// Where the score of a row and a key lies: panels of some keys, each with `E::ROWS` rows.
    #[inline(always)]
    fn place<S: Simd>(&self, row: usize, key: usize, count: usize) -> usize {
        let Plan { panel, unit, .. } = self.plan;
        // Panels are two vectors of a power of two wide.
        let first = key & !(panel - 1);
        let columns = if count - first > unit { panel } else { unit };
        first * E::ROWS + row * columns + (key - first)
    }

    /// Exponentials of one row's first `visible` scores, of `count` that were computed, above its largest; returns what
    /// earlier sums must be multiplied with. The first block of keys must have a visible one.
    ///
    /// # Safety
    /// `weights` must be writable for `visible` elements, rounded up to a whole vector.
    #[inline(always)]
    unsafe fn softmax_row<S: Simd>(
        &self,
        scores: &mut [f32],
        row: usize,
        (visible, count): (usize, usize),
        largest: &mut f32,
        total: &mut f32,
        weights: *mut E,
    ) -> f32 {
        unsafe {
            let full = visible / S::LANES * S::LANES;
            let scores = scores.as_ptr();
            let mut most = S::splat(f32::NEG_INFINITY);
            for key in (0..full).step_by(S::LANES) {
                most = S::max(most, S::load(scores.add(self.place::<S>(row, key, count))));
            }
            let mut most = S::largest(most);
            for key in full..visible {
                most = most.max(*scores.add(self.place::<S>(row, key, count)));
            }
            let most = most.max(*largest);
            let correction = (*largest - most).exp();
            let shift = S::splat(most);
            let mut sum = S::splat(0.0);
            for key in (0..full).step_by(S::LANES) {
                let score = S::load(scores.add(self.place::<S>(row, key, count)));
                let weight = math::exp::<S>(S::sub(score, shift));
                sum = S::add(sum, weight);
                E::store::<S>(weights.add(key), weight);
            }
            let mut sum = S::sum(sum);
            if full < visible {
                let left = visible - full;
                let score = S::load_partial(scores.add(self.place::<S>(row, full, count)), left);
                let weight = math::exp::<S>(S::sub(score, shift));
                let mut lanes = [0.0; 16];
                S::store(lanes.as_mut_ptr(), weight);
                sum += lanes[..left].iter().sum::<f32>();
                E::store_partial::<S>(weights.add(full), weight, left);
            }
            *total = *total * correction + sum;
            *largest = most;
            correction
        }
    }
}
