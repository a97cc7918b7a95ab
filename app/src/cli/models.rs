//! `wordbrush models`: what is known, what is here, and how to get the rest.

use std::io::{StdoutLock, Write as _};

use anyhow::{Context as _, anyhow};
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::{Failure, print, print_json, say};
use crate::{
    background_tasks::{Progress, TaskThread},
    models_store::{Check, Downloader, KnownModel, ModelState, ModelStore},
    storage::folders::Folders,
};

const EXAMPLES: &str = "\
Examples:
  wordbrush models list
  wordbrush models pull sd15-lcm        goes on where it stopped, if it was stopped
  wordbrush models check                read all downloaded files again and compare their hashes
  wordbrush render scene.json -o out.png --model \"$(wordbrush models path sd-turbo)\"

HF_ENDPOINT names a mirror, HF_TOKEN a token for models that ask for one, WORDBRUSH_HOME another place to keep them.";

const PULL_EXAMPLES: &str = "\
Examples:
  wordbrush models pull sd15-lcm                the model and what it needs besides
  wordbrush models pull sd-turbo sdxl-turbo
  HF_ENDPOINT=https://mirror.example wordbrush models pull taesd

A download that was stopped goes on where it stopped.";

const PATH_EXAMPLES: &str = "\
Examples:
  wordbrush models path                         the folder of all models
  wordbrush models path sd-turbo                what to load of this one";

/// List, download and verify known models
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ModelsArguments {
    #[command(subcommand)]
    command: ModelsCommand,
}

#[derive(Debug, Subcommand)]
enum ModelsCommand {
    /// Print the known models and which of them are here
    List {
        /// As JSON, for scripts
        #[arg(long)]
        json: bool,
    },
    /// Download models
    #[command(after_help = PULL_EXAMPLES)]
    Pull {
        /// Names from `wordbrush models list`
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Compare downloaded files with their hashes
    Check {
        /// Names from `wordbrush models list`; all that are here if left out
        names: Vec<String>,
    },
    /// Print where a model is, or all models if no name is given
    #[command(after_help = PATH_EXAMPLES)]
    Path {
        /// A name from `wordbrush models list`
        name: Option<String>,
    },
}

/// A model as `list --json` prints it.
#[derive(Serialize)]
struct ListedModel<'a> {
    #[serde(flatten)]
    model: &'a KnownModel,
    state: &'static str,
    /// What is here of it.
    local_bytes: Option<u64>,
    total_bytes: u64,
    folder: String,
}

pub(super) fn run(arguments: &ModelsArguments) -> Result<(), Failure> {
    let store = ModelStore::of_user(&Folders::of_user()?);
    match &arguments.command {
        ModelsCommand::List { json } => list(&store, *json),
        ModelsCommand::Pull { names } => pull(&store, names),
        ModelsCommand::Check { names } => check(&store, names),
        ModelsCommand::Path { name } => print_path(&store, name.as_deref()),
    }
}

fn find<'a>(store: &'a ModelStore, name: &str) -> Result<&'a KnownModel, Failure> {
    store.catalogue().find(name).ok_or_else(|| {
        Failure::Usage(format!(
            "there is no model {name:?}: `wordbrush models list` prints the known ones"
        ))
    })
}

fn list(store: &ModelStore, as_json: bool) -> Result<(), Failure> {
    if !as_json {
        return print(|out| print_list(store, out));
    }
    let models = store.catalogue().models().iter();
    let listed: Vec<ListedModel<'_>> = models.map(|model| ListedModel::new(store, model)).collect();
    print_json(&listed)
}

fn print_list(store: &ModelStore, out: &mut StdoutLock<'_>) -> std::io::Result<()> {
    writeln!(out, "{:<16} {:<11} {:>8}  MODEL", "NAME", "STATE", "SIZE")?;
    writeln!(
        out,
        "{:<16} {:<11} {:>8}  The small model that is always there",
        "pocket", "embedded", ""
    )?;
    for model in store.catalogue().models() {
        let state = match store.state(model) {
            ModelState::Missing => "-".to_owned(),
            ModelState::Partial { bytes } => format!("{} here", readable_size(bytes)),
            ModelState::Present => "here".to_owned(),
        };
        let size = readable_size(model.total_bytes());
        writeln!(
            out,
            "{:<16} {state:<11} {size:>8}  {} ({})",
            model.name, model.title, model.licence
        )?;
    }
    Ok(())
}

fn readable_size(bytes: u64) -> String {
    match bytes {
        0..1_000_000_000 => format!("{:.0} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

impl<'a> ListedModel<'a> {
    fn new(store: &ModelStore, model: &'a KnownModel) -> Self {
        let (state, local_bytes) = match store.state(model) {
            ModelState::Missing => ("missing", None),
            ModelState::Partial { bytes } => ("partial", Some(bytes)),
            ModelState::Present => ("present", None),
        };
        Self {
            model,
            state,
            local_bytes,
            total_bytes: model.total_bytes(),
            folder: store.model_folder(model).display().to_string(),
        }
    }
}

fn pull(store: &ModelStore, names: &[String]) -> Result<(), Failure> {
    let models = names
        .iter()
        .map(|name| find(store, name))
        .collect::<Result<Vec<_>, _>>()?;
    let downloads = TaskThread::start("download", || ())?;
    for model in models {
        let (store, model) = (store.clone(), model.clone());
        let bar = byte_bar(&model.name);
        let title = model.title.clone();
        let task = downloads.run(title, move |progress| {
            Downloader::from_environment().pull(&store, &model, progress)?;
            Ok(())
        });
        let mut told = None;
        let result = loop {
            let hindrance = task.progress().hindrance();
            if hindrance != told {
                if let Some(hindrance) = &hindrance {
                    bar.suspend(|| say(&format!("wordbrush: {hindrance}")));
                }
                told = hindrance;
            }
            let (done, total) = task.progress().amounts();
            bar.set_length(total.max(1));
            bar.set_position(done);
            if let Some(result) = task.poll() {
                break result;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        };
        bar.finish_and_clear();
        result.with_context(|| format!("cannot download {:?}", task.name()))?;
    }
    Ok(())
}

fn check(store: &ModelStore, names: &[String]) -> Result<(), Failure> {
    let models: Vec<&KnownModel> = if names.is_empty() {
        let is_here = |model: &&KnownModel| store.state(model) != ModelState::Missing;
        store.catalogue().models().iter().filter(is_here).collect()
    } else {
        names
            .iter()
            .map(|name| find(store, name))
            .collect::<Result<_, _>>()?
    };
    let mut bad_files = 0;
    for model in models {
        for file in &model.files {
            let found = store.check(model, file, &Progress::default())?;
            let word = match found {
                Check::Good => "good",
                Check::Damaged => "DAMAGED",
                Check::Missing => "missing",
                Check::Unknown => "no hash known",
            };
            bad_files += usize::from(matches!(found, Check::Damaged | Check::Missing));
            let path = store.file_path(model, file);
            print(|out| writeln!(out, "{word:<14} {}", path.display()))?;
        }
    }
    if bad_files == 0 {
        return Ok(());
    }
    Err(Failure::Failed(anyhow!(
        "{bad_files} files are damaged or missing: delete the damaged ones and run `wordbrush models pull` again"
    )))
}

fn print_path(store: &ModelStore, name: Option<&str>) -> Result<(), Failure> {
    let path = match name {
        None => store.folder().to_owned(),
        Some(name) => {
            let model = find(store, name)?;
            if store.state(model) != ModelState::Present {
                return Err(Failure::Failed(anyhow!(
                    "model {name:?} is not downloaded yet: run `wordbrush models pull {name}`"
                )));
            }
            match model.checkpoint.as_str() {
                "." => store.model_folder(model),
                file => store.model_folder(model).join(file),
            }
        }
    };
    print(|out| writeln!(out, "{}", path.display()))
}

/// Drawn on a terminal only.
fn byte_bar(name: &str) -> ProgressBar {
    let style =
        ProgressStyle::with_template("{msg:16} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
    // Of an unknown length; a bar of none would be drawn full.
    ProgressBar::new(1)
        .with_style(style)
        .with_message(name.to_owned())
}
