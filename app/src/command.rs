//! Every user intent: its name, icon, keys and place in the menus.
//!
//! Menus, the command palette, the help page and the keyboard read from here; `app/commands.rs` carries them out.
//! Keys can be rebound by a file, see [`Keymap`].

use std::{collections::BTreeMap, fmt::Write as _, path::Path};

use anyhow::{Context as _, bail};
use eframe::egui::{self, Event, Key, KeyboardShortcut, ModifierNames, Modifiers};

use crate::theme::icons;

/// What the user may want.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each variant is described by its label in `spec`")]
pub enum AppCommand {
    NewCanvas,
    Open,
    Gallery,
    Save,
    SaveAs,
    Export,
    Quit,
    Undo,
    Redo,
    CanvasSize,
    BackgroundImage,
    PasteBackground,
    RemoveBackgroundImage,
    Settings,
    NewRegion,
    DuplicateRegion,
    DeleteRegion,
    RaiseRegion,
    LowerRegion,
    ToggleVisible,
    ToggleLock,
    Solo,
    RerollRegion,
    SwapRegions,
    SelectRegion(u8),
    SelectBackground,
    ToolBrush,
    ToolEraser,
    ToolFill,
    ToolRectangle,
    ToolEllipse,
    ToolLasso,
    ToolPick,
    BrushLarger,
    BrushSmaller,
    BrushHarder,
    BrushSofter,
    ClearMask,
    FillMask,
    InvertMask,
    GrowMask,
    ShrinkMask,
    FeatherMask,
    Deselect,
    ToggleRun,
    Step,
    ToggleDream,
    RerollAll,
    ModelWindow,
    ZoomIn,
    ZoomOut,
    ZoomFit,
    ZoomActual,
    RotateLeft,
    RotateRight,
    ResetRotation,
    MirrorView,
    CycleView,
    CycleOverlay,
    HideUi,
    TogglePerformance,
    ToggleHistory,
    ToggleTheme,
    ScaleUp,
    ScaleDown,
    CommandPalette,
    Help,
    FocusPanels,
}

/// Where a command stands in the menu bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "named as shown")]
pub enum Menu {
    File,
    Edit,
    Region,
    Mask,
    Tools,
    Stream,
    View,
    Help,
}

impl Menu {
    /// All menus, in order.
    pub const ALL: [Self; 8] = [
        Self::File,
        Self::Edit,
        Self::Region,
        Self::Mask,
        Self::Tools,
        Self::Stream,
        Self::View,
        Self::Help,
    ];

    /// Its name.
    pub fn label(self) -> &'static str {
        match self {
            Self::File => "File",
            Self::Edit => "Edit",
            Self::Region => "Region",
            Self::Mask => "Mask",
            Self::Tools => "Tools",
            Self::Stream => "Stream",
            Self::View => "View",
            Self::Help => "Help",
        }
    }
}

/// All that is known of a command.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// Where it stands.
    pub menu: Menu,
    /// Its name for people.
    pub label: &'static str,
    /// Its name in the keys file.
    pub id: &'static str,
    /// Its glyph, empty for none.
    pub icon: &'static str,
    /// Default keys.
    pub keys: &'static [&'static str],
    /// One sentence for tooltips and the palette.
    pub hint: &'static str,
}

const REGION_LABELS: [(&str, &str, &[&str]); 9] = [
    ("Select region 1", "select-region-1", &["1"]),
    ("Select region 2", "select-region-2", &["2"]),
    ("Select region 3", "select-region-3", &["3"]),
    ("Select region 4", "select-region-4", &["4"]),
    ("Select region 5", "select-region-5", &["5"]),
    ("Select region 6", "select-region-6", &["6"]),
    ("Select region 7", "select-region-7", &["7"]),
    ("Select region 8", "select-region-8", &["8"]),
    ("Select region 9", "select-region-9", &["9"]),
];

impl AppCommand {
    /// Every command, in menu order.
    #[rustfmt::skip] // A list, not a column.
    pub fn all() -> impl Iterator<Item = Self> {
        [
            Self::NewCanvas, Self::Open, Self::Gallery, Self::Save, Self::SaveAs, Self::Export, Self::Quit, Self::Undo, Self::Redo,
            Self::CanvasSize, Self::BackgroundImage, Self::PasteBackground, Self::RemoveBackgroundImage, Self::Settings,
            Self::NewRegion, Self::DuplicateRegion, Self::DeleteRegion, Self::RaiseRegion, Self::LowerRegion,
            Self::ToggleVisible, Self::ToggleLock, Self::Solo, Self::RerollRegion, Self::SwapRegions, Self::SelectBackground,
        ]
        .into_iter()
        .chain((1..=9).map(Self::SelectRegion))
        .chain([
            Self::FillMask, Self::ClearMask, Self::InvertMask, Self::GrowMask, Self::ShrinkMask, Self::FeatherMask,
            Self::Deselect, Self::ToolBrush, Self::ToolEraser, Self::ToolFill, Self::ToolRectangle, Self::ToolEllipse,
            Self::ToolLasso, Self::ToolPick, Self::BrushLarger, Self::BrushSmaller, Self::BrushHarder, Self::BrushSofter,
            Self::ToggleRun, Self::Step, Self::ToggleDream, Self::RerollAll, Self::ModelWindow, Self::ZoomIn, Self::ZoomOut,
            Self::ZoomFit, Self::ZoomActual, Self::RotateLeft, Self::RotateRight, Self::ResetRotation, Self::MirrorView,
            Self::CycleView, Self::CycleOverlay, Self::HideUi, Self::TogglePerformance, Self::ToggleHistory,
            Self::ToggleTheme, Self::ScaleUp, Self::ScaleDown, Self::CommandPalette, Self::Help, Self::FocusPanels,
        ])
    }

    /// What is known of it.
    #[rustfmt::skip] // A table reads best with one row a line.
    pub fn spec(self) -> Spec {
        let spec = |menu, label, id, icon, keys, hint| Spec {
            menu,
            label,
            id,
            icon,
            keys,
            hint,
        };
        match self {
            Self::NewCanvas => spec(Menu::File, "New canvas…", "new-canvas", icons::FILE_PLUS, &["Ctrl+N"], "Start an empty canvas of any size."),
            Self::Open => spec(Menu::File, "Open…", "open", icons::FOLDER_OPEN, &["Ctrl+O"], "Open a project, an OpenRaster file or an exported picture."),
            Self::Gallery => spec(Menu::File, "Sample canvases…", "gallery", icons::LAYOUT_GRID, &["Ctrl+Shift+O"], "Begin with a canvas that is already painted."),
            Self::Save => spec(Menu::File, "Save", "save", icons::SAVE, &["Ctrl+S"], "Save the project."),
            Self::SaveAs => spec(Menu::File, "Save as…", "save-as", icons::SAVE, &["Ctrl+Shift+S"], "Save the project under another name."),
            Self::Export => spec(Menu::File, "Export picture…", "export", icons::DOWNLOAD, &["Ctrl+Shift+E"], "Save the picture as PNG, JPEG, WebP or OpenRaster. It can be dropped back in to restore the canvas."),
            Self::Quit => spec(Menu::File, "Quit", "quit", icons::LOG_OUT, &["Ctrl+Q"], "Close Wordbrush. The session is kept."),
            Self::Undo => spec(Menu::Edit, "Undo", "undo", icons::UNDO_2, &["Ctrl+Z"], "Take back the last change."),
            Self::Redo => spec(Menu::Edit, "Redo", "redo", icons::REDO_2, &["Ctrl+Shift+Z", "Ctrl+Y"], "Bring back what was undone."),
            Self::CanvasSize => spec(Menu::Edit, "Canvas size…", "canvas-size", icons::SCALING, &["Ctrl+Alt+C"], "Change the canvas size while it runs."),
            Self::BackgroundImage => spec(Menu::Edit, "Background picture…", "background-image", icons::IMAGE_PLUS, &[], "Put a picture behind the regions. Dropping a file does the same."),
            Self::PasteBackground => spec(Menu::Edit, "Paste background picture", "paste-background", icons::CLIPBOARD_PASTE, &["Ctrl+V"], "Put the picture from the clipboard behind the regions."),
            Self::RemoveBackgroundImage => spec(Menu::Edit, "Remove background picture", "remove-background-image", icons::IMAGE_OFF, &[], "Go back to a white background."),
            Self::Settings => spec(Menu::Edit, "Settings…", "settings", icons::SETTINGS, &["Ctrl+Comma"], "Theme, interface size, keys, threads."),
            Self::NewRegion => spec(Menu::Region, "New region", "new-region", icons::PLUS, &["Ctrl+Shift+N", "Insert"], "Add a region with its own prompt."),
            Self::DuplicateRegion => spec(Menu::Region, "Duplicate region", "duplicate-region", icons::COPY, &["Ctrl+J"], "Copy the region with its mask and prompt."),
            Self::DeleteRegion => spec(Menu::Region, "Delete region", "delete-region", icons::TRASH_2, &["Delete"], "Remove the region. Undo brings it back."),
            Self::RaiseRegion => spec(Menu::Region, "Move region up", "raise-region", icons::ARROW_UP, &["PageUp"], "Move the region towards the front."),
            Self::LowerRegion => spec(Menu::Region, "Move region down", "lower-region", icons::ARROW_DOWN, &["PageDown"], "Move the region towards the back."),
            Self::ToggleVisible => spec(Menu::Region, "Show or hide region", "toggle-visible", icons::EYE, &["H"], "A hidden region takes no part in the picture."),
            Self::ToggleLock => spec(Menu::Region, "Lock or unlock region", "toggle-lock", icons::LOCK, &["K"], "A locked mask cannot be painted on."),
            Self::Solo => spec(Menu::Region, "Show only this region", "solo", icons::CIRCLE_DOT, &["Shift+H"], "Hide all other regions; again shows them all."),
            Self::RerollRegion => spec(Menu::Region, "Reroll region", "reroll-region", icons::DICES, &["Ctrl+R"], "New noise inside this region only."),
            Self::SwapRegions => spec(Menu::Region, "Swap the last two regions", "swap-regions", icons::REFRESH_CW, &["X"], "Go back to the region used before."),
            Self::SelectBackground => spec(Menu::Region, "Select background", "select-background", icons::IMAGE, &["0"], "Edit the background's prompt."),
            Self::SelectRegion(number) => {
                let at = usize::from(number.saturating_sub(1)).min(REGION_LABELS.len() - 1);
                let (label, id, keys) = REGION_LABELS[at];
                spec(
                    Menu::Region,
                    label,
                    id,
                    icons::LAYERS,
                    keys,
                    "Counted from the front of the list.",
                )
            }
            Self::FillMask => spec(Menu::Mask, "Cover the whole canvas", "fill-mask", icons::SQUARE, &[], "Paint the region everywhere."),
            Self::ClearMask => spec(Menu::Mask, "Clear mask", "clear-mask", icons::SQUARE_X, &["Ctrl+Delete"], "Unpaint the region."),
            Self::InvertMask => spec(Menu::Mask, "Invert mask", "invert-mask", icons::CONTRAST, &["Ctrl+Shift+I"], "Paint where it was not, and the other way round."),
            Self::GrowMask => spec(Menu::Mask, "Grow mask", "grow-mask", icons::EXPAND, &["Ctrl+Alt+Plus"], "Widen the region by 8 pixels."),
            Self::ShrinkMask => spec(Menu::Mask, "Shrink mask", "shrink-mask", icons::SHRINK, &["Ctrl+Alt+Minus"], "Narrow the region by 8 pixels."),
            Self::FeatherMask => spec(Menu::Mask, "Feather mask", "feather-mask", icons::WAVES, &["Ctrl+Alt+F"], "Soften the region's edge by 8 pixels."),
            Self::Deselect => spec(Menu::Mask, "Cancel what is being drawn", "deselect", icons::X, &["Ctrl+D"], "Give up an unfinished shape or lasso; Escape does the same."),
            Self::ToolBrush => spec(Menu::Tools, "Brush", "brush", icons::BRUSH, &["B"], "Paint the region. Shift draws straight lines."),
            Self::ToolEraser => spec(Menu::Tools, "Eraser", "eraser", icons::ERASER, &["E"], "Unpaint the region. Again goes back to the brush."),
            Self::ToolFill => spec(Menu::Tools, "Fill", "fill", icons::PAINT_BUCKET, &["G"], "Fill an enclosed area."),
            Self::ToolRectangle => spec(Menu::Tools, "Rectangle", "rectangle", icons::SQUARE_DASHED, &["U"], "Drag a rectangle. Ctrl takes away, Shift makes it square."),
            Self::ToolEllipse => spec(Menu::Tools, "Ellipse", "ellipse", icons::CIRCLE_DASHED, &["Shift+U"], "Drag an ellipse. Ctrl takes away, Shift makes it round."),
            Self::ToolLasso => spec(Menu::Tools, "Lasso", "lasso", icons::LASSO, &["L"], "Draw round an area. Ctrl takes away."),
            Self::ToolPick => spec(Menu::Tools, "Pick region", "pick", icons::PIPETTE, &["I"], "Click the canvas to select the region there. Alt-click does it with every tool."),
            Self::BrushLarger => spec(Menu::Tools, "Larger brush", "brush-larger", "", &["]"], "Shift+drag on the canvas does the same."),
            Self::BrushSmaller => spec(Menu::Tools, "Smaller brush", "brush-smaller", "", &["["], "Shift+drag on the canvas does the same."),
            Self::BrushHarder => spec(Menu::Tools, "Harder brush", "brush-harder", "", &["Shift+]"], "A crisper edge."),
            Self::BrushSofter => spec(Menu::Tools, "Softer brush", "brush-softer", "", &["Shift+["], "A softer edge."),
            Self::ToggleRun => spec(Menu::Stream, "Run or pause", "toggle-run", icons::PLAY, &["F5", "Ctrl+Enter"], "Start or pause the stream."),
            Self::Step => spec(Menu::Stream, "Single step", "step", icons::STEP_FORWARD, &["F10"], "Make one frame while paused."),
            Self::ToggleDream => spec(Menu::Stream, "Hold or dream", "toggle-dream", icons::INFINITY, &["D"], "Hold: the picture settles. Dream: endless variation."),
            Self::RerollAll => spec(Menu::Stream, "Reroll the canvas", "reroll", icons::DICES, &["Ctrl+Alt+R"], "New noise for the whole canvas."),
            Self::ModelWindow => spec(Menu::Stream, "Model…", "model", icons::PACKAGE, &["Ctrl+M"], "Choose the model that paints."),
            Self::ZoomIn => spec(Menu::View, "Zoom in", "zoom-in", icons::ZOOM_IN, &["Ctrl+Plus", "Ctrl+Equals"], "Or turn the wheel."),
            Self::ZoomOut => spec(Menu::View, "Zoom out", "zoom-out", "", &["Ctrl+Minus"], "Or turn the wheel."),
            Self::ZoomFit => spec(Menu::View, "Fit canvas", "zoom-fit", icons::MAXIMIZE, &["Ctrl+0"], "Show the whole canvas."),
            Self::ZoomActual => spec(Menu::View, "100 %", "zoom-actual", "", &["Ctrl+1"], "One canvas pixel per screen pixel."),
            Self::RotateLeft => spec(Menu::View, "Rotate left", "rotate-left", icons::ROTATE_CCW, &[], "Turn the view by 15°. R-drag turns freely."),
            Self::RotateRight => spec(Menu::View, "Rotate right", "rotate-right", "", &[], "Turn the view by 15°. R-drag turns freely."),
            Self::ResetRotation => spec(Menu::View, "Reset rotation", "reset-rotation", "", &["Shift+5"], "Set the view upright. While it is turned, 5 alone does it."),
            Self::MirrorView => spec(Menu::View, "Mirror view", "mirror", icons::FLIP_HORIZONTAL_2, &["M"], "Flip the view; the picture stays as it is."),
            Self::CycleView => spec(Menu::View, "Next view", "cycle-view", icons::COLUMNS_2, &["V"], "Picture, wipe, side by side."),
            Self::CycleOverlay => spec(Menu::View, "Next overlay", "cycle-overlay", icons::BLEND, &["O"], "Region colours, outlines only, none."),
            Self::HideUi => spec(Menu::View, "Hide or show panels", "hide-ui", icons::PANEL_RIGHT, &["Tab"], "Leave only the canvas."),
            Self::TogglePerformance => spec(Menu::View, "Performance panel", "performance", icons::GAUGE, &["F8"], "Frame rate, stages and memory."),
            Self::ToggleHistory => spec(Menu::View, "History strip", "history", icons::HISTORY, &["F7"], "Frames of this session; a click brings one back."),
            Self::ToggleTheme => spec(Menu::View, "Dark or light theme", "theme", icons::SUN, &[], "Switch between the two themes."),
            Self::ScaleUp => spec(Menu::View, "Larger interface", "scale-up", "", &["Ctrl+Shift+Plus"], "Scale text and controls up."),
            Self::ScaleDown => spec(Menu::View, "Smaller interface", "scale-down", "", &["Ctrl+Shift+Minus"], "Scale text and controls down."),
            Self::CommandPalette => spec(Menu::Help, "Command palette", "command-palette", icons::COMMAND, &["Ctrl+Shift+P"], "Find any command by name."),
            Self::Help => spec(Menu::Help, "Help and shortcuts", "help", icons::CIRCLE_HELP, &["F1"], "How to paint, and every key, on one page."),
            Self::FocusPanels => spec(Menu::Help, "Focus the panels", "focus-panels", icons::KEYBOARD, &["F6"], "Move the keyboard to the panels; Tab goes on, Escape goes back."),
        }
    }
}

/// Which keys mean which command.
///
/// The defaults are in [`AppCommand::spec`]; a file replaces them per command:
///
/// ```toml
/// undo = ["Ctrl+Z", "F3"]
/// step = []
/// ```
#[derive(Clone, Debug)]
pub struct Keymap {
    keys: BTreeMap<AppCommand, Vec<KeyboardShortcut>>,
}

impl Default for Keymap {
    fn default() -> Self {
        let keys = AppCommand::all()
            .map(|command| {
                let shortcuts = command.spec().keys.iter();
                (
                    command,
                    shortcuts.filter_map(|text| parse_shortcut(text)).collect(),
                )
            })
            .collect();
        Self { keys }
    }
}

impl Keymap {
    /// The defaults with a file's replacements.
    ///
    /// # Errors
    /// If the file cannot be read, is not TOML, or names an unknown command or key; a missing file is no error.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        if !path.exists() {
            return Ok(Self::default());
        }
        let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        Self::from_toml(&text).with_context(|| format!("reading {}", path.display()))
    }

    /// The defaults with the replacements in `text`.
    ///
    /// # Errors
    /// As for [`Keymap::load`].
    pub fn from_toml(text: &str) -> anyhow::Result<Self> {
        let replaced: BTreeMap<String, Vec<String>> = toml::from_str(text)?;
        let mut keymap = Self::default();
        for (id, shortcuts) in replaced {
            let Some(command) = AppCommand::all().find(|command| command.spec().id == id) else {
                bail!("there is no command {id:?}");
            };
            let mut parsed = Vec::with_capacity(shortcuts.len());
            for text in shortcuts {
                let Some(shortcut) = parse_shortcut(&text) else {
                    bail!("{text:?} (for {id:?}) is no key: write it like \"Ctrl+Shift+P\"");
                };
                parsed.push(shortcut);
            }
            keymap.keys.insert(command, parsed);
        }
        Ok(keymap)
    }

    /// A file that says what is so now, to be edited.
    pub fn to_toml(&self) -> String {
        let mut text = String::from("# Keys of Wordbrush. An empty list takes a command's keys away.\n");
        for (command, shortcuts) in &self.keys {
            let names: Vec<_> = shortcuts
                .iter()
                .map(|shortcut| format!("{:?}", shortcut_name(shortcut)))
                .collect();
            writeln!(text, "{} = [{}]", command.spec().id, names.join(", "))
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
            input.events.retain(|event| {
                let command = match event {
                    Event::Key {
                        key,
                        physical_key,
                        pressed: true,
                        modifiers,
                        ..
                    } => self.find(*key, *physical_key, *modifiers, focus),
                    // Window systems turn Ctrl+V into this; there is text only when the clipboard holds no picture.
                    Event::Paste(_) if focus != Focus::Text => Some(AppCommand::PasteBackground),
                    _ => None,
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
            self.keys.iter().find_map(|(&command, shortcuts)| {
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
        key => key.name(),
    };
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ids_and_labels_are_unique_and_default_keys_are_valid() {
        let mut ids = BTreeSet::new();
        let mut labels = BTreeSet::new();
        for command in AppCommand::all() {
            let spec = command.spec();
            assert!(ids.insert(spec.id), "{} twice", spec.id);
            assert!(labels.insert(spec.label), "{} twice", spec.label);
            for key in spec.keys {
                assert!(parse_shortcut(key).is_some(), "{key}");
            }
        }
    }

    #[test]
    fn no_two_commands_share_a_default_key() {
        let mut seen = BTreeMap::new();
        for command in AppCommand::all() {
            for key in command.spec().keys {
                let shortcut = shortcut_name(&parse_shortcut(key).unwrap());
                if let Some(other) = seen.insert(shortcut, command) {
                    panic!("{key} means both {other:?} and {command:?}");
                }
            }
        }
    }

    #[test]
    fn a_written_keymap_reads_back_the_same() {
        let keymap = Keymap::default();
        let again = Keymap::from_toml(&keymap.to_toml()).unwrap();
        assert_eq!(again.keys, keymap.keys);
    }

    #[test]
    fn a_keys_file_replaces_what_it_names_and_refuses_what_it_does_not_know() {
        let keymap = Keymap::from_toml("undo = [\"F3\"]\nstep = []").unwrap();
        assert_eq!(keymap.name(AppCommand::Undo), "F3");
        assert_eq!(keymap.name(AppCommand::Step), "");
        assert_eq!(keymap.name(AppCommand::Save), "Ctrl+S");
        let unknown = Keymap::from_toml("fly = [\"F3\"]").unwrap_err().to_string();
        assert!(unknown.contains("fly"), "{unknown}");
        let bad_key = Keymap::from_toml("undo = [\"Hyper+Q\"]").unwrap_err().to_string();
        assert!(bad_key.contains("Hyper+Q"), "{bad_key}");
    }

    #[test]
    fn single_keys_belong_to_text_fields_and_ctrl_commands_do_not() {
        let keymap = Keymap::default();
        let typing = |key, modifiers| keymap.find(key, None, modifiers, Focus::Text);
        assert_eq!(typing(Key::B, Modifiers::NONE), None);
        assert_eq!(typing(Key::Z, Modifiers::COMMAND), None);
        assert_eq!(typing(Key::S, Modifiers::COMMAND), Some(AppCommand::Save));
        assert_eq!(typing(Key::F5, Modifiers::NONE), Some(AppCommand::ToggleRun));
        let painting = keymap.find(Key::B, None, Modifiers::NONE, Focus::None);
        assert_eq!(painting, Some(AppCommand::ToolBrush));
    }

    #[test]
    fn shift_and_bracket_is_found_by_its_place() {
        let keymap = Keymap::default();
        let found = keymap.find(
            Key::OpenCurlyBracket,
            Some(Key::OpenBracket),
            Modifiers::SHIFT,
            Focus::None,
        );
        assert_eq!(found, Some(AppCommand::BrushSofter));
    }
}
