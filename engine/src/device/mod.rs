//! Where the engine computes: choosing a device and a number format.
//!
//! This folder and `ops` are the only places that know which graphics back ends were compiled in; everything else
//! asks a candle `Device`.

#[cfg(feature = "cuda")]
mod cuda_enabled;
#[cfg(feature = "cuda")]
use cuda_enabled as cuda;
#[cfg(not(feature = "cuda"))]
mod cuda_disabled;
#[cfg(not(feature = "cuda"))]
use cuda_disabled as cuda;

mod rate;

use std::{any::Any, sync::Arc, time::Instant};

use candle_core::{DType, Device};

use crate::{
    Error, Result,
    api::{DeviceChoice, Precision},
    ops::{Isa, Workers},
};

pub use rate::{card_gflops, matrix_gflops};

/// A device that works, with the number format to use on it.
#[derive(Clone, Debug)]
pub struct Compute {
    /// The device.
    pub device: Device,
    /// Format of weights and activations; on the CPU, of the inputs of products in networks that have a fast way
    /// there (tensors are 32-bit floats).
    pub precision: Precision,
    /// The device as shown to the user.
    pub name: String,
    /// Why it is not the device that was hoped for, if so.
    pub remark: Option<String>,
    /// Threads of networks on the CPU.
    pub workers: Arc<Workers>,
}

impl Compute {
    /// Finds a device that works.
    ///
    /// [`DeviceChoice::Auto`] takes a graphics card where one works and else the CPU, saying why in
    /// [`Self::remark`].
    ///
    /// # Errors
    /// [`Error::DeviceUnavailable`] if a device was asked for by name and does not work.
    pub fn choose(choice: DeviceChoice, precision: Option<Precision>) -> Result<Self> {
        let dtype_of_card = dtype_of(precision.unwrap_or(Precision::F16));
        let (device, name, remark) = match choice {
            DeviceChoice::Cpu => (Device::Cpu, cpu_name(), None),
            DeviceChoice::Cuda(index) => {
                let (device, name) = cuda::open(index, dtype_of_card)
                    .map_err(|reason| unavailable(&format!("CUDA device {index}"), reason))?;
                (device, name, None)
            }
            DeviceChoice::Metal => (open_metal()?, "Metal".to_owned(), None),
            DeviceChoice::Auto => match cuda::open(0, dtype_of_card) {
                Ok((device, name)) => (device, name, None),
                Err(reason) => match open_metal() {
                    Ok(device) => (device, "Metal".to_owned(), None),
                    Err(_) => (
                        Device::Cpu,
                        cpu_name(),
                        cuda::IS_COMPILED_IN.then(|| format!("running on the processor: {reason}")),
                    ),
                },
            },
        };
        let best = match (device.is_cpu(), Isa::best().has_fast_bf16()) {
            (true, false) => Precision::F32,
            // Several times faster, and the pictures look the same: see docs/PERFORMANCE.md.
            (true, true) => Precision::Bf16,
            (false, _) => Precision::F16,
        };
        let precision = precision.unwrap_or(best);
        let workers = if device.is_cpu() {
            Workers::of_this_machine()
        } else {
            Workers::new(1)
        };
        Ok(Self {
            device,
            precision,
            name,
            remark,
            workers: Arc::new(workers),
        })
    }

    /// The CPU in 32-bit floats: the reference for everything else.
    pub fn cpu() -> Self {
        Self {
            device: Device::Cpu,
            precision: Precision::F32,
            name: cpu_name(),
            remark: None,
            workers: Arc::new(Workers::of_this_machine()),
        }
    }

    /// Number format of tensors in candle's terms.
    pub fn dtype(&self) -> DType {
        // Where a card's kernels run on the processor, to be tested, they compute in all their formats.
        if self.device.is_cpu() && !crate::ops::cuda::are_used_on(&self.device) {
            DType::F32
        } else {
            dtype_of(self.precision)
        }
    }
}

/// Bytes in use on a graphics card, by all programs; `None` where that is not known.
pub(crate) fn memory_bytes(device: &Device) -> Option<u64> {
    cuda::memory_bytes(device)
}

/// Most bytes of tensors that were on a graphics card at once since it was opened; `None` where that is not known.
pub(crate) fn peak_bytes(device: &Device) -> Option<u64> {
    cuda::peak_bytes(device)
}

/// Hands memory of a graphics card that is kept for later back to its driver.
pub(crate) fn give_back_memory(device: &Device) {
    cuda::give_back_memory(device);
}

/// Leaves what lives on a card that was lost where it is, for as long as the program runs.
///
/// The bindings take it for a bug when a library of the card cannot be closed, as on a lost one none can, and panic: with
/// two libraries, that is a panic during another, which ends the program.
#[expect(
    clippy::mem_forget,
    reason = "the card's memory is gone, and what the host keeps is little"
)]
pub(crate) fn abandon<T>(lost: T) {
    std::mem::forget(lost);
}

/// A moment in the work of a device: on a graphics card, which computes on after a call returns, when it comes to what it
/// is given next.
pub(crate) struct Moment {
    at: Instant,
    mark: Option<cuda::Mark>,
}

impl Moment {
    /// After all that was asked for so far.
    pub(crate) fn now(device: &Device) -> Self {
        Self {
            at: Instant::now(),
            mark: cuda::Mark::now(device),
        }
    }

    /// Milliseconds of the device to a later moment, for which it waits.
    pub(crate) fn ms_until(&self, later: &Self) -> f32 {
        let on_card = match (&self.mark, &later.mark) {
            (Some(start), Some(end)) => start.ms_until(end),
            _ => None,
        };
        on_card.unwrap_or_else(|| (later.at - self.at).as_secs_f32() * 1000.0)
    }
}

/// While the result lives, what this thread uploads to a card again and again (indexes, shapes) is uploaded once.
///
/// What is kept stays until the thread ends: this is for steps, which upload the same small things every time.
#[must_use]
pub(crate) fn keep_uploads(device: &Device) -> Option<Box<dyn Any>> {
    cuda::keep_uploads(device)
}

/// Number format in candle's terms.
pub fn dtype_of(precision: Precision) -> DType {
    match precision {
        Precision::F32 => DType::F32,
        Precision::F16 => DType::F16,
        Precision::Bf16 => DType::BF16,
    }
}

fn open_metal() -> Result<Device> {
    if !cfg!(feature = "metal") {
        return Err(unavailable(
            "Metal",
            "this program was built without it (cargo's feature \"metal\")".to_owned(),
        ));
    }
    Device::new_metal(0).map_err(|error| unavailable("Metal", error.to_string()))
}

fn unavailable(device: &str, reason: String) -> Error {
    Error::DeviceUnavailable {
        device: device.to_owned(),
        reason,
    }
}

fn cpu_name() -> String {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    match threads {
        1 => "CPU, 1 thread".to_owned(),
        threads => format!("CPU, {threads} threads"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn automatic_choice_always_finds_a_device() {
        let compute = Compute::choose(DeviceChoice::Auto, None).unwrap();
        assert!(!compute.name.is_empty());
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn asking_for_a_card_without_the_feature_says_what_to_do() {
        let error = Compute::choose(DeviceChoice::Cuda(0), None).unwrap_err();
        assert!(matches!(error, Error::DeviceUnavailable { .. }));
        assert!(error.to_string().contains("--features cuda"), "{error}");
    }
}
