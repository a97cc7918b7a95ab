//! Channels-last pictures, with a frame of zeros where a convolution reads over the edge.
use super::{
    element::Element,
    math,
    simd::{Isa, Simd, Task, dispatch},
    workers::Team,
};

/// How a padded picture lies in memory, in positions: one row of zeros above, one below, and one zero between rows,
/// which is the right edge of one and the left edge of the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Padded {
    pub(crate) height: usize,
    pub(crate) width: usize,
}

impl Padded {
    /// From one row to the next.
    pub(crate) fn pitch(self) -> usize {
        self.width + 1
    }

    /// All of a picture, frame included.
    pub(crate) fn positions(self) -> usize {
        (self.height + 2) * self.pitch() + 1
    }

    /// The first pixel.
    pub(crate) fn origin(self) -> usize {
        self.pitch() + 1
    }

    /// Writes the frame of one picture with zeros, and the elements behind it that kernels may read.
    pub(crate) fn clear_frame<E: Element>(self, picture: &mut [E], channels: usize) {
        let pitch = self.pitch() * channels;
        picture[..pitch + channels].fill(E::default());
        for row in 1..=self.height {
            let end = (row + 1) * pitch;
            picture[end..end + channels].fill(E::default());
        }
        let end = picture.len().min(self.positions() * channels + 64);
        picture[(self.height + 1) * pitch..end].fill(E::default());
    }
}

/// A pointer that tasks of one job share; each writes its own place.
#[derive(Clone, Copy)]
pub(crate) struct Shared<T>(pub(crate) *mut T);

// SAFETY: the kernels that use it write disjoint places.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// # Safety
    /// The place must be in bounds and no other task's.
    #[inline(always)]
    pub(crate) unsafe fn slice<'a>(self, start: usize, length: usize) -> &'a mut [T] {
        unsafe { std::slice::from_raw_parts_mut(self.0.add(start), length) }
    }
}

/// Turns planes `[images, channels, h, w]` into padded channels-last pictures; every value goes through `change`.
pub(crate) fn padded_from_planes<E: Element>(
    team: Team<'_>,
    planes: &[f32],
    images: usize,
    channels: usize,
    size: Padded,
    change: impl Fn(f32) -> f32 + Sync,
    out: &mut [E],
) {
    let (area, step) = (size.height * size.width, size.positions() * channels);
    assert!(
        planes.len() == images * channels * area && out.len() >= images * step,
        "sizes differ"
    );
    // Kernels in bf16 read beyond the last position, and multiply by zero what they find there: it must be finite.
    let room = (out.len() - images * step).min(64);
    let out = Shared(out.as_mut_ptr());
    team.run(images, |image| {
        let length = step + if image + 1 == images { room } else { 0 };
        // SAFETY: one picture a task, in bounds as asserted; only the last one reaches into the room behind.
        let picture = unsafe { out.slice(image * step, length) };
        size.clear_frame(picture, channels);
        for channel in 0..channels {
            let plane = &planes[(image * channels + channel) * area..][..area];
            for (y, row) in plane.chunks_exact(size.width).enumerate() {
                let start = size.origin() + y * size.pitch();
                for (x, &value) in row.iter().enumerate() {
                    picture[(start + x) * channels + channel] = E::from_f32(change(value));
                }
            }
        }
    });
}

/// Turns channels-last pictures `[images, area, channels]` into planes `[images, channels, area]`.
pub(crate) fn planes_from_rows(
    team: Team<'_>,
    rows: &[f32],
    images: usize,
    channels: usize,
    area: usize,
    change: impl Fn(f32) -> f32 + Sync,
    out: &mut [f32],
) {
    const CHUNK: usize = 4096;
    assert!(
        rows.len() >= images * channels * area && out.len() == images * channels * area,
        "sizes differ"
    );
    let chunks = area.div_ceil(CHUNK);
    let out = Shared(out.as_mut_ptr());
    team.run(images * chunks, |part| {
        let (image, start) = (part / chunks, part % chunks * CHUNK);
        let count = CHUNK.min(area - start);
        for channel in 0..channels {
            // SAFETY: chunks of planes do not overlap, and end with their plane.
            let plane = unsafe { out.slice((image * channels + channel) * area + start, count) };
            let from = &rows[(image * area + start) * channels + channel..];
            for (value, pixel) in plane.iter_mut().zip(from.iter().step_by(channels)) {
                *value = change(*pixel);
            }
        }
    });
}

/// A rectangle of a picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) top: usize,
    pub(crate) left: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
}

impl Window {
    /// All of a picture.
    pub(crate) fn whole(size: Padded) -> Self {
        Self {
            top: 0,
            left: 0,
            height: size.height,
            width: size.width,
        }
    }

    pub(crate) fn size(self) -> Padded {
        Padded {
            height: self.height,
            width: self.width,
        }
    }

    pub(crate) fn area(self) -> usize {
        self.height * self.width
    }

    /// Larger by some pixels on each side, as far as the picture goes.
    pub(crate) fn grown(self, by: usize, within: Padded) -> Self {
        let side = |start: usize, length: usize, limit: usize| {
            let first = start.saturating_sub(by);
            (first, (start + length + by).min(limit) - first)
        };
        let (top, height) = side(self.top, self.height, within.height);
        let (left, width) = side(self.left, self.width, within.width);
        Self {
            top,
            left,
            height,
            width,
        }
    }

    /// The same place on a picture of twice the size.
    pub(crate) fn doubled(self) -> Self {
        Self {
            top: 2 * self.top,
            left: 2 * self.left,
            height: 2 * self.height,
            width: 2 * self.width,
        }
    }

    /// The pixels of a picture of half the size that this one lies on.
    pub(crate) fn halved(self) -> Self {
        let side = |start: usize, length: usize| (start / 2, (start + length).div_ceil(2) - start / 2);
        let (top, height) = side(self.top, self.height);
        let (left, width) = side(self.left, self.width);
        Self {
            top,
            left,
            height,
            width,
        }
    }

    /// Where a window inside this one begins, counted from its corner.
    pub(crate) fn corner_of(self, inner: Self) -> (usize, usize) {
        assert!(
            inner.top >= self.top
                && inner.left >= self.left
                && inner.top + inner.height <= self.top + self.height
                && inner.left + inner.width <= self.left + self.width,
            "{inner:?} is not inside {self:?}"
        );
        (inner.top - self.top, inner.left - self.left)
    }
}

/// Cuts `to` out of one padded picture of `from` into another.
pub(crate) fn padded_from_padded<E: Element>(
    team: Team<'_>,
    picture: &[E],
    from: Window,
    to: Window,
    channels: usize,
    out: &mut [E],
) {
    let (y, x) = from.corner_of(to);
    let (source, target) = (from.size(), to.size());
    assert!(
        picture.len() >= source.positions() * channels && out.len() >= target.positions() * channels,
        "sizes differ"
    );
    target.clear_frame(out, channels);
    let out = Shared(out.as_mut_ptr());
    team.run(to.height, |row| {
        let start = source.origin() + (y + row) * source.pitch() + x;
        let from = &picture[start * channels..][..to.width * channels];
        let start = target.origin() + row * target.pitch();
        // SAFETY: one row a task, in bounds as asserted.
        let to = unsafe { out.slice(start * channels, to.width * channels) };
        to.copy_from_slice(from);
    });
}

/// Puts `part` of the channels-last pixels of the window `from` into the planes of a whole picture.
pub(crate) fn planes_from_window(
    team: Team<'_>,
    rows: &[f32],
    from: Window,
    part: Window,
    channels: usize,
    change: impl Fn(f32) -> f32 + Sync,
    out: &mut [f32],
    size: Padded,
) {
    let (y, x) = from.corner_of(part);
    let area = size.height * size.width;
    Window::whole(size).corner_of(part);
    assert!(
        rows.len() >= from.area() * channels && out.len() == channels * area,
        "sizes differ"
    );
    let out = Shared(out.as_mut_ptr());
    team.run(part.height, |row| {
        let pixels = &rows[((y + row) * from.width + x) * channels..][..part.width * channels];
        for channel in 0..channels {
            let start = channel * area + (part.top + row) * size.width + part.left;
            // SAFETY: rows of planes do not overlap, and lie inside as asserted.
            let plane = unsafe { out.slice(start, part.width) };
            for (value, pixel) in plane.iter_mut().zip(pixels[channel..].iter().step_by(channels)) {
                *value = change(*pixel);
            }
        }
    });
}

/// Copies channels-last pictures `[images, h * w, channels]` into padded ones of another size; each pixel takes its
/// nearest source, as `floor(to * from / size)`.
pub(crate) fn padded_from_rows<E: Element>(
    team: Team<'_>,
    isa: Isa,
    rows: &[f32],
    images: usize,
    channels: usize,
    from: (usize, usize),
    size: Padded,
    out: &mut [E],
) {
    let step = size.positions() * channels;
    let area = from.0 * from.1;
    assert!(
        rows.len() >= images * area * channels && out.len() >= images * step + 64,
        "sizes differ"
    );
    let room = if out.len() >= images * step + 64 { 64 } else { 0 };
    let shared = Shared(out.as_mut_ptr());
    team.run(images, |image| {
        // SAFETY: one picture a task; only the last one reaches into the room behind.
        let picture =
            unsafe { shared.slice(image * step, step + if image + 1 == images { room } else { 0 }) };
        size.clear_frame(picture, channels);
        for y in 0..size.height {
            let source =
                &rows[(image * area + y * from.0 / size.height * from.1) * channels..][..from.1 * channels];
            let target =
                &mut picture[(size.origin() + y * size.pitch()) * channels..][..size.width * channels];
            // SAFETY: `isa` exists on this processor.
            unsafe {
                dispatch(
                    isa,
                    CopyRow {
                        source,
                        target,
                        channels,
                        widths: (from.1, size.width),
                    },
                );
            };
        }
    });
}

struct CopyRow<'a, E> {
    source: &'a [f32],
    target: &'a mut [E],
    channels: usize,
    widths: (usize, usize),
}

impl<E: Element> Task for CopyRow<'_, E> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let (from, to) = self.widths;
        if from == to {
            // SAFETY: both rows are `to * channels` long.
            unsafe { convert::<S, E>(self.source, self.target) };
            return;
        }
        for (x, pixel) in self.target.chunks_exact_mut(self.channels).enumerate() {
            let source = &self.source[x * from / to * self.channels..][..self.channels];
            // SAFETY: both are one pixel long.
            unsafe { convert::<S, E>(source, pixel) };
        }
    }
}

/// # Safety
/// Both must be equally long.
#[inline(always)]
pub(crate) unsafe fn convert<S: Simd, E: Element>(from: &[f32], to: &mut [E]) {
    let mut at = 0;
    while at < from.len() {
        let count = S::LANES.min(from.len() - at);
        unsafe {
            if count == S::LANES {
                E::store::<S>(to.as_mut_ptr().add(at), S::load(from.as_ptr().add(at)));
            } else {
                E::store_partial::<S>(
                    to.as_mut_ptr().add(at),
                    S::load_partial(from.as_ptr().add(at), count),
                    count,
                );
            }
        }
        at += S::LANES;
    }
}

/// Applies `x sigmoid(x)` and converts.
pub(crate) fn silu_rows<E: Element>(isa: Isa, from: &[f32], to: &mut [E]) {
    struct Silu<'a, E>(&'a [f32], &'a mut [E]);
    impl<E: Element> Task for Silu<'_, E> {
        type Out = ();
        #[inline(always)]
        unsafe fn run<S: Simd>(self) {
            let mut lanes = [0.0; 16];
            for (from, to) in self.0.chunks(S::LANES).zip(self.1.chunks_mut(S::LANES)) {
                // SAFETY: chunks have at most `LANES` elements.
                unsafe {
                    let value = math::silu::<S>(S::load_partial(from.as_ptr(), from.len()));
                    S::store(lanes.as_mut_ptr(), value);
                }
                for (to, &value) in to.iter_mut().zip(&lanes) {
                    *to = E::from_f32(value);
                }
            }
        }
    }
    // SAFETY: `isa` exists on this processor.
    unsafe { dispatch(isa, Silu(from, to)) }
}

/// Converts as it is.
pub(crate) fn convert_rows<E: Element>(isa: Isa, from: &[f32], to: &mut [E]) {
    struct Convert<'a, E>(&'a [f32], &'a mut [E]);
    impl<E: Element> Task for Convert<'_, E> {
        type Out = ();
        #[inline(always)]
        unsafe fn run<S: Simd>(self) {
            // SAFETY: the slices are cut to one length.
            unsafe { convert::<S, E>(self.0, self.1) }
        }
    }
    let count = from.len().min(to.len());
    // SAFETY: `isa` exists on this processor.
    unsafe { dispatch(isa, Convert(&from[..count], &mut to[..count])) }
}
