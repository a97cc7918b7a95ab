//! `wordbrush bench`: what this machine can do, measured through the engine as the window uses it.

use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;
use wordbrush_engine::{
    CardState, ProcessorPeak,
    api::{
        CanvasSize, Command, DeviceChoice, EngineConfig, Frame, FrameKind, Mask, PassOrder, PictureMode,
        Precision, RegionId, Revision, RunState, StageTimings, StageWork, StepList,
    },
    card_gflops, card_state, processor_peak,
};

use super::{
    Failure,
    headless::Headless,
    print, print_json,
    render::{self, progress_bar},
    values,
};
use crate::document::{Document, RegionLayer, region_colour};

const EXAMPLES: &str = "\
Examples:
  wordbrush bench
  wordbrush bench --size 512x512 --regions 3 --steps 5 --json > here.json
  wordbrush bench --size 256x256,512x512 --regions 1,3
  wordbrush bench --model random-sd15 --device cuda --table";

/// Measure this machine: frames per second, milliseconds per stage, edit to picture, memory
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct BenchArguments {
    /// pocket, random-sd15 (full size, random weights), a name from `wordbrush models list`, or a path
    #[arg(long, default_value = "pocket", value_name = "MODEL")]
    model: String,
    /// Canvas in pixels; several, with commas between them, make a table
    #[arg(long, default_value = "256x256", value_name = "WxH", value_delimiter = ',', value_parser = values::parse_size)]
    size: Vec<CanvasSize>,
    /// Number of painted regions; several make a table
    #[arg(long, default_values_t = [3], value_name = "N", value_delimiter = ',', value_parser = clap::value_parser!(u8).range(0..=64))]
    regions: Vec<u8>,
    /// Number of steps; several make a table
    #[arg(long, default_values_t = [5], value_name = "N", value_delimiter = ',', value_parser = clap::value_parser!(u8).range(1..=i64::from(StepList::GRID)))]
    steps: Vec<u8>,
    /// A table of 512x512, 768x512 and 1920x768 with 1, 3 and 8 regions, in 5 and 4 steps
    #[arg(long, conflicts_with_all = ["size", "regions", "steps"])]
    table: bool,
    /// Where to compute: auto, cpu, cuda, cuda:N or metal
    #[arg(long, default_value = "auto", value_name = "DEVICE", value_parser = values::parse_device)]
    device: DeviceChoice,
    /// CPU threads; all if left out
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Order of the passes: auto, batch or sequential
    #[arg(long, default_value = "auto", value_name = "ORDER", value_parser = parse_order)]
    order: PassOrder,
    /// How long frames are counted
    #[arg(long, default_value_t = 5, value_name = "S", value_parser = clap::value_parser!(u16).range(1..=3600))]
    seconds: u16,
    /// Edits that are timed
    #[arg(long, default_value_t = 7, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=100))]
    edits: u8,
    /// As JSON, for scripts
    #[arg(long)]
    json: bool,
}

fn parse_order(text: &str) -> Result<PassOrder, String> {
    match text {
        "auto" => Ok(PassOrder::Auto),
        "batch" => Ok(PassOrder::StreamBatch),
        "sequential" => Ok(PassOrder::Sequential),
        _ => Err("write auto, batch or sequential".to_owned()),
    }
}

#[derive(Serialize)]
struct Report {
    program: String,
    model: String,
    parameters: u64,
    device: String,
    threads: usize,
    size: [u32; 2],
    regions: u8,
    steps: u8,
    load_ms: f64,
    /// From the first scene to the first finished picture.
    first_picture_ms: f64,
    /// While nothing is edited, with new noise for each frame.
    frames_per_second: f64,
    frames: u64,
    /// Milliseconds per frame, by stage.
    stages: StageTimings,
    /// Rows that the denoiser computes in a second: regions at noise levels.
    rows_per_second: f64,
    /// What the stages reach of what the processor can; absent on graphics cards.
    processor: Option<Processor>,
    /// What the stages reach of what the card can; absent on processors.
    card: Option<Card>,
    edit_to_first_preview_ms: Spread,
    edit_to_final_ms: Spread,
    /// From words that were never seen before to their first look.
    prompt_to_first_preview_ms: Spread,
    /// Of that, the text encoder.
    prompt_encoding_ms: Spread,
    memory: Memory,
}

/// The speed of the processor and of the stages that are made of matrix products.
#[derive(Serialize)]
struct Processor {
    precision: Precision,
    instructions: &'static str,
    /// The fastest matrix product of this program's own, measured after the frames with as many threads.
    peak_gflops: f64,
    denoise: StageSpeed,
    decode: StageSpeed,
}

/// The speed of the card and of the stages that are made of matrix products.
#[derive(Serialize)]
struct Card {
    precision: Precision,
    /// The fastest product of two matrices of 8192 x 8192, measured after the frames.
    matrix_gflops: f64,
    denoise: StageSpeed,
    decode: StageSpeed,
    /// Whether it was the fast ways that were measured.
    #[serde(flatten)]
    state: Option<CardState>,
}

/// Floating-point operations, counted as they are computed: a multiplication and its addition are two.
#[derive(Serialize)]
struct StageSpeed {
    /// Billions a frame.
    gflop: f64,
    /// Billions a second.
    gflops: f64,
    /// Of the peak.
    share_of_peak: f64,
}

impl StageSpeed {
    fn new(gflop: f64, millis: f32, peak_gflops: f64) -> Self {
        let gflops = if millis > 0.0 {
            gflop * 1000.0 / f64::from(millis)
        } else {
            0.0
        };
        Self {
            gflop,
            gflops,
            share_of_peak: if peak_gflops > 0.0 {
                gflops / peak_gflops
            } else {
                0.0
            },
        }
    }
}

/// Of several measurements.
#[derive(Serialize)]
struct Spread {
    median: f64,
    best: f64,
    worst: f64,
}

#[derive(Serialize)]
#[expect(clippy::struct_field_names, reason = "the JSON says its units")]
struct Memory {
    /// Weights, caches and the stream's state, as the engine counts them; of a card all that is in use there.
    device_bytes: u64,
    /// The most that tensors took on a card at once.
    device_peak_bytes: Option<u64>,
    /// The most that the process had so far, where the system tells.
    process_peak_bytes: Option<u64>,
}

pub(super) fn run(arguments: &BenchArguments) -> Result<(), Failure> {
    let canvases = arguments.canvases();
    if let [canvas] = canvases[..] {
        let report = Bench::start(arguments, canvas)?.run(arguments, canvas)?;
        return if arguments.json {
            print_json(&report)
        } else {
            print(|out| report.print(out))
        };
    }
    let mut reports = Vec::new();
    for canvas in canvases {
        let report = Bench::start(arguments, canvas)?.run(arguments, canvas)?;
        if !arguments.json {
            if reports.is_empty() {
                print(|out| report.print_head(out))?;
            }
            print(|out| report.print_row(out))?;
        }
        reports.push(report);
    }
    if arguments.json {
        print_json(&reports)?;
    }
    Ok(())
}

/// What is painted for one report.
#[derive(Clone, Copy)]
struct BenchCanvas {
    size: CanvasSize,
    regions: u8,
    steps: u8,
}

impl BenchArguments {
    /// All combinations, the smallest first.
    fn canvases(&self) -> Vec<BenchCanvas> {
        const SIZES: [(u32, u32); 3] = [(512, 512), (768, 512), (1920, 768)];
        let (sizes, regions, steps) = if self.table {
            let sizes = SIZES
                .iter()
                .filter_map(|&(width, height)| CanvasSize::new(width, height).ok());
            (sizes.collect(), vec![1, 3, 8], vec![5, 4])
        } else {
            (self.size.clone(), self.regions.clone(), self.steps.clone())
        };
        let mut canvases = Vec::new();
        for &size in &sizes {
            for &regions in &regions {
                canvases.extend(steps.iter().map(|&steps| BenchCanvas { size, regions, steps }));
            }
        }
        canvases
    }
}

struct Bench {
    engine: Headless,
    document: Document,
    revision: Revision,
    load_ms: f64,
}

impl Bench {
    fn start(arguments: &BenchArguments, canvas: BenchCanvas) -> anyhow::Result<Self> {
        let model = values::model_from_name(&arguments.model, std::path::Path::new("."))?;
        let mut document = scene(canvas, arguments.order);
        document.model = model.clone();
        let begun = Instant::now();
        let mut engine = Headless::start(EngineConfig {
            model: Some(model),
            device: arguments.device,
            precision: None,
            threads: arguments.threads.map(usize::from),
        })?;
        engine.wait_for_model()?;
        Ok(Self {
            engine,
            document,
            revision: Revision(0),
            load_ms: millis(begun),
        })
    }

    fn run(mut self, arguments: &BenchArguments, canvas: BenchCanvas) -> anyhow::Result<Report> {
        let whole = self.document.clone();
        let bar = progress_bar(2 * u64::from(arguments.edits) + u64::from(arguments.seconds));
        bar.set_message("first picture");
        let begun = Instant::now();
        self.settle()?;
        render::report(&mut self.engine);
        let first_picture_ms = millis(begun);

        bar.set_message("edits");
        let (mut previews, mut finals) = (Vec::new(), Vec::new());
        for number in 0..arguments.edits {
            let (preview, settled) = self.time_edit(number)?;
            previews.push(preview);
            finals.push(settled);
            bar.inc(1);
        }

        bar.set_message("prompts");
        let (mut words, mut encodings) = (Vec::new(), Vec::new());
        for number in 0..arguments.edits {
            let (preview, encoding) = self.time_prompt(number)?;
            words.push(preview);
            // The frame that reports it may have been replaced by a later one before it was taken.
            encodings.extend((encoding > 0.0).then_some(encoding));
            bar.inc(1);
        }

        bar.set_message("frames");
        // The edits may have left less to paint.
        self.document = whole;
        let Counted {
            frames,
            seconds,
            stages,
            work,
            rows,
        } = self.count_frames(arguments, &mut |second| {
            bar.set_position(2 * u64::from(arguments.edits) + second);
        })?;
        bar.finish_and_clear();
        let Self { engine, load_ms, .. } = self;
        let status = engine.status();
        let model = engine.model().cloned();
        // Read before more is measured, which takes memory of its own, and with the engine at an end, which takes time.
        let process_peak_bytes = process_peak_bytes();
        drop(engine);
        let threads = arguments
            .threads
            .map(usize::from)
            .or_else(|| std::thread::available_parallelism().ok().map(usize::from))
            .unwrap_or(1);
        let counted = model.as_ref().filter(|_| work.denoise_gflop > 0.0);
        let is_on_card = status.device_peak_bytes > 0;
        let processor = counted
            .filter(|_| !is_on_card)
            .map(|model| Processor::measure(model.precision, threads, &stages, work));
        let card = counted
            .filter(|_| is_on_card)
            .map(|model| Card::measure(arguments.device, model.precision, &stages, work))
            .transpose()?;
        let rows_per_second = 1000.0 * rows / f64::from(stages.denoise_ms).max(1e-3);
        Ok(Report {
            program: crate::storage::program_name(),
            model: model
                .as_ref()
                .map_or_else(|| arguments.model.clone(), |model| model.name.clone()),
            parameters: model.map_or(0, |model| model.parameters),
            device: status.device,
            threads,
            size: [canvas.size.width(), canvas.size.height()],
            regions: canvas.regions,
            steps: canvas.steps,
            load_ms,
            first_picture_ms,
            frames_per_second: frames as f64 / seconds,
            frames,
            stages,
            rows_per_second,
            processor,
            card,
            edit_to_first_preview_ms: Spread::of(previews),
            edit_to_final_ms: Spread::of(finals),
            prompt_to_first_preview_ms: Spread::of(words),
            prompt_encoding_ms: Spread::of(encodings),
            memory: Memory {
                device_bytes: status.device_memory_bytes,
                device_peak_bytes: is_on_card.then_some(status.device_peak_bytes),
                process_peak_bytes,
            },
        })
    }

    fn send_scene(&mut self) {
        self.revision.0 += 1;
        let scene = Box::new(self.document.scene());
        self.engine.send(Command::SetScene(self.revision, scene));
    }

    fn wait(&mut self, is_wanted: impl Fn(&Frame) -> bool) -> anyhow::Result<Frame> {
        self.engine.wait_for_frame(&mut |_| (), is_wanted)
    }

    fn settle(&mut self) -> anyhow::Result<()> {
        self.engine.send(Command::Run(RunState::Running));
        self.send_scene();
        let revision = self.revision;
        self.wait(|frame| is_final(frame, revision)).map(drop)
    }

    /// Paints a spot; answers with the milliseconds to its first look and to its finished picture.
    fn time_edit(&mut self, number: u8) -> anyhow::Result<(f64, f64)> {
        let size = self.document.size;
        match self.document.regions.last_mut() {
            Some(region) => {
                let across = f64::from(number % 8 + 1) / 9.0;
                region.mask = disc(size, across, 0.5, 0.15);
            }
            None => self.document.background.prompt = format!("sky {number}"),
        }
        let begun = Instant::now();
        self.send_scene();
        let revision = self.revision;
        let first = self.wait(|frame| frame.revision >= revision)?;
        let preview = millis(begun);
        if !is_final(&first, revision) {
            self.wait(|frame| is_final(frame, revision))?;
        }
        Ok((preview, millis(begun)))
    }

    /// Gives a region words that it never had; answers with the milliseconds to their first look, and to encode them.
    fn time_prompt(&mut self, number: u8) -> anyhow::Result<(f64, f64)> {
        let words = format!("a small painting, number {number}");
        match self.document.regions.last_mut() {
            Some(region) => region.prompt = words,
            None => self.document.background.prompt = words,
        }
        let begun = Instant::now();
        self.send_scene();
        let revision = self.revision;
        let first = self.wait(|frame| frame.revision >= revision)?;
        let preview = millis(begun);
        if !is_final(&first, revision) {
            self.wait(|frame| is_final(frame, revision))?;
        }
        Ok((preview, first.timings.encode_ms.into()))
    }

    /// Counts frames, and what they took on average.
    fn count_frames(
        &mut self,
        arguments: &BenchArguments,
        told: &mut dyn FnMut(u64),
    ) -> anyhow::Result<Counted> {
        self.document.settings.picture = PictureMode::Dream;
        self.send_scene();
        let revision = self.revision;
        // The first ones belong to the change.
        let mut last = self.wait(|frame| is_final(frame, revision))?;
        // Then there would be no other frame to wait for.
        anyhow::ensure!(
            last.work.denoise_rows > 0,
            "nothing is painted on a canvas of {} x {} px, which is too small: choose a larger --size",
            self.document.size.width(),
            self.document.size.height()
        );
        let (first_sequence, begun) = (last.sequence, Instant::now());
        let mut sum = StageTimings::default();
        let mut work = StageWork::default();
        let (mut received, mut rows) = (0_u16, 0_u64);
        while begun.elapsed() < Duration::from_secs(arguments.seconds.into()) {
            last = self.wait(|_| true)?;
            add(&mut sum, &last.timings);
            work.denoise_gflop += last.work.denoise_gflop;
            work.decode_gflop += last.work.decode_gflop;
            rows += u64::from(last.work.denoise_rows);
            received = received.saturating_add(1);
            told(begun.elapsed().as_secs());
        }
        let count = received.max(1);
        Ok(Counted {
            frames: last.sequence - first_sequence,
            seconds: begun.elapsed().as_secs_f64(),
            stages: divided(&sum, count.into()),
            work: StageWork {
                denoise_gflop: work.denoise_gflop / f64::from(count),
                decode_gflop: work.decode_gflop / f64::from(count),
                denoise_rows: 0,
            },
            rows: rows as f64 / f64::from(count),
        })
    }
}

/// Frames of some seconds.
struct Counted {
    frames: u64,
    seconds: f64,
    /// On average.
    stages: StageTimings,
    /// On average, rows apart.
    work: StageWork,
    /// Of the denoiser, on average.
    rows: f64,
}

impl Processor {
    fn measure(precision: Precision, threads: usize, stages: &StageTimings, work: StageWork) -> Self {
        let ProcessorPeak { gflops, instructions } = processor_peak(precision, threads);
        Self {
            precision,
            instructions,
            peak_gflops: gflops,
            denoise: StageSpeed::new(work.denoise_gflop, stages.denoise_ms, gflops),
            decode: StageSpeed::new(work.decode_gflop, stages.decode_ms, gflops),
        }
    }
}

impl Card {
    /// # Errors
    /// If the card has no room for the matrices.
    fn measure(
        device: DeviceChoice,
        precision: Precision,
        stages: &StageTimings,
        work: StageWork,
    ) -> anyhow::Result<Self> {
        // Before the card is opened once more.
        let state = card_state();
        let gflops = card_gflops(device, precision)?;
        Ok(Self {
            precision,
            matrix_gflops: gflops,
            denoise: StageSpeed::new(work.denoise_gflop, stages.denoise_ms, gflops),
            decode: StageSpeed::new(work.decode_gflop, stages.decode_ms, gflops),
            state,
        })
    }
}

fn is_final(frame: &Frame, revision: Revision) -> bool {
    frame.revision >= revision && frame.kind == FrameKind::Complete && frame.steps_until_settled == 0
}

fn millis(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}

/// Overlapping spots on a sky.
fn scene(canvas: BenchCanvas, order: PassOrder) -> Document {
    const WORDS: [&str; 8] = ["grass", "tree", "sun", "house", "sea", "flower", "forest", "cat"];
    let mut document = Document::new(canvas.size);
    "sky".clone_into(&mut document.background.prompt);
    document.settings.steps = StepList::with_count(canvas.steps.into());
    document.settings.pass_order = order;
    if canvas.regions == 0 {
        // Something has to be painted.
        document.background.keep_strength = 0.0;
    }
    let count = f64::from(canvas.regions);
    for number in 0..canvas.regions {
        let across = (f64::from(number) + 0.5) / count;
        let word = WORDS[usize::from(number) % WORDS.len()];
        let id = RegionId(u64::from(number) + 1);
        document.regions.push(RegionLayer {
            mask: disc(canvas.size, across, 0.55, 0.25),
            ..RegionLayer::new(id, canvas.size, region_colour(number.into()), word)
        });
    }
    document
}

/// A disc by its centre and radius as parts of the canvas.
fn disc(size: CanvasSize, x: f64, y: f64, radius: f64) -> Mask {
    let (width, height) = (f64::from(size.width()), f64::from(size.height()));
    let radius = radius * width.min(height);
    let coverage: Vec<u8> = (0..size.area())
        .map(|pixel| {
            let column = (pixel % size.width() as usize) as f64 - x * width;
            let row = (pixel / size.width() as usize) as f64 - y * height;
            if column.hypot(row) < radius { 255 } else { 0 }
        })
        .collect();
    Mask::from_coverage(size, &coverage).unwrap_or_else(|_| Mask::new(size))
}

fn add(sum: &mut StageTimings, one: &StageTimings) {
    sum.encode_ms += one.encode_ms;
    sum.masks_ms += one.masks_ms;
    sum.denoise_ms += one.denoise_ms;
    sum.blend_ms += one.blend_ms;
    sum.decode_ms += one.decode_ms;
    sum.copy_ms += one.copy_ms;
    sum.total_ms += one.total_ms;
}

fn divided(sum: &StageTimings, count: f32) -> StageTimings {
    StageTimings {
        encode_ms: sum.encode_ms / count,
        masks_ms: sum.masks_ms / count,
        denoise_ms: sum.denoise_ms / count,
        blend_ms: sum.blend_ms / count,
        decode_ms: sum.decode_ms / count,
        copy_ms: sum.copy_ms / count,
        total_ms: sum.total_ms / count,
    }
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(0.0);
        Self {
            median: at(values.len() / 2),
            best: at(0),
            worst: at(values.len().saturating_sub(1)),
        }
    }
}

/// From the kernel, on Linux.
fn process_peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

impl Report {
    /// Billions of operations a second in matrix products, and of the denoiser and of decoding.
    fn speeds(&self) -> Option<(f64, [&StageSpeed; 2])> {
        let on_processor = self
            .processor
            .as_ref()
            .map(|processor| (processor.peak_gflops, [&processor.denoise, &processor.decode]));
        on_processor.or_else(|| {
            let card = self.card.as_ref()?;
            Some((card.matrix_gflops, [&card.denoise, &card.decode]))
        })
    }

    /// Whether it was a card's fast ways that were measured.
    fn card_state(&self) -> Option<&CardState> {
        self.card.as_ref()?.state.as_ref()
    }

    /// What stands above the rows of a table.
    fn print_head(&self, out: &mut impl std::io::Write) -> std::io::Result<()> {
        writeln!(
            out,
            "{} on {}; encoding is beside the stream",
            self.model, self.device
        )?;
        if let Some((peak, _)) = self.speeds() {
            writeln!(out, "matrix products reach {:.2} TFLOP/s", peak / 1e3)?;
        }
        writeln!(out)?;
        writeln!(
            out,
            "| canvas | regions | steps | frames/s | encode ms | denoise | blend | decode | copy | rows/s | denoise \
             TFLOP/s | of products | peak GB | kernels | recordings |"
        )?;
        writeln!(out, "|{}", "---|".repeat(15))
    }

    /// Its row of a table.
    fn print_row(&self, out: &mut impl std::io::Write) -> std::io::Result<()> {
        let [width, height] = self.size;
        let stages = &self.stages;
        let speed = self.speeds().map_or_else(
            || " | ".to_owned(),
            |(_, [denoise, _])| {
                format!(
                    "{:.2} | {:.0} %",
                    denoise.gflops / 1e3,
                    denoise.share_of_peak * 100.0
                )
            },
        );
        let ways = self.card_state().map_or_else(
            || " | ".to_owned(),
            |CardState { kernels, recordings }| format!("{kernels} | {recordings}"),
        );
        let memory = &self.memory;
        let peak = memory
            .device_peak_bytes
            .or(memory.process_peak_bytes)
            .unwrap_or(0);
        writeln!(
            out,
            "| {width}x{height} | {} | {} | {:.2} | {:.1} | {:.2} | {:.2} | {:.2} | {:.2} | {:.1} | {speed} | {:.2} | {ways} |",
            self.regions,
            self.steps,
            self.frames_per_second,
            self.prompt_encoding_ms.median,
            stages.denoise_ms,
            stages.blend_ms,
            stages.decode_ms,
            stages.copy_ms,
            self.rows_per_second,
            peak as f64 / 1e9,
        )?;
        out.flush()
    }

    fn print(&self, out: &mut impl std::io::Write) -> std::io::Result<()> {
        let [width, height] = self.size;
        let Self { regions, steps, .. } = self;
        writeln!(out, "{} on {}, {} threads", self.model, self.device, self.threads)?;
        writeln!(out, "{width} x {height}, {regions} regions, {steps} steps")?;
        writeln!(out, "loading              {:>9.1} ms", self.load_ms)?;
        writeln!(out, "first picture        {:>9.1} ms", self.first_picture_ms)?;
        let latencies = [
            ("edit, first preview", &self.edit_to_first_preview_ms),
            ("edit, final", &self.edit_to_final_ms),
            ("words, first preview", &self.prompt_to_first_preview_ms),
            ("  encoding of these", &self.prompt_encoding_ms),
        ];
        for (name, spread) in latencies {
            let Spread { median, best, worst } = spread;
            writeln!(out, "{name:<20} {median:>9.1} ms   ({best:.1} to {worst:.1})")?;
        }
        writeln!(
            out,
            "frames per second    {:>9.2}      ({} frames)",
            self.frames_per_second, self.frames
        )?;
        let stages = &self.stages;
        for (name, value) in [
            ("encode", stages.encode_ms),
            ("masks", stages.masks_ms),
            ("denoise", stages.denoise_ms),
            ("blend", stages.blend_ms),
            ("decode", stages.decode_ms),
            ("copy", stages.copy_ms),
            ("all", stages.total_ms),
        ] {
            writeln!(out, "  {name:<18} {value:>9.2} ms a frame")?;
        }
        writeln!(out, "rows of the denoiser {:>9.1} a second", self.rows_per_second)?;
        if let Some((peak, [denoise, decode])) = self.speeds() {
            let (precision, with) = match (&self.processor, &self.card) {
                (Some(processor), _) => (processor.precision, processor.instructions),
                (None, Some(card)) => (card.precision, "cuBLAS"),
                (None, None) => return Ok(()),
            };
            writeln!(
                out,
                "matrix products      {peak:>9.1} GFLOP/s at best ({with}, {precision:?})"
            )?;
            for (name, speed) in [("denoise", denoise), ("decode", decode)] {
                let StageSpeed { gflop, gflops, .. } = speed;
                let percent = speed.share_of_peak * 100.0;
                writeln!(
                    out,
                    "  {name:<18} {gflops:>9.1} GFLOP/s, {percent:.0} % of that ({gflop:.2} GFLOP a frame)"
                )?;
            }
        }
        if let Some(state) = self.card_state() {
            writeln!(out, "{state}")?;
        }
        writeln!(
            out,
            "memory of the engine {:>9.1} MB",
            self.memory.device_bytes as f64 / 1e6
        )?;
        if let Some(bytes) = self.memory.device_peak_bytes {
            writeln!(out, "tensors on the card  {:>9.1} MB at most", bytes as f64 / 1e6)?;
        }
        if let Some(bytes) = self.memory.process_peak_bytes {
            writeln!(out, "memory of the process{:>9.1} MB at most", bytes as f64 / 1e6)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_are_work_over_time_and_compared_with_the_peak() {
        let speed = StageSpeed::new(3.0, 20.0, 600.0);
        assert_eq!((speed.gflops, speed.share_of_peak), (150.0, 0.25));
        let nothing = StageSpeed::new(3.0, 0.0, 0.0);
        assert_eq!((nothing.gflops, nothing.share_of_peak), (0.0, 0.0));
    }
}
