//! The kernels of the processor one by one, in the pocket model's sizes, and the whole of its step.
//!
//! `cargo bench -p wordbrush-engine --bench cpu_ops`
use std::{hint::black_box, sync::atomic::AtomicBool};

use candle_core::{Device, Tensor};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use wordbrush_engine::{
    api::{DeviceChoice, ModelChoice, ModelSource, Precision},
    low_level::{
        Compute, LoadWatch,
        models::{self, traits::Row},
        ops::{Isa, KernelBench},
    },
};

fn kernels(criterion: &mut Criterion) {
    for (precision, is_bf16) in [("f32", false), ("bf16", true)] {
        let mut group = criterion.benchmark_group(format!("{} {precision}", Isa::best().name()));
        for (side, from, to) in [(32, 48, 48), (16, 96, 96), (8, 160, 160), (16, 192, 96)] {
            let mut bench = KernelBench::convolution(side, from, to, is_bf16);
            group.throughput(Throughput::Elements(bench.multiplications()));
            let name = format!("{side}x{side}, {from} to {to}");
            group.bench_function(BenchmarkId::new("convolution", name), |b| b.iter(|| bench.run()));
        }
        for (count, from, to) in [(256, 96, 288), (256, 96, 768), (64, 160, 1280)] {
            let mut bench = KernelBench::linear(count, from, to, is_bf16);
            group.throughput(Throughput::Elements(bench.multiplications()));
            let name = format!("{count} rows, {from} to {to}");
            group.bench_function(BenchmarkId::new("linear", name), |b| b.iter(|| bench.run()));
        }
        for (count, heads, width) in [(256, 3, 32), (64, 5, 32)] {
            let mut bench = KernelBench::attention(count, heads, width, is_bf16);
            group.throughput(Throughput::Elements(bench.multiplications()));
            let name = format!("{count} tokens, {heads} heads of {width}");
            group.bench_function(BenchmarkId::new("attention", name), |b| b.iter(|| bench.run()));
        }
        for (side, channels) in [(32, 48), (16, 96), (8, 160)] {
            let mut bench = KernelBench::group_norm(side, channels, is_bf16);
            group.throughput(Throughput::Elements((side * side * channels) as u64));
            let name = format!("{side}x{side}, {channels} channels");
            group.bench_function(BenchmarkId::new("group norm and silu", name), |b| {
                b.iter(|| bench.run());
            });
        }
        group.finish();
    }
}

fn pocket(criterion: &mut Criterion) {
    let choice = ModelChoice::plain(ModelSource::Pocket);
    for precision in [Precision::F32, Precision::Bf16] {
        let load = || {
            let compute = Compute::choose(DeviceChoice::Cpu, Some(precision)).ok()?;
            let watch = AtomicBool::new(false);
            models::load(&choice, &compute, &LoadWatch::new(&|_| {}, &watch)).ok()
        };
        let Some(mut model) = load() else { return };
        let parts = &mut model.parts;
        let mut group = criterion.benchmark_group(format!("pocket {precision:?}"));
        group.sample_size(20);
        let conditioning = parts
            .text_encoder
            .encode("sunset")
            .expect("a prompt can be encoded");
        let prompt = parts
            .denoiser
            .prepare(&conditioning)
            .expect("a prompt can be prepared");
        let latents = |rows: usize| {
            Tensor::randn(0_f32, 1.0, (rows, 4, 32, 32), &Device::Cpu).expect("latents can be made")
        };
        for rows in [1, 3, 15] {
            let latents = latents(rows);
            let rows = vec![
                Row {
                    timestep: 499.0,
                    prompt: &prompt
                };
                rows
            ];
            group.throughput(Throughput::Elements(rows.len() as u64));
            group.bench_function(BenchmarkId::new("predict", rows.len()), |b| {
                b.iter(|| black_box(parts.denoiser.predict(&latents, &rows)));
            });
        }
        // Two in turn: a latent that was just decoded would not be computed again.
        let (one, other) = (latents(1), latents(1));
        group.throughput(Throughput::Elements(2));
        group.bench_function("decode two", |b| {
            b.iter(|| black_box((parts.codec.decode(&one), parts.codec.decode(&other))));
        });
        group.throughput(Throughput::Elements(1));
        group.bench_function("a prompt to keys and values", |b| {
            b.iter(|| {
                let conditioning = parts.text_encoder.encode("a boat on the sea at night");
                black_box(conditioning.and_then(|conditioning| parts.denoiser.prepare(&conditioning)))
            });
        });
        group.finish();
    }
}

criterion_group!(benches, kernels, pocket);
criterion_main!(benches);
