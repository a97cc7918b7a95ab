//! The keys file: written as a beginning, and read again whenever it may have changed.

use std::path::{Path, PathBuf};

use eframe::egui::{self, Event};

use super::App;
use crate::{
    keymap::{KeyPreset, Keymap},
    notifications::{Level, Notifications},
    storage::atomic::{PreviousVersion, write_bytes_atomically},
};

/// What became of the wish for a keys file.
enum KeysFile {
    Written,
    /// It stays as its owner has written it, also where it cannot be used.
    WasThere,
}

/// Its name, among the preferences.
pub(super) const KEYS_FILE: &str = "keys.toml";

/// The keys in use, and the text of the file that they are from.
pub(super) struct Keys {
    pub(super) map: Keymap,
    /// `None` where there is no file.
    text: Option<String>,
}

impl Keys {
    /// A preset, with the replacements of a file if there is one that can be used.
    pub(super) fn load(preset: KeyPreset, path: Option<&Path>, notifications: &mut Notifications) -> Self {
        let mut keys = Self {
            map: Keymap::new(preset),
            text: None,
        };
        match path.map(read) {
            Some(Ok(text)) => keys.take(preset, text, notifications),
            Some(Err(error)) => {
                notifications.push(Level::Warning, format!("The keys file is not used: {error:#}"));
            }
            None => {}
        }
        keys
    }

    /// Takes over what the file says now; one that cannot be understood leaves the keys as they are.
    fn take(&mut self, preset: KeyPreset, text: Option<String>, notifications: &mut Notifications) {
        if text == self.text {
            return;
        }
        match Keymap::from_toml(preset, text.as_deref().unwrap_or_default()) {
            Ok(map) => {
                let clashes = map.clashes();
                if !clashes.is_empty() {
                    notifications.push(Level::Warning, format!("The keys file: {}.", clashes.join("; ")));
                }
                self.map = map;
            }
            Err(error) => {
                notifications.push(Level::Warning, format!("The keys file is not used: {error:#}"));
            }
        }
        self.text = text;
    }
}

/// The text of the keys file, if there is one.
fn read(path: &Path) -> anyhow::Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(anyhow::Error::new(error).context(format!("reading {}", path.display()))),
    }
}

impl App {
    fn keys_path(&self) -> Option<PathBuf> {
        let folders = self.folders.as_ref()?;
        Some(folders.config.join(KEYS_FILE))
    }

    /// Whoever comes back to the window may have changed the keys file.
    pub(super) fn follow_keys_file(&mut self, ctx: &egui::Context) {
        let has_come_back = |input: &egui::InputState| input.events.contains(&Event::WindowFocused(true));
        if !ctx.input(has_come_back) {
            return;
        }
        let Some(path) = self.keys_path() else { return };
        let before = self.keys.map.replaced_count();
        self.begin_then(
            "Reading keys",
            move || read(&path),
            move |app, text| {
                let is_new = text != app.keys.text;
                app.keys.take(app.preferences.keys, text, &mut app.notifications);
                let after = app.keys.map.replaced_count();
                if is_new && (before, after) != (0, 0) {
                    let text = match after {
                        0 => "The keys are those of the preset again.".to_owned(),
                        1 => "The keys file was read: one command has other keys.".to_owned(),
                        count => format!("The keys file was read: {count} commands have other keys."),
                    };
                    app.notifications.push(Level::Info, text);
                }
            },
        );
    }

    /// Writes what is so now, to be edited, unless there is a file.
    pub(super) fn write_keys_file(&mut self) {
        let Some(path) = self.keys_path() else { return };
        let text = self.keys.map.to_toml();
        let target = path.clone();
        let job = move || {
            if target.try_exists()? {
                return Ok(KeysFile::WasThere);
            }
            if let Some(folder) = target.parent() {
                std::fs::create_dir_all(folder)?;
            }
            write_bytes_atomically(&target, PreviousVersion::Keep, text.as_bytes())?;
            Ok(KeysFile::Written)
        };
        self.begin_then("Writing keys", job, move |app, file| {
            let path = path.display();
            let text = match file {
                KeysFile::Written => {
                    format!("The keys are in {path}; changes count as soon as you are back.")
                }
                KeysFile::WasThere => format!(
                    "Your keys file stays as it is: {path}. Change it, or remove it and write it anew."
                ),
            };
            app.notifications.push(Level::Success, text);
        });
    }
}
