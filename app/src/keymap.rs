//! Keys: ready-made presets, a file that replaces some of them, and which command a press means.

use std::{collections::BTreeMap, fmt::Write as _};

use anyhow::bail;
use eframe::egui::{self, Event, Key, KeyboardShortcut, ModifierNames, Modifiers};
use serde::{Deserialize, Serialize};

use crate::command::AppCommand;

/// Keys as another program has them, for hands that know it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyPreset {
    /// Our own, see [`AppCommand::spec`].
    #[default]
    Wordbrush,
    /// After Krita.
    Krita,
    /// After Photoshop.
    Photoshop,
}

/// What [`KeyPreset::Krita`] has otherwise. The digits are views there, so that regions move to Alt.
const KRITA: &[(&str, &[&str])] = &[
    ("fill", &["F"]),
    ("pick", &["P"]),
    ("zoom-actual", &["1", "Ctrl+0"]),
    ("zoom-fit", &["2"]),
    ("rotate-left", &["4"]),
    ("reset-rotation", &["5"]),
    ("rotate-right", &["6"]),
    ("select-background", &["Alt+0"]),
    ("select-region-1", &["Alt+1"]),
    ("select-region-2", &["Alt+2"]),
    ("select-region-3", &["Alt+3"]),
    ("select-region-4", &["Alt+4"]),
    ("select-region-5", &["Alt+5"]),
    ("select-region-6", &["Alt+6"]),
    ("select-region-7", &["Alt+7"]),
    ("select-region-8", &["Alt+8"]),
    ("select-region-9", &["Alt+9"]),
    ("new-region", &["Insert", "Ctrl+Shift+N"]),
    ("delete-region", &["Shift+Delete"]),
    ("raise-region", &["Ctrl+PageUp"]),
    ("lower-region", &["Ctrl+PageDown"]),
    ("clear-mask", &["Delete"]),
    ("fill-mask", &["Shift+Backspace"]),
    ("feather-mask", &["Shift+F6"]),
    ("deselect", &["Ctrl+Shift+A"]),
    ("command-palette", &["Ctrl+Enter", "Ctrl+Shift+P"]),
    ("toggle-run", &["F5"]),
];

/// What [`KeyPreset::Photoshop`] has otherwise.
const PHOTOSHOP: &[(&str, &[&str])] = &[
    ("rectangle", &["M"]),
    ("ellipse", &["Shift+M"]),
    ("mirror", &["Ctrl+Alt+M"]),
    ("raise-region", &["Ctrl+]"]),
    ("lower-region", &["Ctrl+["]),
    ("toggle-visible", &["Ctrl+Comma"]),
    ("toggle-lock", &["Slash"]),
    ("settings", &["Ctrl+K"]),
    ("fill-mask", &["Alt+Delete"]),
    ("feather-mask", &["Shift+F6"]),
    ("cycle-overlay", &["Q"]),
    ("export", &["Ctrl+Shift+Alt+S", "Ctrl+Shift+Alt+W"]),
    ("command-palette", &["Ctrl+F", "Ctrl+Shift+P"]),
];

impl KeyPreset {
    /// All presets, in the order in which they are shown.
    pub const ALL: [Self; 3] = [Self::Wordbrush, Self::Krita, Self::Photoshop];

    /// Its name.
    pub fn label(self) -> &'static str {
        match self {
            Self::Wordbrush => "Default",
            Self::Krita => "Krita-like",
            Self::Photoshop => "Photoshop-like",
        }
    }

    /// Keys by the names of their commands, where they are not the default.
    fn differences(self) -> &'static [(&'static str, &'static [&'static str])] {
        match self {
            Self::Wordbrush => &[],
            Self::Krita => KRITA,
            Self::Photoshop => PHOTOSHOP,
        }
    }

    fn keys(self) -> BTreeMap<AppCommand, Vec<KeyboardShortcut>> {
        AppCommand::all()
            .map(|command| {
                let spec = command.spec();
                let other = self.differences().iter().find(|(id, _)| *id == spec.id);
                let texts = other.map_or(spec.keys, |(_, keys)| keys);
                (
                    command,
                    texts.iter().filter_map(|text| parse_shortcut(text)).collect(),
                )
            })
            .collect()
    }
}

/// Which keys mean which command: a [`KeyPreset`], with the replacements of a file:
///
/// ```toml
/// undo = ["Ctrl+Z", "F3"]
/// step = []
/// ```
#[derive(Clone, Debug)]
pub struct Keymap {
    preset: KeyPreset,
    replaced: BTreeMap<AppCommand, Vec<KeyboardShortcut>>,
    keys: BTreeMap<AppCommand, Vec<KeyboardShortcut>>,
}

impl Keymap {
    /// A preset as it is.
    pub fn new(preset: KeyPreset) -> Self {
        Self::with_replacements(preset, BTreeMap::new())
    }

    fn with_replacements(preset: KeyPreset, replaced: BTreeMap<AppCommand, Vec<KeyboardShortcut>>) -> Self {
        let mut keys = preset.keys();
        keys.extend(replaced.iter().map(|(command, keys)| (*command, keys.clone())));
        Self {
            preset,
            replaced,
            keys,
        }
    }

    /// A preset with the replacements in `text`.
    ///
    /// # Errors
    /// If it is not TOML, or names an unknown command or key.
    pub fn from_toml(preset: KeyPreset, text: &str) -> anyhow::Result<Self> {
        let named: BTreeMap<String, Vec<String>> = toml::from_str(text)?;
        let mut replaced = BTreeMap::new();
        for (id, shortcuts) in named {
            let Some(command) = AppCommand::from_id(&id) else {
                bail!("there is no command {id:?}");
            };
            let mut parsed = Vec::with_capacity(shortcuts.len());
            for text in shortcuts {
                let Some(shortcut) = parse_shortcut(&text) else {
                    bail!("{text:?} (for {id:?}) is no key: write it like \"Ctrl+Shift+P\"");
                };
                parsed.push(shortcut);
            }
            replaced.insert(command, parsed);
        }
        Ok(Self::with_replacements(preset, replaced))
    }

    /// The preset that is in use.
    pub fn preset(&self) -> KeyPreset {
        self.preset
    }

    /// Goes over to another preset; what the file replaces stays replaced.
    pub fn set_preset(&mut self, preset: KeyPreset) {
        if preset != self.preset {
            *self = Self::with_replacements(preset, std::mem::take(&mut self.replaced));
        }
    }

    /// How many commands have keys from the file.
    pub fn replaced_count(&self) -> usize {
        self.replaced.len()
    }

    /// Keys that the file gives to a command although another one has them, in sentences: who has them now.
    pub fn clashes(&self) -> Vec<String> {
        let mut clashes = Vec::new();
        for (&command, shortcuts) in &self.replaced {
            for shortcut in shortcuts {
                let others = self
                    .keys
                    .iter()
                    .filter(|&(&other, keys)| other != command && keys.contains(shortcut));
                for (&other, _) in others {
                    let (key, label, other_label) =
                        (shortcut_name(shortcut), command.spec().label, other.spec().label);
                    if !self.replaced.contains_key(&other) {
                        clashes.push(format!("{key} is {label} now and no longer {other_label}"));
                    } else if command < other {
                        clashes.push(format!(
                            "{key} stands for {label} and for {other_label}; it does the first"
                        ));
                    }
                }
            }
        }
        clashes
    }

    /// A file that says what is so now, to be edited. Keys of the preset are in comments, so that they follow when
    /// another preset is chosen.
    pub fn to_toml(&self) -> String {
        let mut text = String::from(
            "# Keys of Wordbrush. Take the # away from a line to give its command other keys; an empty list takes them away.\n",
        );
        for (command, shortcuts) in &self.keys {
            let names: Vec<_> = shortcuts
                .iter()
                .map(|shortcut| format!("{:?}", shortcut_name(shortcut)))
                .collect();
            let comment = if self.replaced.contains_key(command) {
                ""
            } else {
                "# "
            };
            writeln!(text, "{comment}{} = [{}]", command.spec().id, names.join(", "))
                .expect("a string takes all text");
        }
        text
    }

    /// The first key of a command, as shown to the user; empty if it has none.
    pub fn name(&self, command: AppCommand) -> String {
        self.shortcuts(command)
            .first()
            .map(shortcut_name)
            .unwrap_or_default()
    }

    /// A sentence for a tooltip, with the first key of the command behind it.
    pub fn with_keys(&self, hint: &str, command: AppCommand) -> String {
        match self.name(command) {
            keys if keys.is_empty() => hint.to_owned(),
            keys => format!("{hint}  [{keys}]"),
        }
    }

    /// Whether the key 5 alone selects a region and, while the view is turned, sets it upright.
    pub fn has_5_for_both(&self) -> bool {
        self.name(AppCommand::SelectRegion(5)) == "5"
    }

    /// The keys that select regions, as shown to the user, where they are the digits from 1 to 9 after the same keys.
    pub fn region_digits(&self) -> Option<String> {
        let first = self.name(AppCommand::SelectRegion(1));
        let held = first.strip_suffix('1')?;
        let is_digit = |digit: u8| self.name(AppCommand::SelectRegion(digit)) == format!("{held}{digit}");
        (2..=9).all(is_digit).then(|| format!("{first} … {held}9"))
    }

    /// All keys of a command.
    pub fn shortcuts(&self, command: AppCommand) -> &[KeyboardShortcut] {
        self.keys.get(&command).map_or(&[], Vec::as_slice)
    }

    /// The commands asked for by the keys pressed in this frame; what is taken is removed from the input.
    ///
    /// While a text field has the focus, single keys and those that edit text are left to it.
    pub fn take_pressed(&self, ctx: &egui::Context) -> Vec<AppCommand> {
        let focus = Focus::of(ctx);
        let mut pressed = Vec::new();
        ctx.input_mut(|input| {
            let held = input.modifiers;
            input.events.retain(|event| {
                let command = match event {
                    Event::Key {
                        key,
                        physical_key,
                        pressed: true,
                        modifiers,
                        repeat,
                    } => {
                        let command = self.find(*key, *physical_key, *modifiers, focus);
                        // A key that is held down must not switch something to and fro; its repetitions are swallowed.
                        if *repeat && command.is_some_and(|command| !command.repeats()) {
                            return false;
                        }
                        command
                    }
                    event => clipboard_key(event, held)
                        .and_then(|(key, modifiers)| self.find(key, None, modifiers, focus)),
                };
                pressed.extend(command);
                command.is_none()
            });
        });
        pressed
    }

    fn find(
        &self,
        key: Key,
        physical_key: Option<Key>,
        modifiers: Modifiers,
        focus: Focus,
    ) -> Option<AppCommand> {
        let by_key = |key: Key| {
            // What the file says goes before the preset.
            self.replaced.iter().chain(&self.keys).find_map(|(&command, shortcuts)| {
                let hit = shortcuts.iter().any(|shortcut| {
                    shortcut.logical_key == key
                        && modifiers.matches_exact(shortcut.modifiers)
                        && !(focus == Focus::Text && belongs_to_text(shortcut))
                        // With a control in focus, these keys move the focus or press the control.
                        && !(focus != Focus::None && shortcut.modifiers.is_none() && matches!(key, Key::Tab | Key::Space | Key::Enter))
                });
                hit.then_some(command)
            })
        };
        // Shift+[ arrives as a curly bracket; only then does the place on the keyboard count.
        by_key(key).or_else(|| physical_key.filter(|_| modifiers.shift).and_then(by_key))
    }
}

/// The key that egui's window turns into a wish to copy, cut or paste, and sends no press of.
fn clipboard_key(event: &Event, held: Modifiers) -> Option<(Key, Modifiers)> {
    match event {
        Event::Copy => Some((Key::C, Modifiers::COMMAND)),
        // With Shift it is the other key that cuts or pastes on Windows.
        Event::Cut if held.shift => Some((Key::Delete, held)),
        Event::Cut => Some((Key::X, Modifiers::COMMAND)),
        Event::Paste(_) | Event::PasteImage(_) if held.shift => Some((Key::Insert, held)),
        Event::Paste(_) | Event::PasteImage(_) => Some((Key::V, Modifiers::COMMAND)),
        _ => None,
    }
}

/// What has the keyboard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Focus {
    /// The canvas.
    None,
    /// A button or slider.
    Control,
    /// A text field.
    Text,
}

impl Focus {
    fn of(ctx: &egui::Context) -> Self {
        if ctx.text_edit_focused() {
            Self::Text
        } else if ctx.memory(|memory| memory.focused().is_some()) {
            Self::Control
        } else {
            Self::None
        }
    }
}

/// Whether a text field must get these keys instead.
fn belongs_to_text(shortcut: &KeyboardShortcut) -> bool {
    let is_function_key = (Key::F1..=Key::F35).contains(&shortcut.logical_key);
    let edits = matches!(
        shortcut.logical_key,
        Key::Z
            | Key::Y
            | Key::X
            | Key::C
            | Key::V
            | Key::A
            | Key::Delete
            | Key::Insert
            | Key::Enter
            | Key::J
            | Key::D
    );
    if shortcut.modifiers.command {
        edits && shortcut.logical_key != Key::Enter
    } else {
        !is_function_key
    }
}

/// `Ctrl+Shift+P` and the like.
pub fn parse_shortcut(text: &str) -> Option<KeyboardShortcut> {
    let mut modifiers = Modifiers::NONE;
    let mut parts: Vec<&str> = text.split('+').map(str::trim).collect();
    let key = parts.pop()?;
    for part in parts {
        modifiers |= match part.to_ascii_lowercase().as_str() {
            "ctrl" | "cmd" | "control" | "command" => Modifiers::COMMAND,
            "shift" => Modifiers::SHIFT,
            "alt" | "option" => Modifiers::ALT,
            _ => return None,
        };
    }
    Some(KeyboardShortcut::new(modifiers, Key::from_name(key)?))
}

/// How a shortcut is written for people and in the keys file.
pub fn shortcut_name(shortcut: &KeyboardShortcut) -> String {
    let names = ModifierNames::NAMES;
    let mut text = names.format(&shortcut.modifiers, cfg!(target_os = "macos"));
    if !text.is_empty() {
        text += names.concat;
    }
    text += match shortcut.logical_key {
        Key::OpenBracket => "[",
        Key::CloseBracket => "]",
        Key::Comma => ",",
        Key::Slash => "/",
        key => key.name(),
    };
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tooltip_names_the_first_key_if_there_is_one() {
        let keymap = Keymap::from_toml(KeyPreset::Wordbrush, "redo = []").unwrap();
        let told = |command| keymap.with_keys("Do it.", command);
        assert_eq!(told(AppCommand::Undo), "Do it.  [Ctrl+Z]");
        assert_eq!(told(AppCommand::Redo), "Do it.");
    }

    #[test]
    fn every_preset_names_commands_and_keys_that_there_are() {
        for preset in KeyPreset::ALL {
            for (id, keys) in preset.differences() {
                assert!(AppCommand::from_id(id).is_some(), "{preset:?}: {id}");
                for key in *keys {
                    assert!(parse_shortcut(key).is_some(), "{preset:?}: {key}");
                }
            }
        }
        for command in AppCommand::all() {
            for key in command.spec().keys {
                assert!(parse_shortcut(key).is_some(), "{key}");
            }
        }
    }

    #[test]
    fn no_two_commands_share_a_key_in_any_preset_and_none_loses_its_keys() {
        for preset in KeyPreset::ALL {
            let keymap = Keymap::new(preset);
            let mut seen = BTreeMap::new();
            for command in AppCommand::all() {
                let shortcuts = keymap.shortcuts(command);
                assert!(
                    !shortcuts.is_empty() || command.spec().keys.is_empty(),
                    "{preset:?}: {command:?} has no key"
                );
                for shortcut in shortcuts {
                    if let Some(other) = seen.insert(shortcut_name(shortcut), command) {
                        panic!("{preset:?}: {shortcut:?} means both {other:?} and {command:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_written_keymap_reads_back_the_same_and_follows_the_preset() {
        let keymap = Keymap::from_toml(KeyPreset::Wordbrush, "undo = [\"F3\"]").unwrap();
        let again = Keymap::from_toml(KeyPreset::Wordbrush, &keymap.to_toml()).unwrap();
        assert_eq!(again.keys, keymap.keys);
        let mut krita = again;
        krita.set_preset(KeyPreset::Krita);
        assert_eq!(krita.name(AppCommand::ToolFill), "F");
        assert_eq!(krita.name(AppCommand::Undo), "F3", "the file wins");
        assert_eq!(krita.replaced_count(), 1);
    }

    #[test]
    fn the_digits_of_the_regions_are_named_as_they_are() {
        let digits = |preset| Keymap::new(preset).region_digits();
        assert_eq!(digits(KeyPreset::Wordbrush).as_deref(), Some("1 … 9"));
        let (first, last) = (AppCommand::SelectRegion(1), AppCommand::SelectRegion(9));
        let krita = Keymap::new(KeyPreset::Krita);
        let named = format!("{} … {}", krita.name(first), krita.name(last));
        assert_eq!(krita.region_digits(), Some(named));
        assert!(!krita.has_5_for_both(), "it is always upright there");
        let moved = Keymap::from_toml(KeyPreset::Wordbrush, "select-region-3 = [\"F3\"]").unwrap();
        assert_eq!(moved.region_digits(), None);
    }

    #[test]
    fn a_keys_file_replaces_what_it_names_and_refuses_what_it_does_not_know() {
        let keymap = Keymap::from_toml(KeyPreset::Wordbrush, "undo = [\"F3\"]\nstep = []").unwrap();
        assert_eq!(keymap.name(AppCommand::Undo), "F3");
        assert_eq!(keymap.name(AppCommand::Step), "");
        assert_eq!(keymap.name(AppCommand::Save), "Ctrl+S");
        let unknown = Keymap::from_toml(KeyPreset::Wordbrush, "fly = [\"F3\"]")
            .unwrap_err()
            .to_string();
        assert!(unknown.contains("fly"), "{unknown}");
        let bad_key = Keymap::from_toml(KeyPreset::Wordbrush, "undo = [\"Hyper+Q\"]")
            .unwrap_err()
            .to_string();
        assert!(bad_key.contains("Hyper+Q"), "{bad_key}");
    }

    #[test]
    fn a_key_of_the_file_goes_before_the_presets_and_clashes_are_told() {
        let keymap = |text| Keymap::from_toml(KeyPreset::Wordbrush, text).unwrap();
        let one = keymap("step = [\"F5\"]");
        assert_eq!(
            one.find(Key::F5, None, Modifiers::NONE, Focus::None),
            Some(AppCommand::Step)
        );
        assert_eq!(one.clashes().len(), 1);
        assert!(one.clashes()[0].starts_with("F5 is "), "{:?}", one.clashes());
        let both = keymap("step = [\"Alt+F12\"]\nundo = [\"Alt+F12\"]");
        assert_eq!(both.clashes().len(), 1, "{:?}", both.clashes());
        assert!(
            both.clashes()[0].starts_with("Alt+F12 stands for "),
            "{:?}",
            both.clashes()
        );
        let moved = keymap("step = [\"F5\"]\ntoggle-run = [\"Alt+F11\"]");
        assert!(moved.clashes().is_empty(), "{:?}", moved.clashes());
    }

    #[test]
    fn single_keys_belong_to_text_fields_and_ctrl_commands_do_not() {
        let keymap = Keymap::new(KeyPreset::Wordbrush);
        let typing = |key, modifiers| keymap.find(key, None, modifiers, Focus::Text);
        assert_eq!(typing(Key::B, Modifiers::NONE), None);
        assert_eq!(typing(Key::Z, Modifiers::COMMAND), None);
        assert_eq!(typing(Key::C, Modifiers::COMMAND), None);
        assert_eq!(typing(Key::S, Modifiers::COMMAND), Some(AppCommand::Save));
        assert_eq!(typing(Key::F5, Modifiers::NONE), Some(AppCommand::ToggleRun));
        let painting = keymap.find(Key::B, None, Modifiers::NONE, Focus::None);
        assert_eq!(painting, Some(AppCommand::ToolBrush));
    }

    #[test]
    fn a_held_key_repeats_what_goes_in_steps_and_nothing_else() {
        let keymap = Keymap::new(KeyPreset::Wordbrush);
        let held = |key| {
            let ctx = egui::Context::default();
            let event = |repeat| Event::Key {
                key,
                physical_key: None,
                pressed: true,
                repeat,
                modifiers: Modifiers::NONE,
            };
            ctx.input_mut(|input| input.events = vec![event(false), event(true), event(true)]);
            let pressed = keymap.take_pressed(&ctx);
            assert!(ctx.input(|input| input.events.is_empty()));
            pressed
        };
        assert_eq!(held(Key::CloseBracket), [AppCommand::BrushLarger; 3]);
        assert_eq!(held(Key::E), [AppCommand::ToolEraser]);
        assert_eq!(held(Key::Delete), [AppCommand::DeleteRegion]);
    }

    #[test]
    fn a_picture_is_pasted_unless_a_text_field_has_the_keyboard() {
        let keymap = Keymap::new(KeyPreset::Wordbrush);
        let ctx = egui::Context::default();
        let picture = egui::ColorImage::filled([1, 1], egui::Color32::RED);
        ctx.input_mut(|input| input.events = vec![Event::PasteImage(picture.into())]);
        assert_eq!(keymap.take_pressed(&ctx), [AppCommand::PasteBackground]);
    }

    #[test]
    fn keys_of_the_clipboard_are_those_of_the_keymap() {
        let pressed = |keymap: &Keymap, event, held| {
            let ctx = egui::Context::default();
            ctx.input_mut(|input| {
                input.modifiers = held;
                input.events = vec![event];
            });
            keymap.take_pressed(&ctx)
        };
        let preset = Keymap::new(KeyPreset::Wordbrush);
        let copied = pressed(&preset, Event::Copy, Modifiers::COMMAND);
        assert_eq!(copied, [AppCommand::CopyPicture]);
        assert_eq!(pressed(&preset, Event::Cut, Modifiers::COMMAND), []);
        let text =
            "copy-picture = []\npaste-background = []\nduplicate-region = [\"Ctrl+C\"]\nsolo = [\"Ctrl+X\"]";
        let other = Keymap::from_toml(KeyPreset::Wordbrush, text).unwrap();
        let copied = pressed(&other, Event::Copy, Modifiers::COMMAND);
        assert_eq!(copied, [AppCommand::DuplicateRegion]);
        let cut = pressed(&other, Event::Cut, Modifiers::COMMAND);
        assert_eq!(cut, [AppCommand::Solo]);
        let paste = || Event::Paste("words".to_owned());
        assert_eq!(pressed(&other, paste(), Modifiers::COMMAND), []);
        // As Shift+Delete and Shift+Insert arrive on Windows.
        let krita = Keymap::from_toml(KeyPreset::Krita, "solo = [\"Shift+Insert\"]").unwrap();
        let cut = pressed(&krita, Event::Cut, Modifiers::SHIFT);
        assert_eq!(cut, [AppCommand::DeleteRegion]);
        assert_eq!(pressed(&krita, Event::Cut, Modifiers::COMMAND), []);
        assert_eq!(pressed(&krita, paste(), Modifiers::SHIFT), [AppCommand::Solo]);
    }

    #[test]
    fn shift_and_bracket_is_found_by_its_place() {
        let keymap = Keymap::new(KeyPreset::Wordbrush);
        let found = keymap.find(
            Key::OpenCurlyBracket,
            Some(Key::OpenBracket),
            Modifiers::SHIFT,
            Focus::None,
        );
        assert_eq!(found, Some(AppCommand::BrushSofter));
    }
}
