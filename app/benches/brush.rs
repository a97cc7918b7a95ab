//! What a painter waits for: dabs, whole UI frames of a fast stroke, mask filters, upload of frames.
//!
//! `cargo bench -p wordbrush --bench brush`; numbers belong into `docs/PERFORMANCE.md` with machine and commit.

use std::{hint::black_box, time::Duration};

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use eframe::{
    egui::{self, Event, Modifiers, PointerButton, Pos2, RawInput, Rect, pos2, vec2},
    egui_wgpu::{RenderState, RendererOptions, ScreenDescriptor},
};
use egui_kittest::wgpu::{create_render_state, default_wgpu_setup};
use wordbrush::{
    canvas::{AreaSettings, CanvasAction, CanvasDisplay, CanvasInputs, CanvasState, Tool, canvas_ui},
    document::{Document, Edit, History, Target},
    paint::{
        BrushSettings, Dab, Ink, Slope, StrokeBuffer, Symmetry, ellipse_outline, feathered, fill_on_mask,
        grown, polygon_mask,
    },
};
use wordbrush_engine::api::{CanvasSize, Mask, Picture, RegionId};

fn size(side: u32) -> CanvasSize {
    CanvasSize::new(side, side).expect("a possible size")
}

/// Dabs per second, by diameter and hardness.
fn dabs(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("dabs");
    const DABS: u32 = 100;
    group.throughput(Throughput::Elements(DABS.into()));
    for diameter in [8, 32, 100, 200, 500, 1000] {
        for (name, hardness) in [("soft", 0.0), ("hard", 1.0)] {
            let id = BenchmarkId::new(name, diameter);
            group.bench_with_input(
                id,
                &(diameter as f32, hardness),
                |bencher, &(diameter, hardness)| {
                    let mut buffer = StrokeBuffer::new(Mask::new(size(2048)));
                    bencher.iter(|| {
                        for i in 0..DABS {
                            buffer.add(&Dab {
                                centre: [600.0 + 7.3 * i as f32, 900.0 + 1.7 * i as f32],
                                radius_px: diameter / 2.0,
                                hardness,
                                flow: 0.7,
                            });
                        }
                    });
                    black_box(buffer.take_changes(RegionId(1), Ink::Paint, 1.0));
                },
            );
        }
    }
    group.finish();
}

/// A window without a window: runs UI frames and hands what they draw to the graphics card.
struct Window {
    context: egui::Context,
    render_state: RenderState,
    canvas: CanvasState,
    document: Document,
    history: History,
    time: f64,
}

const WINDOW: Rect = Rect {
    min: Pos2::ZERO,
    max: pos2(1400.0, 1000.0),
};

impl Window {
    fn new(side: u32) -> Self {
        let render_state = create_render_state(default_wgpu_setup(), RendererOptions::default());
        let mut document = Document::new(size(side));
        for prompt in ["sky", "meadow", "tree"] {
            let (id, edit) = Edit::new_region(&document, prompt);
            document.apply(edit);
            let reach = side as f32 * 0.7;
            let mask = polygon_mask(document.size, &ellipse_outline([0.0, 0.0], [reach, reach]));
            let edit = Edit::set_mask(&document, id, &mask);
            document.apply(edit);
        }
        Self {
            context: egui::Context::default(),
            canvas: CanvasState::new(Some(&render_state)),
            render_state,
            document,
            history: History::default(),
            time: 0.0,
        }
    }

    /// One frame of the app's own work: canvas, document, history, tessellation, uploads.
    fn frame(&mut self, events: Vec<Event>, brush: BrushSettings, picture: Option<&Picture>) {
        self.time += 1.0 / 60.0;
        let input = RawInput {
            screen_rect: Some(WINDOW),
            max_texture_side: Some(8192),
            time: Some(self.time),
            events,
            ..RawInput::default()
        };
        let Self {
            context,
            canvas,
            document,
            history,
            ..
        } = self;
        let mut output = context.run_ui(input, |ui| {
            let mut actions = Vec::new();
            let inputs = CanvasInputs {
                document,
                target: Target::Region(RegionId(2)),
                tool: Tool::Brush,
                brush,
                symmetry: Symmetry::Off,
                area: AreaSettings::default(),
                frame: picture,
                display: CanvasDisplay::default(),
            };
            canvas_ui(ui, canvas, &inputs, &mut actions);
            for action in actions {
                match action {
                    CanvasAction::Edit { edit, label, gesture } => {
                        history.apply(document, edit, label, gesture);
                    }
                    CanvasAction::EndGesture => history.end_gesture(),
                    _ => {}
                }
            }
        });
        // Glyphs are none of the canvas' business.
        output.textures_delta.clear();
        let shapes = self.context.tessellate(output.shapes, output.pixels_per_point);
        let (device, queue) = (&self.render_state.device, &self.render_state.queue);
        let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let screen = ScreenDescriptor {
            size_in_pixels: [1400, 1000],
            pixels_per_point: 1.0,
        };
        let mut renderer = self.render_state.renderer.write();
        let buffers = renderer.update_buffers(device, queue, &mut encoder, &shapes, &screen);
        queue.submit(buffers.into_iter().chain([encoder.finish()]));
    }

    fn wait_for_card(&self) {
        self.render_state
            .device
            .poll(wgpu::PollType::wait_indefinitely())
            .expect("the card answers");
    }
}

/// CPU time of a UI frame while a fast stroke is painted: 16 pointer events that cross the window.
fn stroke_frames(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("stroke frame");
    group.measurement_time(Duration::from_secs(8)).sample_size(40);
    for (side, diameter) in [(512, 60), (2048, 200), (4096, 400)] {
        let brush = BrushSettings {
            size_px: diameter as f32,
            hardness: 0.5,
            ..BrushSettings::default()
        };
        let id = BenchmarkId::from_parameter(format!("{side}x{side} canvas, {diameter} px brush"));
        group.bench_function(id, |bencher| {
            let mut window = Window::new(side);
            // Until all of the masks lies on the card.
            for _ in 0..10 {
                window.frame(Vec::new(), brush, None);
            }
            let middle = WINDOW.center();
            window.frame(
                vec![
                    Event::PointerMoved(middle),
                    Event::PointerButton {
                        pos: middle,
                        button: PointerButton::Primary,
                        pressed: true,
                        modifiers: Modifiers::NONE,
                    },
                ],
                brush,
                None,
            );
            let mut turn = 0.0_f32;
            bencher.iter(|| {
                let events = (0..16)
                    .map(|_| {
                        turn += 0.13;
                        Event::PointerMoved(middle + 380.0 * vec2((turn * 0.7).cos(), turn.sin()))
                    })
                    .collect();
                window.frame(events, brush, None);
            });
            window.wait_for_card();
        });
    }
    group.finish();
}

/// CPU time of the dearest UI frame after a command changed the whole mask of a region.
fn whole_mask_frames(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("whole mask frame");
    group.sample_size(20);
    for side in [512, 2048, 4096] {
        group.bench_function(BenchmarkId::from_parameter(format!("{side}x{side}")), |bencher| {
            let mut window = Window::new(side);
            let masks = [Mask::full(size(side)), Mask::new(size(side))];
            let mut turn = 0;
            bencher.iter_batched(
                || {
                    turn += 1;
                    masks[turn % 2].clone()
                },
                |mask| {
                    let edit = Edit::set_mask(&window.document, RegionId(2), &mask);
                    window.document.apply(edit);
                    window.frame(Vec::new(), BrushSettings::default(), None);
                },
                BatchSize::PerIteration,
            );
            window.wait_for_card();
        });
    }
    group.finish();
}

/// A new picture of the engine: from its bytes to the card's memory.
fn frame_upload(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("frame upload");
    for side in [512, 1024, 2048] {
        group.throughput(Throughput::Bytes(u64::from(side) * u64::from(side) * 4));
        group.bench_function(BenchmarkId::from_parameter(side), |bencher| {
            let mut window = Window::new(side);
            let pictures =
                [[200, 10, 10, 255], [10, 10, 200, 255]].map(|rgba| Picture::solid(size(side), rgba));
            let mut turn = 0;
            bencher.iter(|| {
                turn += 1;
                window.frame(Vec::new(), BrushSettings::default(), Some(&pictures[turn % 2]));
                window.wait_for_card();
            });
        });
    }
    group.finish();
}

/// Filters over a whole mask, as a menu command runs them.
fn filters(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("filters");
    group.sample_size(10);
    let disc = polygon_mask(size(2048), &ellipse_outline([200.0, 200.0], [1800.0, 1800.0]));
    group.bench_function("grow by 20 px", |bencher| bencher.iter(|| grown(&disc, 20.0)));
    group.bench_function("feather by 20 px", |bencher| {
        bencher.iter(|| feathered(&disc, 20.0));
    });
    group.bench_function("fill", |bencher| {
        bencher.iter(|| fill_on_mask(&disc, [1000, 1000], 20, Slope::Up));
    });
    group.bench_function("draw an ellipse", |bencher| {
        bencher.iter(|| polygon_mask(size(2048), &ellipse_outline([200.0, 200.0], [1800.0, 1800.0])));
    });
    group.finish();
}

criterion_group!(
    benches,
    dabs,
    stroke_frames,
    whole_mask_frames,
    frame_upload,
    filters
);
criterion_main!(benches);
