//! The engine without a window: paints a sky, grass and a tree, streams, and writes PNGs.
//!
//! ```text
//! cargo run --release -p wordbrush-engine --example headless -- OUT_DIR
//! cargo run --release -p wordbrush-engine --example headless -- OUT_DIR --figures
//! ```
//!
//! `--figures` writes the pictures of docs/ALGORITHM.md instead.
#![expect(clippy::print_stdout, reason = "the example tells what it does")]

mod as_reference;
mod figures;
mod scenes;
mod sheet;
mod stream;

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::Result;
use clap::Parser;
use wordbrush_engine::{
    api::{CanvasSize, ModelChoice, ModelSource},
    low_level::{Compute, LoadProgress, LoadWatch, models},
};

use crate::{scenes::landscape, sheet::write_png, stream::Stream};

/// Streams a painted scene without a window.
#[derive(Parser)]
struct Options {
    /// Where PNGs go.
    out: PathBuf,
    /// A model folder or checkpoint instead of the embedded model.
    #[arg(long)]
    model: Option<PathBuf>,
    /// Side of the canvas in pixels.
    #[arg(long, default_value_t = 256)]
    side: u32,
    /// Write the pictures of docs/ALGORITHM.md.
    #[arg(long)]
    figures: bool,
}

fn main() -> Result<()> {
    let options = Options::parse();
    std::fs::create_dir_all(&options.out)?;
    let source = options.model.map_or(ModelSource::Pocket, ModelSource::Path);
    let ignore = |_: LoadProgress<'_>| {};
    let cancel = false.into();
    let watch = LoadWatch::new(&ignore, &cancel);
    let model = models::load(&ModelChoice::plain(source), &Compute::cpu(), &watch)?;
    println!("{} on {}", model.summary.name, model.summary.device);
    let mut stream = Stream::new(model.parts);
    let size = CanvasSize::new(options.side, options.side)?;
    if options.figures {
        figures::write_all(&mut stream, size, &options.out)
    } else {
        frames(&mut stream, size, &options.out)
    }
}

/// Streams the landscape and writes every frame.
fn frames(stream: &mut Stream, size: CanvasSize, out: &Path) -> Result<()> {
    stream.apply(&landscape(size)?)?;
    for step in 0.. {
        let start = Instant::now();
        let picture = stream.step()?;
        let millis = start.elapsed().as_millis();
        if let Some((picture, kind)) = picture {
            let path = out.join(format!("frame{step}.png"));
            write_png(&path, &picture)?;
            println!("step {step}: {kind:?} after {millis} ms, {}", path.display());
        }
        if stream.session.is_settled() {
            break;
        }
    }
    Ok(())
}
