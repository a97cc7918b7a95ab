//! The one place that speaks to a card: opening it, compiling the kernels, launching them on candle's stream.

use std::{
    any::Any,
    collections::HashMap,
    ffi::CString,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, LazyLock, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use candle_core::{
    CudaDevice, CudaStorage, DType, Device, Error, Layout, Result, Storage, Tensor,
    backend::BackendStorage as _,
    cuda_backend::{
        CudaStorageSlice, WrapErr as _,
        cudarc::{
            cublas::{CudaBlas, sys::cublasSetWorkspace_v2},
            driver::{
                CudaContext, CudaEvent, CudaFunction, CudaGraph, CudaModule, CudaSlice, CudaStream,
                DevicePtr as _, LaunchConfig, PushKernelArg as _, SyncOnDrop, result::mem_pool, sys,
            },
            nvrtc::{self, CompileOptions, Ptx, compile_ptx_with_opts},
        },
    },
};
use half::{bf16, f16};
use parking_lot::Mutex;

use super::{
    card_state::{self, CardKernels},
    kept_code, libraries,
    operation::{Argument, Launch, Operation, suffix},
    recording::{beside_recordings, forget_refusals, stop_recording},
};

const SOURCE: &str = include_str!("kernels.cu");
/// The oldest cards whose matrix instructions the kernels use (Ampere).
const OLDEST: (i32, i32) = (8, 0);

/// Whether the card that was opened last runs our kernels.
static HAS_KERNELS: AtomicBool = AtomicBool::new(false);
static LOADED: LazyLock<Mutex<Loaded>> = LazyLock::new(Mutex::default);

/// What cuBLAS itself takes on the largest cards.
const CUBLAS_WORKSPACE_BYTES: usize = 32 << 20;
/// Memory that cuBLAS works in, with the handle that does. A handle lives as long as its device, which candle shares among
/// tensors; what belongs to one that is no more is freed when the next card is opened.
static WORKSPACES: Mutex<Vec<(Weak<CudaBlas>, CudaSlice<u8>)>> = Mutex::new(Vec::new());

/// Kernels of which there is one for each number format are named after it; these, for 32-bit floats, are a part of their
/// own, because every network needs them.
const OF_LATENTS: [&str; 3] = ["roll", "stream_noise", "stream_masks"];

/// Kernels by card and name. All devices of candle's that stand for one card share its context, and so these.
#[derive(Default)]
struct Loaded {
    modules: HashMap<(usize, &'static str), Arc<CudaModule>>,
    functions: HashMap<(usize, &'static str, &'static str), CudaFunction>,
}

/// Opens a card by number and compiles the kernels that networks in `dtype` need.
///
/// # Errors
/// Why there is none, in one line.
pub(crate) fn open(index: usize, dtype: DType) -> std::result::Result<(Device, String), String> {
    // A first stream waits for all work of the card, which would end a recording of another thread's.
    let _beside = beside_recordings();
    let libraries = libraries::load();
    if !libraries.missing.is_empty() {
        return Err(format!(
            "NVIDIA's libraries were not found ({})",
            libraries.missing.join(", ")
        ));
    }
    // A library of another version lacks functions, which is a panic inside the bindings.
    let opened = catch_unwind(|| -> std::result::Result<(Device, String), String> {
        let count = CudaContext::device_count().map_err(|error| error.to_string())?;
        if index >= usize::try_from(count).unwrap_or(0) {
            return Err(format!(
                "NVIDIA's driver knows {count} cards, there is no number {index}"
            ));
        }
        // A stream of its own rather than each thread's: models are loaded and prompts encoded on other threads, and
        // what they enqueue must come before what uses it.
        let device = Device::new_cuda_with_stream(index).map_err(|error| error.to_string())?;
        let name = prepare(&device).map_err(|error| error.to_string())?;
        Ok((device, name))
    });
    let (device, name) =
        opened.map_err(|_panic| "NVIDIA's libraries do not fit this program".to_owned())??;
    let kernels = kernels(&device, dtype, libraries.has_compiler);
    let has_kernels = kernels == CardKernels::Own;
    HAS_KERNELS.store(has_kernels, Ordering::Relaxed);
    card_state::opened(kernels);
    forget_refusals();
    if !has_kernels && cfg!(feature = "cudnn") && !libraries.has_cudnn {
        return Err("neither our kernels nor cuDNN (libcudnn.so.9) run on this card".to_owned());
    }
    Ok((device, name))
}

/// Which kernels networks in `dtype` are made of on a card.
fn kernels(device: &Device, dtype: DType, has_compiler: bool) -> CardKernels {
    let plain = |reason: String| {
        tracing::warn!("this card runs without our kernels, which is slower: {reason}");
        CardKernels::Plain(reason)
    };
    if std::env::var_os("WORDBRUSH_KERNELS").is_some_and(|value| value == "plain") {
        return plain("WORDBRUSH_KERNELS says so".to_owned());
    }
    if !has_compiler {
        return plain("there is no NVRTC (libnvrtc.so.13)".to_owned());
    }
    match compile_ahead(device, dtype) {
        Ok(()) => CardKernels::Own,
        Err(error) => plain(error.to_string()),
    }
}

/// Settings that hold as long as the device lives; its name.
fn prepare(device: &Device) -> Result<String> {
    let device = device.as_cuda_device()?;
    let stream = device.cuda_stream();
    let context = stream.context();
    // SAFETY: all tensors are used on this one stream.
    unsafe { device.disable_event_tracking() };
    if context.has_async_alloc() {
        // Freed memory stays with the program; by default every synchronisation would hand it back to the driver.
        let mut keep_all = u64::MAX;
        // SAFETY: the device is open, and the attribute is a u64.
        unsafe {
            let pool = sys_pool(context)?;
            mem_pool::set_attribute(
                pool,
                sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD,
                (&raw mut keep_all).cast(),
            )
            .w()?;
        }
    }
    give_cublas_a_workspace(device);
    forget_peak(context);
    let gigabytes = context.total_mem().w()? as f64 / (1u64 << 30) as f64;
    Ok(format!("{} ({gigabytes:.0} GB)", context.name().w()?))
}

/// Gives products of matrices the same memory to work in whether they are recorded or not: while recording, cuBLAS would
/// allocate its own and might choose other algorithms, which give other bytes.
fn give_cublas_a_workspace(device: &CudaDevice) {
    let blas = device.cublas_handle();
    let given = device
        .alloc_zeros::<u8>(CUBLAS_WORKSPACE_BYTES)
        .and_then(|workspace| {
            let (at, in_use) = workspace.device_ptr(workspace.stream());
            // SAFETY: the handle is open; the memory has this size, is aligned as all that the driver allocates, and is freed
            // only when the handle is no more.
            let given =
                unsafe { cublasSetWorkspace_v2(*blas.handle(), at as *mut _, CUBLAS_WORKSPACE_BYTES) };
            given.result().w()?;
            drop(in_use);
            Ok(workspace)
        });
    let mut workspaces = WORKSPACES.lock();
    workspaces.retain(|(blas, _)| blas.strong_count() > 0);
    match given {
        Ok(workspace) => workspaces.push((Arc::downgrade(&blas), workspace)),
        Err(error) => tracing::warn!("cuBLAS works in memory of its own: {error}"),
    }
}

/// # Safety
/// The context must be open.
unsafe fn sys_pool(context: &CudaContext) -> Result<sys::CUmemoryPool> {
    // SAFETY: as the caller says.
    unsafe {
        candle_core::cuda_backend::cudarc::driver::result::device::get_default_mem_pool(context.cu_device())
            .w()
    }
}

/// Compiles what will be needed, so that a card that cannot is noticed now.
fn compile_ahead(device: &Device, dtype: DType) -> Result<()> {
    let device = device.as_cuda_device()?;
    let capability = device.cuda_stream().context().compute_capability().w()?;
    if capability < OLDEST {
        candle_core::bail!("its capability {capability:?} is below {OLDEST:?}");
    }
    module(device, "latents")?;
    module(device, suffix(dtype)?)?;
    Ok(())
}

/// Whether the card runs our kernels.
pub(super) fn has_kernels() -> bool {
    HAS_KERNELS.load(Ordering::Relaxed)
}

/// Bytes in use on a card, by all programs.
pub(crate) fn memory_bytes(device: &Device) -> Option<u64> {
    let stream = device.as_cuda_device().ok()?.cuda_stream();
    let (free, total) = stream.context().mem_get_info().ok()?;
    Some(total.saturating_sub(free) as u64)
}

/// Most bytes of tensors that this program had on a card at once since it was opened last.
pub(crate) fn peak_bytes(device: &Device) -> Option<u64> {
    let stream = device.as_cuda_device().ok()?.cuda_stream();
    let context = stream.context();
    if !context.has_async_alloc() {
        return None;
    }
    let mut bytes = 0_u64;
    // SAFETY: the device is open, and the attribute is a u64.
    unsafe {
        mem_pool::get_attribute(
            sys_pool(context).ok()?,
            sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH,
            (&raw mut bytes).cast(),
        )
        .ok()?;
    }
    Some(bytes)
}

/// Lets the peak begin at what is in use now.
fn forget_peak(context: &CudaContext) {
    if !context.has_async_alloc() {
        return;
    }
    let mut nothing = 0_u64;
    // SAFETY: the device is open, and the attribute is a u64.
    let forgotten = unsafe {
        sys_pool(context).and_then(|pool| {
            mem_pool::set_attribute(
                pool,
                sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH,
                (&raw mut nothing).cast(),
            )
            .w()
        })
    };
    if let Err(error) = forgotten {
        tracing::debug!("the card's peak is that of all devices so far: {error}");
    }
}

/// Hands memory that is kept but not used back to the driver, so that others than our tensors may have it.
pub(crate) fn give_back_memory(device: &Device) {
    let Ok(device) = device.as_cuda_device() else {
        return;
    };
    let stream = device.cuda_stream();
    let context = stream.context();
    if !context.has_async_alloc() {
        return;
    }
    stop_recording("the card is short of memory");
    // What was freed on the stream is free once the stream has come so far. Graphs have a pool of their own.
    let trimmed = stream
        .synchronize()
        .w()
        // SAFETY: the device is open.
        .and_then(|()| unsafe {
            mem_pool::trim_to(sys_pool(context)?, 0).w()?;
            sys::cuDeviceGraphMemTrim(context.cu_device()).result().w()
        });
    if let Err(error) = trimmed {
        tracing::warn!("the card's memory cannot be handed back: {error}");
    }
}

/// A moment in the work of a card.
pub(crate) struct Mark(CudaEvent);

impl Mark {
    /// When the card has done all that it was given so far. `None` where that cannot be told.
    pub(crate) fn now(device: &Device) -> Option<Self> {
        let stream = device.as_cuda_device().ok()?.cuda_stream();
        let event = stream
            .record_event(Some(sys::CUevent_flags::CU_EVENT_DEFAULT))
            .ok()?;
        Some(Self(event))
    }

    /// Milliseconds to a later moment, for which it waits.
    pub(crate) fn ms_until(&self, later: &Self) -> Option<f32> {
        self.0.elapsed_ms(&later.0).ok()
    }
}

/// Work of a card that was recorded and may be launched again and again.
pub(super) struct Graph(CudaGraph);

// SAFETY: a graph may be used by any thread, by one at a time; it belongs to a network, which one thread has at a time.
unsafe impl Send for Graph {}

impl Graph {
    /// Records what `call` asks of the device's stream. No other thread may use the stream meanwhile.
    ///
    /// # Errors
    /// Those of `call`, or why it cannot be recorded; the stream is usable as before.
    pub(super) fn record(device: &Device, call: impl FnOnce() -> Result<()>) -> Result<Self> {
        let stream = device.as_cuda_device()?.cuda_stream();
        stream
            .begin_capture(sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)
            .w()?;
        // A panic must not leave the stream recording, for it would take nothing else.
        let called = catch_unwind(AssertUnwindSafe(call))
            .unwrap_or_else(|_panic| Err(Error::Msg("a panic while recording".to_owned())));
        // What was freed in a recording that failed left an error, which would keep the next call from being made.
        let freed = stream.context().check_err().w();
        // Also after an error: until then the stream takes nothing else.
        let graph = stream.end_capture(sys::CUgraphInstantiate_flags(0)).w();
        called.and(freed)?;
        match graph? {
            Some(graph) => Ok(Self(graph)),
            None => candle_core::bail!("nothing was recorded"),
        }
    }

    /// Enqueues all of it.
    ///
    /// # Errors
    /// If the card fails.
    pub(super) fn launch(&self) -> Result<()> {
        self.0.launch().w()?;
        Ok(())
    }
}

/// While the result lives, small uploads of this thread (indexes, shapes) are kept on the card and not made again.
pub(crate) fn keep_uploads(device: &Device) -> Option<Box<dyn Any>> {
    let device = device.as_cuda_device().ok()?;
    Some(Box::new(device.enable_cuda_graph_htod_cache()))
}

/// The kernels of a part, compiled where they are not yet.
fn module(device: &CudaDevice, part: &'static str) -> Result<Arc<CudaModule>> {
    let stream = device.cuda_stream();
    let context = stream.context();
    let key = (context.ordinal(), part);
    if let Some(module) = LOADED.lock().modules.get(&key) {
        return Ok(Arc::clone(module));
    }
    // That takes seconds, and every launch takes the lock.
    let module = match kept_machine_code(part, context.compute_capability().w()?) {
        Ok(code) => context.load_module(Ptx::from_binary(code)).w()?,
        Err(error) => {
            tracing::info!("compiling for the driver instead: {error}");
            context.load_module(code_for_driver(part)?).w()?
        }
    };
    // Another thread may have been first.
    Ok(Arc::clone(LOADED.lock().modules.entry(key).or_insert(module)))
}

/// A kernel for a number format.
fn function(device: &CudaDevice, kernel: &'static str, format: &'static str) -> Result<CudaFunction> {
    let key = (device.cuda_stream().context().ordinal(), kernel, format);
    if let Some(function) = LOADED.lock().functions.get(&key) {
        return Ok(function.clone());
    }
    let part = if OF_LATENTS.contains(&kernel) {
        "latents"
    } else {
        format
    };
    let function = module(device, part)?
        .load_function(&format!("{kernel}_{format}"))
        .w()?;
    LOADED.lock().functions.insert(key, function.clone());
    Ok(function)
}

/// Options of the compiler for a part of the kernels.
fn options(architecture: &str, part: &str) -> Vec<String> {
    vec![
        format!("--gpu-architecture={architecture}"),
        "--std=c++17".to_owned(),
        format!("-DWITH_{}", part.to_uppercase()),
    ]
}

/// As [`machine_code`], kept on disk for the next start.
///
/// # Errors
/// Those of [`machine_code`].
fn kept_machine_code(part: &str, capability: (i32, i32)) -> Result<Vec<u8>> {
    let (mut major, mut minor) = (0, 0);
    // SAFETY: it writes two numbers.
    unsafe { nvrtc::sys::nvrtcVersion(&raw mut major, &raw mut minor) }
        .result()
        .map_err(|error| Error::Msg(format!("the compiler's version is not known: {error:?}")))?;
    let options = options_for_card(part, capability).join("\n");
    let compiler = format!("NVRTC {major}.{minor}");
    let name = kept_code::name_of(&[SOURCE, &options, &compiler]);
    kept_code::kept_or(kept_code::folder().as_deref(), &name, || {
        machine_code(part, capability)
    })
}

/// Options for a card's own machine code.
fn options_for_card(part: &str, (major, minor): (i32, i32)) -> Vec<String> {
    options(&format!("sm_{major}{minor}"), part)
}

/// A part of the kernels as a card's machine code. A driver takes it from a compiler that is newer than itself, whose
/// intermediate code it would refuse.
///
/// # Errors
/// What the compiler says; one that is older than the card does not know it.
fn machine_code(part: &str, capability: (i32, i32)) -> Result<Vec<u8>> {
    let failed = |what: &str, error: nvrtc::result::NvrtcError| {
        Error::Msg(format!("{what} the kernels failed: {error:?}"))
    };
    let source = CString::new(SOURCE).map_err(Error::wrap)?;
    let program = nvrtc::result::create_program(&source, Some(c"kernels.cu"))
        .map_err(|error| failed("reading", error))?;
    let options = options_for_card(part, capability);
    // SAFETY: the program was made above and is destroyed below, after the last use; the code has the size that the
    // compiler says.
    let code = unsafe {
        nvrtc::result::compile_program(program, &options)
            .map_err(|error| {
                let log = nvrtc::result::get_program_log(program).unwrap_or_default();
                let log: Vec<u8> = log.iter().map(|&byte| byte as u8).collect();
                let said = String::from_utf8_lossy(&log).into_owned();
                Error::Msg(format!("compiling the kernels failed: {error:?} {said}"))
            })
            .and_then(|()| {
                let mut size = 0;
                nvrtc::sys::nvrtcGetCUBINSize(program, &raw mut size)
                    .result()
                    .map_err(|error| failed("measuring", error))?;
                let mut code = vec![0_u8; size];
                nvrtc::sys::nvrtcGetCUBIN(program, code.as_mut_ptr().cast())
                    .result()
                    .map_err(|error| failed("taking", error))?;
                Ok(code)
            })
    };
    // SAFETY: nothing uses the program any more.
    if let Err(error) = unsafe { nvrtc::result::destroy_program(program) } {
        tracing::debug!("the compiler keeps a program: {error:?}");
    }
    code
}

/// A part of the kernels as code that the driver compiles further, for every card that runs them.
fn code_for_driver(part: &str) -> Result<Ptx> {
    let (major, minor) = OLDEST;
    let options = CompileOptions {
        options: options(&format!("compute_{major}{minor}"), part),
        name: Some("kernels.cu".to_owned()),
        ..Default::default()
    };
    compile_ptx_with_opts(SOURCE, options)
        .map_err(|error| Error::Msg(format!("compiling the kernels failed: {error:?}")))
}

/// Compiles all kernels for a capability and tells how large their parts are; needs the compiler but no card.
///
/// # Errors
/// What the compiler says, or that there is none.
pub(super) fn compile_kernels(capability: (i32, i32)) -> Result<Vec<(&'static str, usize)>> {
    if !libraries::load().has_compiler {
        candle_core::bail!("there is no NVRTC (libnvrtc.so.13)");
    }
    let parts = ["f32", "f16", "bf16", "latents"].into_iter();
    parts
        .map(|part| {
            code_for_driver(part)?;
            Ok((part, machine_code(part, capability)?.len()))
        })
        .collect()
}

/// Runs an operation on the card where its inputs lie.
pub(super) fn run<O: Operation>(
    operation: &O,
    storage: &CudaStorage,
    layout: &Layout,
    inputs: &[Option<Tensor>],
) -> Result<CudaStorage> {
    let device = storage.device().clone();
    let stream = device.cuda_stream();
    let dtype = storage.dtype();
    let others: Vec<_> = inputs
        .iter()
        .skip(1)
        .map(|input| input.as_ref().map(Tensor::storage_and_layout))
        .collect();
    let mut places = vec![Some(Place::of(storage, layout, &stream)?)];
    for other in &others {
        places.push(match other {
            None => None,
            Some((other, layout)) => match &**other {
                Storage::Cuda(other) => Some(Place::of(other, layout, &stream)?),
                _ => candle_core::bail!("{}: an input lies on another device", O::NAME),
            },
        });
    }
    let plan = operation.plan(dtype);
    let count = operation.shape().elem_count();
    let output = allocated(&device, operation.result_type().unwrap_or(dtype), count)?;
    let target = Place::of(&output, &Layout::contiguous(operation.shape()), &stream)?;
    let scratch = match plan.scratch {
        0 => None,
        // SAFETY: the first launch of a plan writes what later ones read.
        count => Some(unsafe { device.alloc::<f32>(count)? }),
    };
    let scratch = scratch.as_ref().map(|scratch| scratch.device_ptr(&stream));
    let pointer = |argument: &Argument| match *argument {
        Argument::Input(index) => places[index].as_ref().map_or(0, |place| place.at),
        Argument::Output => target.at,
        _ => scratch.as_ref().map_or(0, |(at, _)| *at),
    };
    let format = suffix(operation.format().unwrap_or(dtype))?;
    for launch in &plan.launches {
        let function = function(&device, launch.kernel, format)?;
        start(&stream, &function, launch, &pointer)?;
    }
    drop(target);
    Ok(output)
}

/// Enqueues one launch.
fn start(
    stream: &CudaStream,
    function: &CudaFunction,
    launch: &Launch,
    pointer: &dyn Fn(&Argument) -> u64,
) -> Result<()> {
    enum Value {
        Pointer(u64),
        Whole(i32),
        Real(f32),
    }
    let mut values = Vec::with_capacity(launch.arguments.len());
    for argument in &launch.arguments {
        values.push(match argument {
            Argument::Whole(number) => Value::Whole(i32::try_from(*number).map_err(Error::wrap)?),
            Argument::Real(number) => Value::Real(*number),
            other => Value::Pointer(pointer(other)),
        });
    }
    let mut arguments = stream.launch_builder(function);
    for value in &values {
        match value {
            Value::Pointer(value) => arguments.arg(value),
            Value::Whole(value) => arguments.arg(value),
            Value::Real(value) => arguments.arg(value),
        };
    }
    let [x, y, z] = launch.grid.map(|blocks| blocks as u32);
    if x == 0 || y == 0 || z == 0 {
        return Ok(());
    }
    let config = LaunchConfig {
        grid_dim: (x, y, z),
        block_dim: (launch.threads as u32, 1, 1),
        shared_mem_bytes: launch.shared_bytes as u32,
    };
    // SAFETY: the arguments are those that the kernel declares, in number, order and size: the tests run the same
    // launches. The buffers outlive the launch on this stream, which also frees them.
    unsafe { arguments.launch(config) }.w()?;
    Ok(())
}

/// Where a contiguous tensor begins on the card.
struct Place<'a> {
    at: u64,
    _use: SyncOnDrop<'a>,
}

impl<'a> Place<'a> {
    fn of(storage: &'a CudaStorage, layout: &Layout, stream: &'a CudaStream) -> Result<Self> {
        fn place<'a, T>(
            slice: &'a CudaSlice<T>,
            start: usize,
            stream: &'a CudaStream,
        ) -> (u64, SyncOnDrop<'a>) {
            let (at, usage) = slice.device_ptr(stream);
            (at + (start * size_of::<T>()) as u64, usage)
        }
        let Some((start, _)) = layout.contiguous_offsets() else {
            candle_core::bail!("a tensor that is not contiguous");
        };
        let (at, usage) = match &storage.slice {
            CudaStorageSlice::F32(slice) => place(slice, start, stream),
            CudaStorageSlice::F16(slice) => place(slice, start, stream),
            CudaStorageSlice::BF16(slice) => place(slice, start, stream),
            CudaStorageSlice::U32(slice) => place(slice, start, stream),
            CudaStorageSlice::U8(slice) => place(slice, start, stream),
            _ => candle_core::bail!("kernels do not compute with {:?}", storage.dtype()),
        };
        Ok(Self { at, _use: usage })
    }
}

/// Memory for a result.
fn allocated(device: &CudaDevice, dtype: DType, count: usize) -> Result<CudaStorage> {
    // SAFETY: the kernels write every value of a result.
    let slice = unsafe {
        match dtype {
            DType::F32 => CudaStorageSlice::F32(device.alloc::<f32>(count)?),
            DType::F16 => CudaStorageSlice::F16(device.alloc::<f16>(count)?),
            DType::BF16 => CudaStorageSlice::BF16(device.alloc::<bf16>(count)?),
            DType::U8 => CudaStorageSlice::U8(device.alloc::<u8>(count)?),
            other => candle_core::bail!("kernels do not compute with {other:?}"),
        }
    };
    Ok(CudaStorage {
        slice,
        device: device.clone(),
    })
}
