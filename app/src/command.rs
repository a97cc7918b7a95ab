//! Every user intent: its name, icon, keys and place in the menus.
//!
//! Menus, the command palette, the help page and the keyboard read from here; `app/commands.rs` carries them out.
//! Which keys are in use is the matter of [`crate::keymap`].

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
    CopyPicture,
    PasteBackground,
    RemoveBackgroundImage,
    Settings,
    NewRegion,
    Palettes,
    DuplicateRegion,
    RenameRegion,
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
    MaskEdge,
    Deselect,
    ToggleRun,
    Step,
    ToggleDream,
    RerollAll,
    KeepFrame,
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
    /// Whether holding its key down asks for it again and again.
    pub fn repeats(self) -> bool {
        matches!(
            self,
            Self::Undo
                | Self::Redo
                | Self::BrushLarger
                | Self::BrushSmaller
                | Self::BrushHarder
                | Self::BrushSofter
                | Self::ZoomIn
                | Self::ZoomOut
                | Self::RotateLeft
                | Self::RotateRight
                | Self::RaiseRegion
                | Self::LowerRegion
                | Self::Step
        )
    }

    /// Every command, in menu order.
    #[rustfmt::skip] // A list, not a column.
    pub fn all() -> impl Iterator<Item = Self> {
        [
            Self::NewCanvas, Self::Open, Self::Gallery, Self::Save, Self::SaveAs, Self::Export, Self::Quit, Self::Undo, Self::Redo,
            Self::CanvasSize, Self::CopyPicture, Self::BackgroundImage, Self::PasteBackground, Self::RemoveBackgroundImage, Self::Settings,
            Self::NewRegion, Self::Palettes, Self::DuplicateRegion, Self::RenameRegion, Self::DeleteRegion, Self::RaiseRegion, Self::LowerRegion,
            Self::ToggleVisible, Self::ToggleLock, Self::Solo, Self::RerollRegion, Self::SwapRegions, Self::SelectBackground,
        ]
        .into_iter()
        .chain((1..=9).map(Self::SelectRegion))
        .chain([
            Self::FillMask, Self::ClearMask, Self::InvertMask, Self::GrowMask, Self::ShrinkMask, Self::FeatherMask,
            Self::MaskEdge, Self::Deselect, Self::ToolBrush, Self::ToolEraser, Self::ToolFill, Self::ToolRectangle, Self::ToolEllipse,
            Self::ToolLasso, Self::ToolPick, Self::BrushLarger, Self::BrushSmaller, Self::BrushHarder, Self::BrushSofter,
            Self::ToggleRun, Self::Step, Self::ToggleDream, Self::RerollAll, Self::KeepFrame, Self::ModelWindow, Self::ZoomIn, Self::ZoomOut,
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
            Self::Export => spec(Menu::File, "Export picture…", "export", icons::DOWNLOAD, &["Ctrl+Shift+E"], "Save the picture as PNG, JPEG, WebP or OpenRaster, its masks or its palette. A picture can be dropped back in to restore the canvas."),
            Self::Quit => spec(Menu::File, "Quit", "quit", icons::LOG_OUT, &["Ctrl+Q"], "Close Wordbrush. What is not saved is kept, and offered at the next start."),
            Self::Undo => spec(Menu::Edit, "Undo", "undo", icons::UNDO_2, &["Ctrl+Z"], "Take back the last change."),
            Self::Redo => spec(Menu::Edit, "Redo", "redo", icons::REDO_2, &["Ctrl+Shift+Z", "Ctrl+Y"], "Bring back what was undone."),
            Self::CanvasSize => spec(Menu::Edit, "Canvas size…", "canvas-size", icons::SCALING, &["Ctrl+Alt+C"], "Change the canvas size while it runs."),
            Self::BackgroundImage => spec(Menu::Edit, "Background picture…", "background-image", icons::IMAGE_PLUS, &[], "Put a picture behind the regions. Dropping a file does the same."),
            Self::CopyPicture => spec(Menu::Edit, "Copy picture", "copy-picture", icons::COPY, &["Ctrl+C"], "Put the picture on the clipboard, for other programs."),
            Self::PasteBackground => spec(Menu::Edit, "Paste background picture", "paste-background", icons::CLIPBOARD_PASTE, &["Ctrl+V"], "Put the picture from the clipboard behind the regions."),
            Self::RemoveBackgroundImage => spec(Menu::Edit, "Remove background picture", "remove-background-image", icons::IMAGE_OFF, &[], "Go back to a white background."),
            Self::Settings => spec(Menu::Edit, "Settings…", "settings", icons::SETTINGS, &["Ctrl+Comma"], "Theme, interface size, keys, threads."),
            Self::NewRegion => spec(Menu::Region, "New region", "new-region", icons::PLUS, &["Ctrl+Shift+N", "Insert"], "Add a region with its own prompt."),
            Self::Palettes => spec(Menu::Region, "Brush palettes…", "palettes", icons::PALETTE, &["Ctrl+Alt+B"], "Add sets of brushes from the library, or keep this canvas' own."),
            Self::DuplicateRegion => spec(Menu::Region, "Duplicate region", "duplicate-region", icons::COPY, &["Ctrl+J"], "Copy the region with its mask and prompt."),
            Self::RenameRegion => spec(Menu::Region, "Rename region", "rename-region", icons::PENCIL, &["F2"], "Give the region a name of its own; a double click in the list does the same."),
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
            Self::GrowMask => spec(Menu::Mask, "Grow mask", "grow-mask", icons::EXPAND, &["Ctrl+Alt+Plus", "Ctrl+Alt+Equals", "Ctrl+Alt+Shift+Plus"], "Widen the region; “Mask edge…” says how far."),
            Self::ShrinkMask => spec(Menu::Mask, "Shrink mask", "shrink-mask", icons::SHRINK, &["Ctrl+Alt+Minus"], "Narrow the region; “Mask edge…” says how far."),
            Self::FeatherMask => spec(Menu::Mask, "Feather mask", "feather-mask", icons::WAVES, &["Ctrl+Alt+F"], "Soften the region's edge; “Mask edge…” says how far."),
            Self::MaskEdge => spec(Menu::Mask, "Mask edge…", "mask-edge", icons::SLIDERS_HORIZONTAL, &[], "How far grow, shrink and feather go."),
            Self::Deselect => spec(Menu::Mask, "Cancel what is being drawn", "deselect", icons::X, &["Ctrl+D"], "Give up an unfinished shape or lasso; Escape does the same."),
            Self::ToolBrush => spec(Menu::Tools, "Brush", "brush", icons::BRUSH, &["B"], "Paint the region. Shift draws straight lines."),
            Self::ToolEraser => spec(Menu::Tools, "Eraser", "eraser", icons::ERASER, &["E"], "Unpaint the region. Again goes back to the brush."),
            Self::ToolFill => spec(Menu::Tools, "Fill", "fill", icons::PAINT_BUCKET, &["G"], "Fill an enclosed area."),
            Self::ToolRectangle => spec(Menu::Tools, "Rectangle", "rectangle", icons::SQUARE_DASHED, &["U"], "Drag a rectangle. Ctrl takes away, Shift makes it square."),
            Self::ToolEllipse => spec(Menu::Tools, "Ellipse", "ellipse", icons::CIRCLE_DASHED, &["Shift+U"], "Drag an ellipse. Ctrl takes away, Shift makes it round."),
            Self::ToolLasso => spec(Menu::Tools, "Lasso", "lasso", icons::LASSO, &["L"], "Draw round an area. Ctrl takes away."),
            Self::ToolPick => spec(Menu::Tools, "Pick region", "pick", icons::PIPETTE, &["I"], "Click the canvas to select the region there. Alt-click does it with every tool."),
            Self::BrushLarger => spec(Menu::Tools, "Larger brush", "brush-larger", "", &["]"], "Or Shift+drag to the right on the canvas."),
            Self::BrushSmaller => spec(Menu::Tools, "Smaller brush", "brush-smaller", "", &["["], "Or Shift+drag to the left on the canvas."),
            Self::BrushHarder => spec(Menu::Tools, "Harder brush", "brush-harder", "", &["Shift+]"], "A crisper edge. Or Shift+drag upwards on the canvas."),
            Self::BrushSofter => spec(Menu::Tools, "Softer brush", "brush-softer", "", &["Shift+["], "A softer edge. Or Shift+drag downwards on the canvas."),
            Self::ToggleRun => spec(Menu::Stream, "Run or pause", "toggle-run", icons::PLAY, &["F5", "Ctrl+Enter"], "Start or pause the stream."),
            Self::Step => spec(Menu::Stream, "Single step", "step", icons::STEP_FORWARD, &["F10"], "Make one frame while paused."),
            Self::ToggleDream => spec(Menu::Stream, "Hold or dream", "toggle-dream", icons::INFINITY, &["D"], "Hold: the picture settles. Dream: endless variation."),
            Self::RerollAll => spec(Menu::Stream, "Reroll the canvas", "reroll", icons::DICES, &["Ctrl+Alt+R"], "New noise for the whole canvas."),
            Self::KeepFrame => spec(Menu::Stream, "Keep this picture", "keep-frame", icons::PIN, &["F9"], "Pin the picture of this moment in the history strip, also while it dreams."),
            Self::ModelWindow => spec(Menu::Stream, "Model…", "model", icons::PACKAGE, &["Ctrl+M"], "Choose the model that paints."),
            Self::ZoomIn => spec(Menu::View, "Zoom in", "zoom-in", icons::ZOOM_IN, &["Ctrl+Plus", "Ctrl+Equals"], "Or turn the wheel."),
            Self::ZoomOut => spec(Menu::View, "Zoom out", "zoom-out", "", &["Ctrl+Minus"], "Or turn the wheel."),
            Self::ZoomFit => spec(Menu::View, "Fit canvas", "zoom-fit", icons::MAXIMIZE, &["Ctrl+0"], "Show the whole canvas."),
            Self::ZoomActual => spec(Menu::View, "100 %", "zoom-actual", "", &["Ctrl+1"], "One canvas pixel per screen pixel."),
            Self::RotateLeft => spec(Menu::View, "Rotate left", "rotate-left", icons::ROTATE_CCW, &[], "Turn the view by 15°. R-drag turns freely."),
            Self::RotateRight => spec(Menu::View, "Rotate right", "rotate-right", "", &[], "Turn the view by 15°. R-drag turns freely."),
            Self::ResetRotation => spec(Menu::View, "Reset rotation", "reset-rotation", "", &["Shift+5"], "Set the view upright."),
            Self::MirrorView => spec(Menu::View, "Mirror view", "mirror", icons::FLIP_HORIZONTAL_2, &["M"], "Flip the view; the picture stays as it is."),
            Self::CycleView => spec(Menu::View, "Next view", "cycle-view", icons::COLUMNS_2, &["V"], "One picture, two with a line to drag, two side by side."),
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

impl AppCommand {
    /// The command of a name in the keys file.
    pub fn from_id(id: &str) -> Option<Self> {
        Self::all().find(|command| command.spec().id == id)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ids_and_labels_are_unique() {
        let mut ids = BTreeSet::new();
        let mut labels = BTreeSet::new();
        for command in AppCommand::all() {
            let spec = command.spec();
            assert!(ids.insert(spec.id), "{} twice", spec.id);
            assert!(labels.insert(spec.label), "{} twice", spec.label);
            assert_eq!(AppCommand::from_id(spec.id), Some(command));
        }
    }
}
