//! Whether a file is there, found out on a thread of its own: a folder on a network may take its time or never answer.

use std::path::{Path, PathBuf};

use crossbeam_channel::{Receiver, TryRecvError, bounded};
use eframe::egui;

/// Looks at a path that is being typed; one look at a time, whatever is typed meanwhile.
#[derive(Clone, Debug, Default)]
pub(super) struct FileLook {
    known: Option<(PathBuf, bool)>,
    looking: Option<(PathBuf, Receiver<bool>)>,
}

impl FileLook {
    /// Whether there is a file, as far as that is known: the first answer is no, and the window is drawn again when it
    /// is another one. Never waits.
    pub(super) fn is_file(&mut self, ctx: &egui::Context, path: &Path) -> bool {
        if let Some((asked, answer)) = &self.looking {
            match answer.try_recv() {
                Ok(is_file) => self.known = Some((asked.clone(), is_file)),
                Err(TryRecvError::Empty) => return self.known_of(path).unwrap_or(false),
                Err(TryRecvError::Disconnected) => self.known = Some((asked.clone(), false)),
            }
            self.looking = None;
        }
        self.known_of(path).unwrap_or_else(|| {
            self.look(ctx, path.to_owned());
            false
        })
    }

    fn known_of(&self, path: &Path) -> Option<bool> {
        let (_, is_file) = self.known.as_ref().filter(|(known, _)| known == path)?;
        Some(*is_file)
    }

    fn look(&mut self, ctx: &egui::Context, path: PathBuf) {
        let (sender, answer) = bounded(1);
        let (asked, ctx) = (path.clone(), ctx.clone());
        let thread = std::thread::Builder::new()
            .name("file-look".to_owned())
            .spawn(move || {
                // A receiver that is gone means that the window was closed.
                if sender.send(asked.is_file()).is_ok() {
                    ctx.request_repaint();
                }
            });
        match thread {
            Ok(_) => self.looking = Some((path, answer)),
            Err(error) => {
                tracing::warn!("no thread to look for a file: {error}");
                self.known = Some((path, false));
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
        assert!(!look.is_file(&ctx, &there), "it is not known yet");
        let begin = Instant::now();
        while !look.is_file(&ctx, &there) {
            assert!(begin.elapsed() < Duration::from_mins(1), "no answer");
            std::thread::yield_now();
        }
        std::fs::remove_file(&there).unwrap();
        assert!(look.is_file(&ctx, &there), "it is not looked for in every frame");
        assert!(!look.is_file(&ctx, &missing));
        while look.looking.is_some() {
            assert!(begin.elapsed() < Duration::from_mins(1), "no answer");
            assert!(!look.is_file(&ctx, &missing));
        }
        assert!(!look.is_file(&ctx, &there), "typed again, it is looked for again");
    }
}
