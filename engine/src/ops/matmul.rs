//! Rows times packed weights, with everything that can be done to a result before it leaves the registers' reach.
//!
//! A row belongs to a *position* of an image: a pixel of a channels-last picture or a token. Rows are described by
//! [`Source`]s (where the values of a position begin, one source for each part of the inner dimension), results by a
//! [`Target`]. A 3x3 convolution is a product whose three sources are the lines above, at and below a position of a
//! padded picture: three neighbouring pixels follow each other in memory.
use std::{marker::PhantomData, ptr};

use super::{
    element::Element,
    math,
    pack::{Columns, PackedMatrix},
    simd::{Isa, Simd, Task, dispatch},
    tile::{MAX_PARTS, MAX_TILE, Part},
    work,
    workers::Team,
};

/// Positions of one image that one task computes.
const BLOCK: usize = 128;

/// Where the rows of one part of the inner dimension lie.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'a, E> {
    pub(crate) data: &'a [E],
    /// Element at which the row of position 0 of image 0 begins.
    pub(crate) offset: usize,
    /// Elements from one position to the next.
    pub(crate) stride: usize,
    /// Elements from one image to the next.
    pub(crate) image_stride: usize,
}

impl<'a, E> Source<'a, E> {
    /// Rows of `stride` elements, one after the other.
    pub(crate) fn rows(data: &'a [E], stride: usize) -> Self {
        Self {
            data,
            offset: 0,
            stride,
            image_stride: 0,
        }
    }
}

/// Which positions of an image are computed, and which of them count.
///
/// A position is numbered along `lines`; within a line, every `pitch` positions make a row of the picture, of which
/// the first `width` count. (A padded picture is one long line: results on the padding are thrown away.)
#[derive(Clone, Copy, Debug)]
pub(crate) struct Positions {
    pub(crate) lines: usize,
    /// Positions in a line.
    pub(crate) length: usize,
    /// Positions from one line to the next, in the sources.
    pub(crate) line_step: usize,
    pub(crate) pitch: usize,
    pub(crate) width: usize,
}

impl Positions {
    /// A list: every position counts.
    pub(crate) fn list(length: usize) -> Self {
        Self {
            lines: 1,
            length,
            line_step: 0,
            pitch: length.max(1),
            width: length.max(1),
        }
    }

    /// A picture of `height` x `width` whose rows begin `pitch` positions apart.
    pub(crate) fn picture(height: usize, width: usize, pitch: usize) -> Self {
        Self {
            lines: 1,
            length: (height - 1) * pitch + width,
            line_step: 0,
            pitch,
            width,
        }
    }
}

/// Where results go: position `(y, x)` of image `i` is written at element
/// `(origin + i * image_step + y * row_step + x * column_step) * channels`.
pub(crate) struct Target<'a, O> {
    pub(crate) data: &'a mut [O],
    pub(crate) origin: usize,
    pub(crate) image_step: usize,
    pub(crate) row_step: usize,
    pub(crate) column_step: usize,
}

impl<'a, O> Target<'a, O> {
    /// Position after position.
    pub(crate) fn list(data: &'a mut [O]) -> Self {
        Self {
            data,
            origin: 0,
            image_step: 0,
            row_step: 0,
            column_step: 1,
        }
    }
}

/// What is added to a result, at the same place as it is written to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Residual<'a, R> {
    /// Nothing.
    None,
    /// The values of another buffer.
    From(&'a [R]),
    /// What the target holds.
    Target,
}

/// What becomes of a sum at last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activation {
    /// Itself.
    None,
    /// The positive part.
    Relu,
    /// x sigmoid(x).
    Silu,
    /// x sigmoid(1.702 x).
    QuickGelu,
    /// The exact one.
    Gelu,
}

/// A product to be computed.
pub(crate) struct Product<'a, E, O, R> {
    pub(crate) weights: &'a PackedMatrix<E>,
    pub(crate) images: usize,
    /// One for each part of the weights.
    pub(crate) sources: &'a [Source<'a, E>],
    pub(crate) positions: Positions,
    pub(crate) target: Target<'a, O>,
    /// One value a column (of the unpacked matrix), `bias_image_stride` further for each image; or empty.
    pub(crate) bias: &'a [f32],
    pub(crate) bias_image_stride: usize,
    pub(crate) residual: Residual<'a, R>,
    /// After the residual. Gated columns take the exact GELU of their gate instead.
    pub(crate) activation: Activation,
}

/// Computes a product on a team.
///
/// # Panics
/// If a buffer is too short for what the description asks; buffers of [`super::buffer::Buffer`] have the room behind
/// their end that the kernels read into.
#[expect(
    clippy::needless_pass_by_value,
    reason = "a product is described where it is computed"
)]
pub(crate) fn multiply<E: Element, O: Element, R: Element>(team: Team<'_>, product: Product<'_, E, O, R>) {
    product.check();
    work::count(product.multiplications());
    let Product {
        images,
        positions,
        weights,
        ..
    } = product;
    let blocks = positions.length.div_ceil(BLOCK);
    let tasks = images * positions.lines * blocks;
    let wanted = if team.size() > 1 { 2 * team.size() } else { 1 };
    let cuts = wanted.div_ceil(tasks.max(1)).min(weights.panels.len());
    let panels_per_cut = weights.panels.len().div_ceil(cuts);
    let cuts = weights.panels.len().div_ceil(panels_per_cut);
    let target = product.target.data.as_mut_ptr();
    let shared = Shared {
        target,
        product: &product,
        _lifetime: PhantomData,
    };
    team.run(tasks * cuts, |part| {
        let (task, cut) = (part / cuts, part % cuts);
        let (image, block) = (
            task / (positions.lines * blocks),
            task % (positions.lines * blocks),
        );
        let (line, block) = (block / blocks, block % blocks);
        let first_panel = cut * panels_per_cut;
        let piece = Piece {
            shared: &shared,
            image,
            line,
            start: block * BLOCK,
            end: positions.length.min((block + 1) * BLOCK),
            first_panel,
            last_panel: weights.panels.len().min(first_panel + panels_per_cut),
        };
        // SAFETY: `check` has compared all bounds; pieces write different places; the weights were packed for an
        // instruction set that exists.
        unsafe { dispatch(weights.isa, piece) };
    });
}

impl<E: Element, O: Element, R: Element> Product<'_, E, O, R> {
    /// Those whose results are kept.
    pub(super) fn multiplications(&self) -> usize {
        let Positions {
            lines,
            length,
            pitch,
            width,
            ..
        } = self.positions;
        let kept = length / pitch * width + (length % pitch).min(width);
        let inner: usize = self.weights.parts.iter().sum();
        self.images * lines * kept * inner * self.columns()
    }

    fn columns(&self) -> usize {
        match self.weights.columns {
            Columns::Plain => self.weights.channels,
            Columns::Gated => 2 * self.weights.channels,
        }
    }

    fn check(&self) {
        let Positions {
            lines,
            length,
            line_step,
            pitch,
            width,
        } = self.positions;
        assert!(
            lines > 0 && length > 0 && self.images > 0 && width <= pitch,
            "nothing to compute"
        );
        assert!(
            self.sources.len() == self.weights.parts.len(),
            "sources do not match the weights"
        );
        let rows = (lines - 1) * line_step + length.next_multiple_of(E::READ_ROWS);
        for (source, part) in self.sources.iter().zip(&self.weights.parts) {
            let end = source.offset
                + (self.images - 1) * source.image_stride
                + (rows - 1) * source.stride
                + part.next_multiple_of(E::STEP);
            assert!(
                end <= source.data.len(),
                "a source of {} elements ends before {end}",
                source.data.len()
            );
        }
        let target = &self.target;
        let last = target.origin
            + (self.images - 1) * target.image_step
            + (lines - 1 + (length - 1) / pitch) * target.row_step
            + (width.min(length) - 1) * target.column_step;
        let end = (last + 1) * self.weights.channels;
        assert!(
            end <= target.data.len(),
            "a target of {} elements ends before {end}",
            target.data.len()
        );
        if let Residual::From(residual) = self.residual {
            assert!(
                end <= residual.len(),
                "a residual of {} elements ends before {end}",
                residual.len()
            );
        }
        let bias = (self.images - 1) * self.bias_image_stride + self.columns();
        assert!(
            self.bias.is_empty() || bias <= self.bias.len(),
            "{} biases for {bias}",
            self.bias.len()
        );
    }
}

struct Shared<'a, 'p, E, O, R> {
    target: *mut O,
    product: &'p Product<'a, E, O, R>,
    _lifetime: PhantomData<&'p mut O>,
}

// SAFETY: tasks write through `target` at different places and share the rest for reading.
unsafe impl<E: Element, O: Element, R: Element> Sync for Shared<'_, '_, E, O, R> {}

/// Some positions of one image times some panels.
struct Piece<'s, 'a, 'p, E, O, R> {
    shared: &'s Shared<'a, 'p, E, O, R>,
    image: usize,
    line: usize,
    start: usize,
    end: usize,
    first_panel: usize,
    last_panel: usize,
}

impl<E: Element, O: Element, R: Element> Task for Piece<'_, '_, '_, E, O, R> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let product = self.shared.product;
        let weights = product.weights;
        // SAFETY: `Isa::Amx` exists only where tiles do.
        #[cfg(target_arch = "x86_64")]
        let _tiles =
            (weights.isa == Isa::Amx && E::STEP > 1).then(|| unsafe { super::amx::Tiles::configure() });
        let mut bases = [Part {
            data: ptr::null(),
            stride: 0,
            length: 0,
        }; MAX_PARTS];
        for ((base, source), part) in bases.iter_mut().zip(product.sources).zip(&weights.parts) {
            let offset = source.offset
                + self.image * source.image_stride
                + self.line * product.positions.line_step * source.stride;
            *base = Part {
                // SAFETY: `check` has compared the bounds.
                data: unsafe { source.data.as_ptr().add(offset) },
                stride: source.stride * size_of::<E>(),
                length: part.div_ceil(E::STEP),
            };
        }
        let count = product.sources.len();
        let mut results = std::mem::MaybeUninit::<[f32; MAX_TILE]>::uninit();
        let results = results.as_mut_ptr().cast::<f32>();
        for panel in &weights.panels[self.first_panel..self.last_panel] {
            let mut position = self.start;
            while position < self.end {
                let rows = E::ROWS.min(self.end - position);
                let mut parts = bases;
                // SAFETY: `check` has compared the bounds.
                unsafe {
                    for (part, base) in parts.iter_mut().zip(&bases[..count]) {
                        *part = base.starting_at(position);
                    }
                    let from = weights.data.as_ptr().add(panel.offset);
                    E::tile::<S>(&parts[..count], rows, from, panel.width, results);
                    self.finish::<S>(results, position, rows, panel.column, panel.width);
                }
                position += rows;
            }
        }
    }
}

impl<E: Element, O: Element, R: Element> Piece<'_, '_, '_, E, O, R> {
    /// Bias, residual, activation, and off to the target.
    ///
    /// # Safety
    /// `results` holds `rows` rows of `width`; bounds as [`Product::check`].
    #[inline(always)]
    unsafe fn finish<S: Simd>(
        &self,
        results: *const f32,
        position: usize,
        rows: usize,
        column: usize,
        width: usize,
    ) {
        let product = self.shared.product;
        let channels = product.weights.channels;
        let Positions {
            pitch, width: valid, ..
        } = product.positions;
        let target = &product.target;
        let origin = target.origin + self.image * target.image_step + self.line * target.row_step;
        let gated = product.weights.columns == Columns::Gated;
        let places = if gated { width / 2 } else { width };
        let places = places.min(channels - column);
        let bias = if product.bias.is_empty() {
            ptr::null()
        } else {
            product.bias[self.image * product.bias_image_stride..].as_ptr()
        };
        let (mut y, mut x) = (position / pitch, position % pitch);
        for row in 0..rows {
            if x < valid {
                let at = (origin + y * target.row_step + x * target.column_step) * channels + column;
                let mut place = 0;
                while place < places {
                    let count = S::LANES.min(places - place);
                    unsafe {
                        let from = results.add(row * width + place);
                        let mut value = S::load(from);
                        if !bias.is_null() {
                            value = S::add(value, load::<S, f32>(bias.add(column + place), count));
                        }
                        if gated {
                            let mut gate = S::load(from.add(width / 2));
                            if !bias.is_null() {
                                gate =
                                    S::add(gate, load::<S, f32>(bias.add(channels + column + place), count));
                            }
                            value = S::mul(value, math::gelu::<S>(gate));
                        }
                        let to = self.shared.target.add(at + place);
                        match product.residual {
                            Residual::None => {}
                            Residual::From(other) => {
                                value = S::add(value, load::<S, R>(other.as_ptr().add(at + place), count));
                            }
                            Residual::Target => value = S::add(value, load::<S, O>(to, count)),
                        }
                        value = match product.activation {
                            Activation::None => value,
                            Activation::Relu => S::max(value, S::splat(0.0)),
                            Activation::Silu => math::silu::<S>(value),
                            Activation::QuickGelu => math::quick_gelu::<S>(value),
                            Activation::Gelu => math::gelu::<S>(value),
                        };
                        if count == S::LANES {
                            O::store::<S>(to, value);
                        } else {
                            O::store_partial::<S>(to, value, count);
                        }
                    }
                    place += S::LANES;
                }
            }
            x += 1;
            if x == pitch {
                x = 0;
                y += 1;
            }
        }
    }
}

/// # Safety
/// `count` elements must be readable.
#[inline(always)]
unsafe fn load<S: Simd, E: Element>(from: *const E, count: usize) -> S::V {
    unsafe {
        if count == S::LANES {
            E::load::<S>(from)
        } else {
            E::load_partial::<S>(from, count)
        }
    }
}
