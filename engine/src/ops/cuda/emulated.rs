//! The kernels on the processor: `kernels.cu` compiled by a C++ compiler, run with the launches that a card would get.

use std::{
    cell::Cell,
    collections::HashMap,
    ffi::{CString, c_char, c_int, c_void},
    path::Path,
    process::Command,
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use candle_core::{CpuStorage, DType, Result, Storage, Tensor, backend::BackendStorage as _};
use half::{bf16, f16};

use super::{
    operation::{ALIGNMENT, Argument, Launch, Operation, suffix},
    self_test::cases,
};
use crate::{
    api::{
        Background, CanvasSize, Mask, ModelChoice, ModelSource, PassOrder, Precision, Region, RegionId,
        Revision, Scene, Seed, StreamSettings,
    },
    device::Compute,
    models::{
        folder::{Codec, ModelFolder},
        load,
        traits::{Conditioning, Denoiser as _, ImageCodec, Row},
    },
    stream::{
        PromptLookup, Session,
        centering::{Shift, from_center, to_center},
    },
    weights::{LoadProgress, LoadWatch},
};

/// What takes the place of the kernels in a test's thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Networks are made of plain layers.
    Off,
    /// Kernels' plain twins.
    Twins,
    /// The kernels themselves, threads resumed in rising or falling order.
    Emulated { is_falling: bool },
}

thread_local! {
    static MODE: Cell<Mode> = const { Cell::new(Mode::Off) };
}

/// Sets the mode while `body` runs.
pub(super) fn with_mode<T>(mode: Mode, body: impl FnOnce() -> T) -> T {
    struct Reset(Mode);
    impl Drop for Reset {
        fn drop(&mut self) {
            MODE.set(self.0);
        }
    }
    let _reset = Reset(MODE.replace(mode));
    body()
}

/// Whether networks are made of kernels in this thread.
pub(super) fn is_in_place_of_plain_layers() -> bool {
    MODE.get() != Mode::Off
}

/// As `emulator.cpp` declares it.
#[repr(C)]
struct RawArgument {
    kind: c_char,
    pointer: *mut u8,
    whole: c_int,
    real: f32,
}

type Run = unsafe extern "C" fn(*mut c_void, *const RawArgument, *const c_int, c_int, c_int) -> c_int;

/// The compiled kernels.
struct Emulator {
    library: usize,
    run: Run,
    allocate: unsafe extern "C" fn(usize) -> *mut u8,
    free: unsafe extern "C" fn(*mut u8, usize),
}

/// One call at a time: blocks share the emulator's memory.
static EMULATOR: LazyLock<Mutex<std::result::Result<Emulator, String>>> =
    LazyLock::new(|| Mutex::new(Emulator::build()));

impl Emulator {
    fn build() -> std::result::Result<Self, String> {
        if !cfg!(target_os = "linux") {
            return Err("the emulator needs Linux".to_owned());
        }
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ops/cuda/emulator.cpp");
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let library = folder.path().join("kernels.so");
        let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".to_owned());
        let output = Command::new(&compiler)
            .args(["-std=c++17", "-O1", "-fno-strict-aliasing", "-U_FORTIFY_SOURCE"])
            .args(["-fPIC", "-shared", "-w"])
            .arg(&source)
            .arg("-o")
            .arg(&library)
            .output();
        let output = match output {
            Ok(output) => output,
            Err(error) => return Err(format!("there is no C++ compiler {compiler:?} ({error})")),
        };
        assert!(
            output.status.success(),
            "the kernels do not compile:\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let path = CString::new(library.as_os_str().as_encoded_bytes()).map_err(|error| error.to_string())?;
        // SAFETY: the library was built here and runs nothing when it is loaded.
        let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW) };
        if handle.is_null() {
            return Err("the compiled kernels cannot be loaded".to_owned());
        }
        let symbol = |name: &str| symbol(handle as usize, name).ok_or_else(|| format!("{name} is missing"));
        // SAFETY: emulator.cpp declares these functions with these types.
        unsafe {
            Ok(Self {
                library: handle as usize,
                run: std::mem::transmute::<*mut c_void, Run>(symbol("emulator_run")?),
                allocate: std::mem::transmute::<*mut c_void, unsafe extern "C" fn(usize) -> *mut u8>(symbol(
                    "emulator_allocate",
                )?),
                free: std::mem::transmute::<*mut c_void, unsafe extern "C" fn(*mut u8, usize)>(symbol(
                    "emulator_free",
                )?),
            })
        }
    }
}

/// A function of a library.
fn symbol(library: usize, name: &str) -> Option<*mut c_void> {
    let name = CString::new(name).ok()?;
    // SAFETY: the library stays loaded, and the name ends with 0.
    let found = unsafe { libc::dlsym(library as *mut c_void, name.as_ptr()) };
    (!found.is_null()).then_some(found)
}

/// Memory that faults right behind its end.
struct Guarded<'a> {
    emulator: &'a Emulator,
    at: *mut u8,
    bytes: usize,
}

impl<'a> Guarded<'a> {
    fn new(emulator: &'a Emulator, bytes: usize) -> Self {
        let bytes = bytes.max(16);
        // SAFETY: any size may be asked for.
        let at = unsafe { (emulator.allocate)(bytes) };
        assert!(!at.is_null(), "no memory for the emulator");
        // SAFETY: this much was allocated. What is not written stays not-a-number in every format.
        unsafe { at.write_bytes(0xff, bytes) };
        Self { emulator, at, bytes }
    }

    fn filled(emulator: &'a Emulator, contents: &[u8]) -> Self {
        let memory = Self::new(emulator, contents.len());
        // SAFETY: there is room for as much.
        unsafe { std::ptr::copy_nonoverlapping(contents.as_ptr(), memory.at, contents.len()) };
        memory
    }

    fn contents(&self, bytes: usize) -> Vec<u8> {
        assert!(bytes <= self.bytes);
        // SAFETY: this much was allocated and filled.
        unsafe { std::slice::from_raw_parts(self.at, bytes) }.to_vec()
    }
}

impl Drop for Guarded<'_> {
    fn drop(&mut self) {
        // SAFETY: it was allocated with this size, and nothing points to it any more.
        unsafe { (self.emulator.free)(self.at, self.bytes) };
    }
}

/// The bytes of a contiguous tensor on the processor.
fn bytes_of(tensor: &Tensor) -> Result<Vec<u8>> {
    let (storage, layout) = tensor.storage_and_layout();
    let (Storage::Cpu(storage), Some((start, end))) = (&*storage, layout.contiguous_offsets()) else {
        candle_core::bail!("a tensor that is not contiguous on the processor");
    };
    // A card would refuse to read it; the processor does not mind.
    assert_eq!(
        start * tensor.dtype().size_in_bytes() % ALIGNMENT,
        0,
        "misaligned"
    );
    Ok(match storage {
        CpuStorage::F32(x) => x[start..end].iter().flat_map(|x| x.to_ne_bytes()).collect(),
        CpuStorage::F16(x) => x[start..end].iter().flat_map(|x| x.to_ne_bytes()).collect(),
        CpuStorage::BF16(x) => x[start..end].iter().flat_map(|x| x.to_ne_bytes()).collect(),
        CpuStorage::U32(x) => x[start..end].iter().flat_map(|x| x.to_ne_bytes()).collect(),
        other => candle_core::bail!("the emulator does not know {:?}", other.dtype()),
    })
}

/// Makes sure that a card would take a launch: what the emulator does not notice by itself.
fn check(launch: &Launch) {
    let (most_threads, parameters) = declaration(launch.kernel);
    assert!((1..=most_threads).contains(&launch.threads), "{launch:?}");
    // More needs an attribute to be set.
    assert!(launch.shared_bytes <= 48 << 10, "{launch:?}");
    let [x, y, z] = launch.grid;
    assert!(x < 1 << 31 && y < 1 << 16 && z < 1 << 16, "{launch:?}");
    let given: String = launch
        .arguments
        .iter()
        .map(|argument| match argument {
            Argument::Input(_) | Argument::Output | Argument::Scratch | Argument::Nothing => 'p',
            Argument::Whole(_) => 'i',
            Argument::Real(_) => 'f',
        })
        .collect();
    assert_eq!(
        given, parameters,
        "{} is given other arguments than it declares",
        launch.kernel
    );
}

/// Most threads of a block and the kinds of parameters ('p' for a pointer, 'i', 'f') that a kernel declares.
fn declaration(kernel: &str) -> (usize, String) {
    let source = include_str!("kernels.cu").replace('\\', " ");
    // Variants share a declaration, with the place of their number marked.
    let stem = kernel.trim_end_matches(|end: char| end.is_ascii_digit());
    let names = if stem == kernel {
        [format!(" {kernel}_##T("), format!(" {kernel}_f32(")]
    } else {
        [format!(" {stem}##N##_##T("), format!(" {stem}##D##_##T(")]
    };
    let place = names
        .iter()
        .find_map(|name| Some((source.find(name)?, name.len())))
        .unwrap_or_else(|| panic!("{kernel} is not declared"));
    let threads = source[..place.0]
        .rsplit_once("KERNEL(")
        .and_then(|(_, rest)| rest.split_once(')'))
        .and_then(|(threads, _)| threads.trim().parse().ok())
        .unwrap_or_else(|| panic!("{kernel} says no number of threads"));
    let list = &source[place.0 + place.1..];
    let list = list.split_once(')').map_or(list, |(list, _)| list);
    let kinds = list.split(',').map(|parameter| match parameter.trim() {
        pointer if pointer.contains('*') => 'p',
        whole if whole.starts_with("int ") => 'i',
        real if real.starts_with("float ") => 'f',
        other => panic!("{kernel} has a parameter {other:?}"),
    });
    (threads, kinds.collect())
}

/// Runs an operation in the emulator, if this thread is to.
pub(super) fn run<O: Operation>(operation: &O, inputs: &[Option<Tensor>]) -> Result<Option<CpuStorage>> {
    let Mode::Emulated { is_falling } = MODE.get() else {
        return Ok(None);
    };
    let emulator = EMULATOR.lock().unwrap_or_else(PoisonError::into_inner);
    let Ok(emulator) = &*emulator else {
        candle_core::bail!("the emulator was not built");
    };
    let Some(Some(first)) = inputs.first() else {
        candle_core::bail!("no input");
    };
    let dtype = first.dtype();
    let result_type = operation.result_type().unwrap_or(dtype);
    let buffers: Vec<Option<Guarded<'_>>> = inputs
        .iter()
        .map(|input| {
            input
                .as_ref()
                .map(|input| Ok(Guarded::filled(emulator, &bytes_of(input)?)))
                .transpose()
        })
        .collect::<Result<_>>()?;
    let plan = operation.plan(dtype);
    let scratch = Guarded::new(emulator, plan.scratch * 4);
    let bytes = operation.shape().elem_count() * result_type.size_in_bytes();
    let output = Guarded::new(emulator, bytes);
    for launch in &plan.launches {
        check(launch);
        let raw = |kind: u8| RawArgument {
            kind: kind as c_char,
            pointer: std::ptr::null_mut(),
            whole: 0,
            real: 0.0,
        };
        let pointer = |at: *mut u8| RawArgument {
            pointer: at,
            ..raw(b'p')
        };
        let mut arguments: Vec<RawArgument> = launch
            .arguments
            .iter()
            .map(|argument| match *argument {
                Argument::Input(index) => pointer(
                    buffers[index]
                        .as_ref()
                        .map_or(std::ptr::null_mut(), |buffer| buffer.at),
                ),
                Argument::Output => pointer(output.at),
                Argument::Scratch => pointer(scratch.at),
                Argument::Nothing => pointer(std::ptr::null_mut()),
                Argument::Whole(number) => RawArgument {
                    whole: c_int::try_from(number).expect("sizes fit"),
                    ..raw(b'i')
                },
                Argument::Real(real) => RawArgument { real, ..raw(b'f') },
            })
            .collect();
        arguments.push(raw(0));
        let format = operation.format().unwrap_or(dtype);
        let name = format!("{}_{}", launch.kernel, suffix(format)?);
        let Some(kernel) = symbol(emulator.library, &name) else {
            candle_core::bail!("there is no kernel {name}");
        };
        let grid = launch.grid.map(|blocks| blocks as c_int);
        // SAFETY: the arguments point to as much memory as the operation says; the emulator runs one call at a time.
        let code = unsafe {
            (emulator.run)(
                kernel,
                arguments.as_ptr(),
                grid.as_ptr(),
                launch.threads as c_int,
                is_falling.into(),
            )
        };
        assert_ne!(code, 1, "{name}: some threads wait for others for ever");
        assert_ne!(
            code, 2,
            "{name}: 16 bytes are addressed that do not begin at a multiple of 16"
        );
        assert_eq!(code, 0, "{name}");
    }
    let bytes = output.contents(bytes);
    Ok(Some(match result_type {
        DType::F32 => CpuStorage::F32(chunks(&bytes).map(f32::from_ne_bytes).collect()),
        DType::F16 => CpuStorage::F16(chunks(&bytes).map(f16::from_ne_bytes).collect()),
        DType::BF16 => CpuStorage::BF16(chunks(&bytes).map(bf16::from_ne_bytes).collect()),
        _ => CpuStorage::U8(bytes),
    }))
}

fn chunks<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> + '_ {
    bytes.as_chunks::<N>().0.iter().copied()
}

/// Whether there is an emulator; says why not.
pub(super) fn is_available() -> bool {
    match &*EMULATOR.lock().unwrap_or_else(PoisonError::into_inner) {
        Ok(_) => true,
        Err(reason) => {
            println!("the CUDA kernels are not tested: {reason}");
            false
        }
    }
}

#[test]
fn every_kernel_computes_what_its_twin_does() {
    if !is_available() {
        return;
    }
    let device = candle_core::Device::Cpu;
    for is_falling in [false, true] {
        for case in cases().unwrap() {
            let check = case
                .check(|case| with_mode(Mode::Emulated { is_falling }, || case.run_on(&device)))
                .unwrap();
            assert!(check.is_good(), "{check:?}");
        }
    }
}

/// Noise, and pictures of a denoiser and of two autoencoders, as a mode computes them.
fn networks(mode: Mode, model: &str, precision: Precision) -> Vec<(String, Tensor)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/fixtures/parity/models")
        .join(model);
    let compute = Compute {
        precision,
        ..Compute::cpu()
    };
    let ignore = |_: LoadProgress<'_>| {};
    let cancel = false.into();
    let watch = LoadWatch::new(&ignore, &cancel);
    let pattern = |shape: &[usize]| {
        let count: usize = shape.iter().product();
        let values: Vec<f32> = (0..count)
            .map(|i| ((i * 7919 % 1009) as f32 / 504.5 - 1.0) * 1.5)
            .collect();
        Tensor::from_vec(values, shape, &compute.device).unwrap()
    };
    with_mode(mode, || {
        let folder = ModelFolder::on_disk(&path, &compute, &watch);
        let mut results = Vec::new();
        let mut unet = folder.unet().unwrap();
        let config = folder.unet_config().unwrap();
        let conditioning = Conditioning {
            context: pattern(&[77, config.context_width]),
            pooled: config.added.as_ref().map(|added| pattern(&[added.pooled_width])),
            time_ids: config.added.as_ref().map(|_| [64.0, 64.0, 0.0, 0.0, 64.0, 64.0]),
        };
        let prompt = unet.prepare(&conditioning).unwrap();
        let rows = [999.0, 259.0].map(|timestep| Row {
            timestep,
            prompt: &prompt,
        });
        // An odd side, so that halves are rounded on the way down and up.
        let latents = pattern(&[2, 4, 12, 9]).to_dtype(compute.dtype()).unwrap();
        results.push(("the denoiser".to_owned(), unet.predict(&latents, &rows).unwrap()));
        for subfolder in ["vae", "tiny_vae"] {
            if !path.join(subfolder).exists() {
                continue;
            }
            let mut codec: Box<dyn ImageCodec> = match folder.codec(subfolder).unwrap() {
                Codec::Tiny(codec) => Box::new(codec),
                Codec::Kl(codec) => codec,
            };
            let decoded = codec.decode(&pattern(&[1, 4, 5, 6])).unwrap();
            results.push((format!("{subfolder}, decoding"), decoded));
            let encoded = codec.encode(&pattern(&[1, 3, 40, 48]), None).unwrap();
            results.push((format!("{subfolder}, encoding"), encoded));
        }
        results
    })
}

#[test]
fn whole_networks_of_kernels_are_the_plain_networks() {
    let emulated = Mode::Emulated { is_falling: false };
    let mut ways = vec![(Mode::Twins, Precision::F32, 2e-4)];
    if is_available() {
        // In 16 bits other kernels take the matrix instructions.
        ways.extend([(emulated, Precision::F32, 2e-4), (emulated, Precision::F16, 2e-2)]);
    }
    for model in ["tiny-sd15", "tiny-sd21", "tiny-sdxl"] {
        let expected = networks(Mode::Off, model, Precision::F32);
        for &(mode, precision, tolerance) in &ways {
            for ((name, expected), (_, found)) in expected.iter().zip(networks(mode, model, precision)) {
                let found = found.to_dtype(DType::F32).unwrap();
                let largest = |tensor: &Tensor| -> f32 {
                    tensor.abs().unwrap().max_all().unwrap().to_scalar().unwrap()
                };
                let error = largest(&(expected - found).unwrap());
                let size = largest(expected);
                assert!(
                    error < tolerance * size.max(1.0),
                    "{name} of {model} as {mode:?} in {precision:?}: {error} of {size}"
                );
            }
        }
    }
}

/// A picture of two regions on a third one's canvas, as the stream paints it with a mode's kernels: bytes of RGBA.
fn painted(mode: Mode, precision: Precision) -> Vec<u8> {
    struct Encoded(HashMap<&'static str, Arc<Conditioning>>);
    impl PromptLookup for Encoded {
        fn conditioning(&self, prompt: &str) -> Option<Arc<Conditioning>> {
            self.0.get(prompt).map(Arc::clone)
        }
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/parity/models/tiny-sd15");
    let choice = ModelChoice::plain(ModelSource::Path(folder));
    let ignore = |_: LoadProgress<'_>| {};
    let cancel = false.into();
    let size = CanvasSize::new(64, 64).unwrap();
    let half = |is_left: bool| {
        let is_painted = |pixel: usize| (pixel % 64 < 32) == is_left;
        let coverage: Vec<u8> = (0..size.area())
            .map(|pixel| u8::from(is_painted(pixel)) * 255)
            .collect();
        Mask::from_coverage(size, &coverage).unwrap()
    };
    let scene = Scene {
        size,
        background: Background::default(),
        regions: vec![
            Region::new(RegionId(1), "a cat", half(true)),
            Region::new(RegionId(2), "the sea", half(false)),
        ],
        seed: Seed(3),
        settings: StreamSettings {
            pass_order: PassOrder::StreamBatch,
            ..StreamSettings::default()
        },
    };
    let compute = Compute {
        precision,
        ..Compute::cpu()
    };
    with_mode(mode, || {
        let watch = LoadWatch::new(&ignore, &cancel);
        let mut parts = load(&choice, &compute, &watch).unwrap().parts;
        assert_eq!(parts.dtype, compute.dtype());
        let prompts = ["", "a cat", "the sea"];
        let encoded = prompts.map(|prompt| (prompt, Arc::new(parts.text_encoder.encode(prompt).unwrap())));
        let mut session = Session::new(&parts);
        session
            .apply(Revision(1), &scene, &Encoded(encoded.into()), &parts)
            .unwrap();
        let latent = loop {
            let outcome = session.step(parts.denoiser.as_mut()).unwrap();
            if session.is_settled() {
                break outcome.latent.unwrap();
            }
        };
        let decoded = parts.codec.decode(&latent).unwrap();
        session.picture(&decoded).unwrap().rgba().to_vec()
    })
}

#[test]
fn a_picture_is_the_same_in_16_bits_but_for_rounding() {
    if !is_available() {
        return;
    }
    let emulated = Mode::Emulated { is_falling: true };
    let expected = painted(Mode::Off, Precision::F32);
    for precision in [Precision::F16, Precision::Bf16] {
        let found = painted(emulated, precision);
        let sum: u32 = expected
            .iter()
            .zip(&found)
            .map(|(&a, &b)| u32::from(a.abs_diff(b)))
            .sum();
        let mean = f64::from(sum) / expected.len() as f64;
        assert!(mean < 4.0, "{precision:?}: {mean} steps of 255 on average");
    }
}

#[test]
fn latents_are_rolled_as_without_kernels() {
    let latents = Tensor::arange(0.0_f32, 2.0 * 4.0 * 6.0 * 5.0, &candle_core::Device::Cpu)
        .and_then(|values| values.reshape((2, 4, 6, 5)))
        .unwrap();
    let shifts = [Shift { rows: -3, columns: 1 }, Shift { rows: 2, columns: -4 }];
    let plain = to_center(&latents, &shifts).unwrap();
    with_mode(Mode::Twins, || {
        let rolled = to_center(&latents, &shifts).unwrap();
        let values = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(values(&rolled), values(&plain));
        assert_eq!(values(&from_center(&rolled, &shifts).unwrap()), values(&latents));
    });
}

#[test]
fn parts_of_tensors_are_moved_to_where_a_card_may_read_them() {
    if !is_available() {
        return;
    }
    let values = Tensor::arange(0.0_f32, 27.0, &candle_core::Device::Cpu).unwrap();
    let part = values.narrow(0, 3, 24).unwrap().reshape((1, 3, 8)).unwrap();
    let ones = Tensor::ones(8, DType::F32, &candle_core::Device::Cpu).unwrap();
    let found = with_mode(Mode::Emulated { is_falling: false }, || {
        super::add(&part, Some(&ones), None).unwrap()
    });
    let found: Vec<f32> = found.flatten_all().unwrap().to_vec1().unwrap();
    assert_eq!(found[0], 4.0);
    assert_eq!(found[23], 27.0);
}
