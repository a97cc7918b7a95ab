//! Calls of a network that come again and again, recorded once and launched as one.
//!
//! A call of Stable Diffusion's denoiser is some hundred launches and as many allocations. As a graph of the card's it is
//! one launch, so that the host has time for other things and the card does not wait for it. A graph holds addresses:
//! what a call reads and writes has to lie where it lay when it was recorded. So inputs and result are buffers of the
//! recording's own, and who records keeps whatever else the call reads.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use candle_core::{DType, Device, Error, Result, Tensor};
use parking_lot::{RwLock, RwLockReadGuard};

#[cfg(feature = "cuda")]
use super::card::Graph;
use super::card_state::note;
use crate::ops;

/// There is none without a card.
#[cfg(not(feature = "cuda"))]
enum Graph {}

#[cfg(not(feature = "cuda"))]
impl Graph {
    fn record(device: &Device, _call: impl FnOnce() -> Result<()>) -> Result<Self> {
        candle_core::bail!("this program was built without CUDA: nothing is recorded on {device:?}")
    }

    fn launch(&self) -> Result<()> {
        match *self {}
    }
}

/// Whether calls are recorded: until one fails, or a card turns out short of memory, of which graphs keep some.
static IS_ON: AtomicBool = AtomicBool::new(true);

/// Calls that candle refused to record.
static REFUSALS: AtomicU32 = AtomicU32::new(0);

/// After so many there is something about all of them.
const MOST_REFUSALS: u32 = 8;

/// A graph takes up what any thread asks of the stream meanwhile, and some calls are forbidden on every thread while one
/// is recorded. Threads other than the one that records hold this for reading while they use a card. It is only ever
/// tried for writing, so that nobody waits and a thread may hold it twice.
static STREAM: RwLock<()> = RwLock::new(());

/// Whether calls on this device are recorded. `WORDBRUSH_GRAPHS=off` turns it off, to compare.
pub(crate) fn is_recorded_on(device: &Device) -> bool {
    super::are_used_on(device) && device.is_cuda() && IS_ON.load(Ordering::Relaxed) && !is_turned_off()
}

fn is_turned_off() -> bool {
    std::env::var_os("WORDBRUSH_GRAPHS").is_some_and(|value| value == "off")
}

/// What kept calls from being recorded so far says nothing about a card, or a model, that comes anew.
pub(crate) fn forget_refusals() {
    IS_ON.store(true, Ordering::Relaxed);
    REFUSALS.store(0, Ordering::Relaxed);
    note(|recordings| recordings.refused = is_turned_off().then(|| "WORDBRUSH_GRAPHS is off".to_owned()));
}

/// Records nothing any more; what was recorded is to be dropped.
pub(super) fn stop_recording(why: &str) {
    if IS_ON.swap(false, Ordering::Relaxed) {
        tracing::warn!("the denoiser's calls are not recorded any more, which may be slower: {why}");
        note(|recordings| recordings.refused = Some(why.to_owned()));
    }
}

/// A call could not be recorded, or not launched. Where candle refused to record an upload, nothing has happened on the
/// card and calls of other shapes may do; anything else is reason to record nothing any more.
pub(crate) fn give_recording_up(error: &Error) {
    let text = error.to_string();
    let is_refused = text.contains("CUDA graph capture");
    if is_refused && REFUSALS.fetch_add(1, Ordering::Relaxed) + 1 < MOST_REFUSALS {
        tracing::warn!("calls of these shapes are not recorded, which may be slower: {text}");
        note(|recordings| recordings.refused = Some(text));
    } else {
        stop_recording(&text);
    }
}

/// Held by a thread that uses a card beside the one that records, and by that one where it is not to record.
pub(crate) fn beside_recordings() -> RwLockReadGuard<'static, ()> {
    STREAM.read()
}

/// A recorded call.
pub(crate) struct Recording {
    graph: Graph,
    inputs: Vec<Tensor>,
    output: Tensor,
    multiplications: u64,
}

impl Recording {
    /// Records `call`, which gave `expected` for `inputs` just now: so its kernels are loaded, and candle has kept what it
    /// uploads. `None` if another thread uses the card; then the next call may do.
    ///
    /// # Errors
    /// If the card cannot record it, or the recording gives another result, to the byte.
    pub(crate) fn of(
        inputs: &[&Tensor],
        expected: &Tensor,
        call: impl FnOnce(&[Tensor]) -> Result<Tensor>,
    ) -> Result<Option<Self>> {
        let Some(_alone) = STREAM.try_write() else {
            return Ok(None);
        };
        let begun = ops::multiplications();
        let inputs: Vec<Tensor> = inputs
            .iter()
            .map(|input| input.force_contiguous())
            .collect::<Result<_>>()?;
        let output = expected.contiguous()?.zeros_like()?;
        // The result is dropped within, like all that lies between: what a graph allocates it must free, or it cannot be
        // launched again.
        let graph = Graph::record(expected.device(), || {
            let result = call(&inputs)?;
            output.slice_set(&result.contiguous()?, 0, 0)
        })?;
        let recording = Self {
            graph,
            inputs,
            output,
            multiplications: ops::multiplications() - begun,
        };
        recording.graph.launch()?;
        if bits(&recording.output)? != bits(expected)? {
            candle_core::bail!("a recorded call gives another result");
        }
        note(|recordings| recordings.made += 1);
        Ok(Some(recording))
    }

    /// The result for other inputs of the same shapes.
    ///
    /// # Errors
    /// If the card fails.
    pub(crate) fn launch(&self, inputs: &[&Tensor]) -> Result<Tensor> {
        for (buffer, input) in self.inputs.iter().zip(inputs) {
            buffer.slice_set(&input.contiguous()?, 0, 0)?;
        }
        self.graph.launch()?;
        note(|recordings| recordings.launched += 1);
        ops::count(usize::try_from(self.multiplications).unwrap_or(usize::MAX));
        // The next launch writes into the buffer again.
        self.output.copy()
    }
}

/// Every value's bits, on the host.
fn bits(tensor: &Tensor) -> Result<Vec<u32>> {
    let values: Vec<f32> = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
    Ok(values.into_iter().map(f32::to_bits).collect())
}
