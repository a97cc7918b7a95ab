//! The command line: what a script or a curious person can ask without a window.
//!
//! Exit codes: 0 done; 1 failed, with one line on stderr that says what, why, and what to do; 2 wrong usage; 130
//! interrupted.
//! Results go to stdout, progress and messages to stderr, and progress is drawn on a terminal only.

mod bench;
mod export;
mod headless;
mod info;
mod models;
mod render;
mod values;

use std::{
    collections::BTreeSet,
    io::{StdoutLock, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::{
    CommandFactory as _, Parser, Subcommand,
    error::{ContextKind, ErrorKind},
};
use clap_complete::Shell;

use crate::storage::{atomic::between_writes, logs::warn_on_stderr};

const EXAMPLES: &str = "\
Examples:
  wordbrush                                   open the window
  wordbrush castle.wordbrush                  open a project (or an .ora, or an exported picture)
  wordbrush render castle.wordbrush -o castle.png
  wordbrush render scene.json -o out.png --seed 7 --threads 2
  wordbrush export castle.png -o castle.ora   restore the layers from an exported picture
  wordbrush info castle.png --json";

/// A painting app whose brushes carry a meaning.
#[derive(Debug, Parser)]
#[command(name = "wordbrush", version, about, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
struct Arguments {
    /// What to open: a project, an .ora, an exported picture, a palette, or any picture
    file: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Render(render::RenderArguments),
    Export(export::ExportArguments),
    Info(info::InfoArguments),
    Models(models::ModelsArguments),
    Bench(bench::BenchArguments),
    /// Print a completion script for a shell
    #[command(after_help = COMPLETION_EXAMPLES)]
    Completions {
        /// The shell
        shell: Shell,
    },
}

const COMPLETION_EXAMPLES: &str = "\
Examples:
  wordbrush completions bash > ~/.local/share/bash-completion/completions/wordbrush
  wordbrush completions zsh > ~/.zfunc/_wordbrush
  wordbrush completions fish > ~/.config/fish/completions/wordbrush.fish";

/// Why a command ended without doing what was asked.
#[derive(Debug)]
enum Failure {
    /// The arguments contradict each other or cannot be.
    Usage(String),
    /// It was tried and did not work.
    Failed(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// Runs what the command line asks for; `open_window` is called where it asks for the window.
pub fn run(open_window: impl FnOnce(Option<PathBuf>) -> anyhow::Result<()>) -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        // What the parser says of it calls the second word a subcommand.
        Err(wrong) if wrong.kind() == ErrorKind::ArgumentConflict && is_about_a_command(&wrong) => {
            say("wordbrush: the window opens one file, and the first word is no command (see --help)");
            return ExitCode::from(2);
        }
        Err(told) => return tell(&told),
    };
    if arguments.command.is_some() {
        warn_on_stderr();
        end_between_writes();
    }
    let result = match arguments.command {
        None => open_window(arguments.file).map_err(Failure::from),
        Some(Command::Render(arguments)) => render::run(&arguments),
        Some(Command::Export(arguments)) => export::run(&arguments),
        Some(Command::Info(arguments)) => info::run(&arguments),
        Some(Command::Models(arguments)) => models::run(&arguments),
        Some(Command::Bench(arguments)) => bench::run(&arguments),
        Some(Command::Completions { shell }) => print_completions(shell),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Failed(error)) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(Failure::Failed(error)) => {
            say(&format!("wordbrush: {error:#}"));
            ExitCode::FAILURE
        }
        Err(Failure::Usage(message)) => {
            say(&format!("wordbrush: {message} (see --help)"));
            ExitCode::from(2)
        }
    }
}

/// What the parser has to say: help and the version on stdout, wrong usage on stderr.
fn tell(told: &clap::Error) -> ExitCode {
    let printed = told.print().and_then(|()| std::io::stdout().flush());
    match printed {
        Err(error) if !told.use_stderr() && error.kind() != std::io::ErrorKind::BrokenPipe => {
            say(&format!(
                "wordbrush: cannot write to the standard output: {error}"
            ));
            ExitCode::FAILURE
        }
        // Nothing can be said any more if stderr is closed.
        _ => ExitCode::from(u8::try_from(told.exit_code()).unwrap_or(2)),
    }
}

fn is_about_a_command(wrong: &clap::Error) -> bool {
    wrong.get(ContextKind::InvalidSubcommand).is_some()
}

fn print_completions(shell: Shell) -> Result<(), Failure> {
    // Into memory first: the generator panics where stdout is closed.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "wordbrush", &mut script);
    print(|out| out.write_all(&script))
}

/// Writes a result, or a part of it, to stdout.
fn print(write: impl FnOnce(&mut StdoutLock<'_>) -> std::io::Result<()>) -> Result<(), Failure> {
    write(&mut std::io::stdout().lock()).context("cannot write to the standard output")?;
    Ok(())
}

/// As [`print()`], in JSON.
fn print_json(result: &impl serde::Serialize) -> Result<(), Failure> {
    let json = serde_json::to_string_pretty(result)?;
    print(|out| writeln!(out, "{json}"))
}

/// What the system's shells report of a program that was interrupted.
const INTERRUPTED: i32 = 130;

/// Has Ctrl-C end the program, but not in the middle of a file, so that nothing half written is left behind. Where
/// signals are handled otherwise already (as by `nohup`), it stays so.
#[expect(clippy::exit, reason = "an interrupted program ends wherever it is")]
fn end_between_writes() {
    let handled = ctrlc::try_set_handler(|| {
        let _nothing_is_being_written = between_writes();
        std::process::exit(INTERRUPTED);
    });
    if let Err(error) = handled {
        tracing::debug!("interrupts are not handled: {error}");
    }
}

/// One line on stderr, whatever the message holds.
fn say(message: &str) {
    let message = printable(message);
    let line: Vec<&str> = message.split_whitespace().collect();
    // Nothing can be said any more if stderr is closed.
    drop(writeln!(std::io::stderr(), "{}", line.join(" ")));
}

/// A text from a file as a terminal may show it: without the characters that would move its cursor or colour it.
fn printable(text: &str) -> String {
    let is_shown = |character: char| character == '\n' || !character.is_control();
    text.chars()
        .map(|character| if is_shown(character) { character } else { ' ' })
        .collect()
}

/// Writing over what was read would lose what the output cannot hold.
fn check_are_not_inputs(outputs: &[PathBuf], inputs: &[PathBuf]) -> Result<(), Failure> {
    let real = |path: &Path| std::fs::canonicalize(path).ok();
    let inputs: BTreeSet<PathBuf> = inputs.iter().filter_map(|input| real(input)).collect();
    let is_input = |output: &&PathBuf| real(output).is_some_and(|output| inputs.contains(&output));
    match outputs.iter().find(is_input) {
        None => Ok(()),
        Some(output) => Err(Failure::Usage(format!(
            "the output is also an input, choose another name: {}",
            output.display()
        ))),
    }
}

/// Whoever read our output has had enough (`wordbrush info x | head -1`): no failure of ours.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_files_do_not_command_the_terminal() {
        assert_eq!(
            printable("a\u{1b}[31mred\u{9b}0m\ttab\nline \u{7f}木"),
            "a [31mred 0m tab\nline  木"
        );
    }

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }
}
