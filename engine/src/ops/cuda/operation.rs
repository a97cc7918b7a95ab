//! What a kernel call is, without a card: plain data, and a twin that computes the same slowly.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{
    CpuStorage, CustomOp1, DType, Layout, Result, Shape, Storage, Tensor, WithDType,
    backend::BackendStorage as _,
};
use half::{bf16, f16};

/// One launch of a kernel.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Launch {
    /// Name without the number format.
    pub(super) kernel: &'static str,
    /// Blocks.
    pub(super) grid: [usize; 3],
    /// Threads of a block.
    pub(super) threads: usize,
    /// Bytes of shared memory besides what the kernel declares.
    pub(super) shared_bytes: usize,
    /// In the kernel's order.
    pub(super) arguments: Vec<Argument>,
}

/// An argument of a kernel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Argument {
    /// An input of the operation; null if it was not given.
    Input(usize),
    /// The result.
    Output,
    /// Memory between two launches.
    Scratch,
    /// A null pointer.
    Nothing,
    /// A whole number.
    Whole(usize),
    /// A fraction.
    Real(f32),
}

/// Everything that is launched for one operation, in order.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Plan {
    pub(super) launches: Vec<Launch>,
    /// Numbers of 32 bits kept between the launches.
    pub(super) scratch: usize,
}

impl From<Launch> for Plan {
    fn from(launch: Launch) -> Self {
        Self {
            launches: vec![launch],
            scratch: 0,
        }
    }
}

/// Channels of a pixel or token that one thread holds, in kernels that treat them one by one.
pub(super) const HELD: usize = 8;
/// Threads of kernels that treat every value alike.
const THREADS: usize = 256;

impl Launch {
    /// A thread for each of `count` values.
    pub(super) fn for_each(kernel: &'static str, count: usize, arguments: Vec<Argument>) -> Self {
        Self {
            kernel,
            grid: [count.div_ceil(THREADS), 1, 1],
            threads: THREADS,
            shared_bytes: 0,
            arguments,
        }
    }
}

/// A computation with kernels and a twin.
pub(super) trait Operation {
    /// For messages.
    const NAME: &'static str;

    /// Whether inputs are of several number formats, which the kernel declares. Otherwise all are of the first one's.
    const IS_MIXED: bool = false;

    /// Shape of the result.
    fn shape(&self) -> Shape;

    /// Number format of the result, if it is not that of the first input.
    fn result_type(&self) -> Option<DType> {
        None
    }

    /// Number format that its kernels are named after, if it is not that of the first input.
    fn format(&self) -> Option<DType> {
        None
    }

    /// What is launched.
    fn plan(&self, dtype: DType) -> Plan;

    /// The result, computed plainly; inputs are in memory order, and whole numbers come as fractions.
    fn twin(&self, inputs: &[Option<Vec<f32>>]) -> Vec<f32>;
}

/// Kernels read 16 bytes at a time, which must begin at a multiple of 16.
pub(super) const ALIGNMENT: usize = 16;

/// An input as the kernels take it: contiguous, and where it is a part of a larger tensor, not beginning in the middle of
/// what is read at a time.
fn laid_out(input: &Tensor) -> Result<Tensor> {
    let input = input.contiguous()?;
    let start = input.layout().start_offset() * input.dtype().size_in_bytes();
    if start.is_multiple_of(ALIGNMENT) {
        Ok(input)
    } else {
        input.force_contiguous()
    }
}

/// Runs an operation where its first input lies. Inputs are laid out for the kernels; all but the first may be missing.
///
/// # Errors
/// If an input lies on another device, or the card has no room.
pub(super) fn run<O: Operation>(operation: O, inputs: &[Option<&Tensor>]) -> Result<Tensor> {
    let inputs: Vec<Option<Tensor>> = inputs
        .iter()
        .map(|input| input.map(laid_out).transpose())
        .collect::<Result<_>>()?;
    let Some(Some(first)) = inputs.first().cloned() else {
        candle_core::bail!("{} without an input", O::NAME);
    };
    // A kernel takes an input for what it declares, and would read beyond a smaller one's end.
    let is_alien = |input: &Tensor| input.dtype() != first.dtype();
    if !O::IS_MIXED && inputs.iter().flatten().any(is_alien) {
        candle_core::bail!("{}: inputs of different number formats", O::NAME);
    }
    first.apply_op1_no_bwd(&Call { operation, inputs })
}

struct Call<O> {
    operation: O,
    inputs: Vec<Option<Tensor>>,
}

impl<O: Operation> CustomOp1 for Call<O> {
    fn name(&self) -> &'static str {
        O::NAME
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        #[cfg(test)]
        if let Some(result) = super::emulated::run(&self.operation, &self.inputs)? {
            return Ok((result, self.operation.shape()));
        }
        let mut values = vec![Some(numbers(storage, layout)?)];
        for input in &self.inputs[1..] {
            values.push(match input {
                None => None,
                Some(input) => {
                    let (storage, layout) = input.storage_and_layout();
                    let Storage::Cpu(storage) = &*storage else {
                        candle_core::bail!("{}: an input lies on another device", O::NAME);
                    };
                    Some(numbers(storage, layout)?)
                }
            });
        }
        let result = self.operation.twin(&values);
        let dtype = self.operation.result_type().unwrap_or_else(|| storage.dtype());
        Ok((stored(&result, dtype)?, self.operation.shape()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, storage: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let result = super::card::run(&self.operation, storage, layout, &self.inputs)?;
        Ok((result, self.operation.shape()))
    }
}

/// The values of a contiguous tensor.
fn numbers(storage: &CpuStorage, layout: &Layout) -> Result<Vec<f32>> {
    fn part<'a, T: WithDType>(values: &'a [T], layout: &Layout) -> Result<&'a [T]> {
        match layout.contiguous_offsets() {
            Some((start, end)) => Ok(&values[start..end]),
            None => candle_core::bail!("a tensor that is not contiguous"),
        }
    }
    Ok(match storage {
        CpuStorage::F32(values) => part(values, layout)?.to_vec(),
        CpuStorage::F16(values) => part(values, layout)?.iter().map(|x| x.to_f32()).collect(),
        CpuStorage::BF16(values) => part(values, layout)?.iter().map(|x| x.to_f32()).collect(),
        CpuStorage::U32(values) => part(values, layout)?.iter().map(|&x| x as f32).collect(),
        other => candle_core::bail!("kernels do not compute with {:?}", other.dtype()),
    })
}

/// Values in a number format.
fn stored(values: &[f32], dtype: DType) -> Result<CpuStorage> {
    Ok(match dtype {
        DType::F32 => CpuStorage::F32(values.to_vec()),
        DType::F16 => CpuStorage::F16(values.iter().map(|&x| f16::from_f32(x)).collect()),
        DType::BF16 => CpuStorage::BF16(values.iter().map(|&x| bf16::from_f32(x)).collect()),
        DType::U8 => CpuStorage::U8(values.iter().map(|&x| x as u8).collect()),
        other => candle_core::bail!("kernels do not compute with {other:?}"),
    })
}

/// End of a kernel's name.
pub(super) fn suffix(dtype: DType) -> Result<&'static str> {
    match dtype {
        DType::F32 => Ok("f32"),
        DType::F16 => Ok("f16"),
        DType::BF16 => Ok("bf16"),
        other => candle_core::bail!("kernels do not compute with {other:?}"),
    }
}
