//! What is logged: to files in the state folder, rotated by size, or to a terminal.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Mutex,
};

use anyhow::Context as _;
use tracing_subscriber::EnvFilter;

/// Overrides what is logged, in the syntax of `tracing` ("debug", "wordbrush=trace").
pub const LOG_VARIABLE: &str = "WORDBRUSH_LOG";
const DEFAULT_FILTER: &str = "warn,wordbrush=info,wordbrush_engine=info";
const FILE_NAME: &str = "wordbrush.log";
/// A file is put aside when it has grown to this size.
const MAX_FILE_BYTES: u64 = 2 << 20;
/// Files that are kept besides the current one: `wordbrush.1.log` is the newest of them.
const KEPT_FILES: u32 = 4;

/// Sends what is logged to a file in `folder`; answers with the file's path.
///
/// # Errors
/// If the folder cannot be written to, or something receives logs already; the program can go on without.
pub fn start(folder: &Path) -> anyhow::Result<PathBuf> {
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let file = RotatingFile::open(folder, MAX_FILE_BYTES)
        .with_context(|| format!("cannot write logs to {}", folder.display()))?;
    let filter = EnvFilter::try_from_env(LOG_VARIABLE).unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(Mutex::new(file))
        .try_init()
        .map_err(|error| anyhow::anyhow!("logs go elsewhere already: {error}"))?;
    Ok(folder.join(FILE_NAME))
}

/// Sends warnings to stderr, one line each: for commands, which have no log file. Where something receives logs already,
/// they stay there.
pub fn warn_on_stderr() {
    let filter = EnvFilter::try_from_env(LOG_VARIABLE)
        .unwrap_or_else(|_| EnvFilter::new("error,wordbrush=warn,wordbrush_engine=warn"));
    let started = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_target(false)
        .without_time()
        .with_writer(io::stderr)
        // Nothing can be said any more if stderr is closed.
        .log_internal_errors(false)
        .try_init();
    drop(started);
}

/// A log file that puts itself aside when it is full.
struct RotatingFile {
    folder: PathBuf,
    file: File,
    bytes: u64,
    max_bytes: u64,
}

impl RotatingFile {
    fn open(folder: &Path, max_bytes: u64) -> io::Result<Self> {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(folder.join(FILE_NAME))?;
        Ok(Self {
            folder: folder.to_owned(),
            bytes: file.metadata()?.len(),
            file,
            max_bytes,
        })
    }

    /// `wordbrush.log` becomes `wordbrush.1.log`, that becomes `wordbrush.2.log`, and the oldest goes.
    fn rotate(&mut self) -> io::Result<()> {
        for number in (1..KEPT_FILES).rev() {
            put_aside(&self.numbered(number), &self.numbered(number + 1))?;
        }
        put_aside(&self.folder.join(FILE_NAME), &self.numbered(1))?;
        *self = Self::open(&self.folder, self.max_bytes)?;
        Ok(())
    }

    fn numbered(&self, number: u32) -> PathBuf {
        self.folder.join(format!("wordbrush.{number}.log"))
    }
}

/// Another instance may have put the same file aside a moment ago.
fn put_aside(from: &Path, to: &Path) -> io::Result<()> {
    match std::fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        renamed => renamed,
    }
}

impl Write for RotatingFile {
    /// One call per line; a line is never torn apart.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // A second instance may have rotated the files meanwhile; then this one goes on in its old file until it is
        // full itself. Nothing is lost that way.
        if self.bytes > 0 && self.bytes + line.len() as u64 > self.max_bytes && self.rotate().is_err() {
            // A folder that lets nothing be renamed: a file that grows is better than lines that are lost. It is tried
            // again when as much has come as a file holds.
            self.bytes = 0;
        }
        let written = self.file.write(line)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::names_in;

    #[test]
    fn full_files_are_put_aside_and_the_oldest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = RotatingFile::open(folder.path(), 20).unwrap();
        for number in 0..20 {
            log.write_all(format!("line {number:04}\n").as_bytes()).unwrap();
        }
        assert_eq!(
            names_in(folder.path()),
            [
                "wordbrush.1.log",
                "wordbrush.2.log",
                "wordbrush.3.log",
                "wordbrush.4.log",
                "wordbrush.log"
            ]
        );
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(read("wordbrush.log"), "line 0018\nline 0019\n");
        assert_eq!(read("wordbrush.1.log"), "line 0016\nline 0017\n");
    }

    #[test]
    fn no_line_is_lost_when_files_cannot_be_put_aside() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = RotatingFile::open(folder.path(), 10).unwrap();
        log.write_all(b"line 1\n").unwrap();
        // Somebody has removed the file; and a folder stands where the oldest one should go.
        std::fs::remove_file(folder.path().join(FILE_NAME)).unwrap();
        log.write_all(b"line 2\n").unwrap();
        std::fs::write(folder.path().join("wordbrush.3.log"), "line 0\n").unwrap();
        std::fs::create_dir_all(folder.path().join("wordbrush.4.log/full")).unwrap();
        log.write_all(b"line 3\n").unwrap();
        assert_eq!(
            std::fs::read(folder.path().join(FILE_NAME)).unwrap(),
            b"line 2\nline 3\n"
        );
    }

    #[test]
    fn a_file_is_continued_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        for line in [b"one\n", b"two\n"] {
            RotatingFile::open(folder.path(), 100)
                .unwrap()
                .write_all(line)
                .unwrap();
        }
        assert_eq!(
            std::fs::read(folder.path().join(FILE_NAME)).unwrap(),
            b"one\ntwo\n"
        );
    }
}
