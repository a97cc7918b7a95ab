//! The networks of the processor ask for no memory in a steady stream: counted by an allocator of this test's own.
#![expect(unsafe_code, reason = "a global allocator is unsafe by its nature")]
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on is a failed one, also in its helpers"
)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use wordbrush_engine::low_level::{
    models::{
        cpu::{CpuPrecision, cpu_denoiser, cpu_tiny_autoencoder},
        traits::{Conditioning, Row},
    },
    ops::Workers,
};

struct Counting;

static CALLS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is passed on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Calls of the allocator while `job` runs, on all threads.
fn calls(mut job: impl FnMut()) -> usize {
    let before = CALLS.load(Ordering::Relaxed);
    job();
    CALLS.load(Ordering::Relaxed) - before
}

fn part(name: &str) -> (Vec<u8>, VarBuilder<'static>) {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/parity/models/tiny-sd15");
    let folder = model.join(name);
    let config = std::fs::read(folder.join("config.json")).unwrap();
    let weights = std::fs::read(folder.join("diffusion_pytorch_model.safetensors")).unwrap();
    let weights = VarBuilder::from_buffered_safetensors(weights, DType::F32, &Device::Cpu).unwrap();
    (config, weights)
}

/// One test for all, since another one beside it would be counted too.
#[test]
fn a_prediction_and_a_decoding_ask_for_no_memory_but_their_result() {
    let result = |shape: (usize, usize, usize, usize)| {
        let (b, c, h, w) = shape;
        calls(|| {
            let tensor = Tensor::from_vec(vec![0.0_f32; b * c * h * w], shape, &Device::Cpu).unwrap();
            drop(tensor);
        })
    };
    for precision in [CpuPrecision::F32, CpuPrecision::Bf16] {
        let workers = Arc::new(Workers::new(2));
        let (config, weights) = part("unet");
        let mut denoiser = cpu_denoiser(&config, weights, precision, Arc::clone(&workers)).unwrap();
        let context = Tensor::ones((77, 32), DType::F32, &Device::Cpu).unwrap();
        let prompt = denoiser
            .prepare(&Conditioning {
                context,
                pooled: None,
                time_ids: None,
            })
            .unwrap();
        let row = Row {
            timestep: 499.0,
            prompt: &prompt,
        };
        // Rows that divide among two threads, and rows that do not.
        for count in [1, 2, 5] {
            let rows = vec![row.clone(); count];
            let latents = Tensor::ones((count, 4, 16, 24), DType::F32, &Device::Cpu).unwrap();
            let mut predict = || drop(denoiser.predict(&latents, &rows).unwrap());
            // Either thread may meet its largest piece of work late.
            (0..20).for_each(|_| predict());
            let expected = result((count, 4, 16, 24));
            assert!(expected > 0, "the allocator counts");
            assert_eq!(calls(predict), expected, "{precision:?}, {count} rows");
        }

        let (config, weights) = part("tiny_vae");
        let mut codec = cpu_tiny_autoencoder(&config, weights, precision, workers).unwrap();
        let latents =
            |value: f64| (Tensor::ones((1, 4, 16, 24), DType::F32, &Device::Cpu).unwrap() * value).unwrap();
        let (one, other) = (latents(0.5), latents(-0.5));
        let mut decode = || {
            // Two, since the same one again would not be computed.
            drop(codec.decode(&one).unwrap());
            drop(codec.decode(&other).unwrap());
        };
        decode();
        assert_eq!(
            calls(decode),
            2 * result((1, 3, 128, 192)),
            "{precision:?}, decoding"
        );
    }
}
