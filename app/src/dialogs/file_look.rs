//! What is at a path, found out on a thread of its own: a folder on a network may take its time or never answer.

use std::path::{Path, PathBuf};

use crossbeam_channel::{Receiver, TryRecvError, bounded};
use eframe::egui;

/// What is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing, as far as that is known.
    Nothing,
    /// A file.
    File,
    /// A folder.
    Folder,
}

impl Found {
    fn at(path: &Path) -> Self {
        match std::fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => Self::Folder,
            Ok(metadata) if metadata.is_file() => Self::File,
            Ok(_) | Err(_) => Self::Nothing,
        }
    }
}

/// Looks at a path that is being typed; one look at a time, whatever is typed meanwhile.
#[derive(Clone, Debug, Default)]
pub(super) struct FileLook {
    known: Option<(PathBuf, Found)>,
    looking: Option<(PathBuf, Receiver<Found>)>,
}

impl FileLook {
    /// What is there, as far as that is known: the first answer is nothing, and the window is drawn again when it is another
    /// one. Never waits.
    pub(super) fn found(&mut self, ctx: &egui::Context, path: &Path) -> Found {
        if let Some((asked, answer)) = &self.looking {
            match answer.try_recv() {
                Ok(found) => self.known = Some((asked.clone(), found)),
                Err(TryRecvError::Empty) => return self.known_of(path).unwrap_or(Found::Nothing),
                Err(TryRecvError::Disconnected) => self.known = Some((asked.clone(), Found::Nothing)),
            }
            self.looking = None;
        }
        self.known_of(path).unwrap_or_else(|| {
            self.look(ctx, path.to_owned());
            Found::Nothing
        })
    }

    fn known_of(&self, path: &Path) -> Option<Found> {
        let (_, found) = self.known.as_ref().filter(|(known, _)| known == path)?;
        Some(*found)
    }

    fn look(&mut self, ctx: &egui::Context, path: PathBuf) {
        let (sender, answer) = bounded(1);
        let (asked, ctx) = (path.clone(), ctx.clone());
        let thread = std::thread::Builder::new()
            .name("file-look".to_owned())
            .spawn(move || {
                // A receiver that is gone means that the window was closed.
                if sender.send(Found::at(&asked)).is_ok() {
                    ctx.request_repaint();
                }
            });
        match thread {
            Ok(_) => self.looking = Some((path, answer)),
            Err(error) => {
                tracing::warn!("no thread to look for a file: {error}");
                self.known = Some((path, Found::Nothing));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_look_is_made_beside_the_window_and_only_for_another_path() {
        let folder = tempfile::tempdir().unwrap();
        let [there, missing] = ["there.png", "missing.png"].map(|name| folder.path().join(name));
        std::fs::write(&there, "").unwrap();
        let ctx = egui::Context::default();
        let mut look = FileLook::default();
        assert_eq!(look.found(&ctx, &there), Found::Nothing, "it is not known yet");
        let begin = Instant::now();
        while look.found(&ctx, &there) != Found::File {
            assert!(begin.elapsed() < Duration::from_mins(1), "no answer");
            std::thread::yield_now();
        }
        std::fs::remove_file(&there).unwrap();
        let again = look.found(&ctx, &there);
        assert_eq!(again, Found::File, "it is not looked for in every frame");
        assert_eq!(look.found(&ctx, &missing), Found::Nothing);
        while look.looking.is_some() {
            assert!(begin.elapsed() < Duration::from_mins(1), "no answer");
            assert_eq!(look.found(&ctx, &missing), Found::Nothing);
        }
        let typed_again = look.found(&ctx, &there);
        assert_eq!(typed_again, Found::Nothing, "it is looked for again");
        assert_eq!(Found::at(folder.path()), Found::Folder);
    }
}
