//! The app: its state, and eframe's two calls.
//!
//! ```text
//!  logic  take frames and events → run commands → hand edits to the engine → status
//!  ui     bars, panels, canvas, dialogs: read state, put wishes into the outbox
//! ```

mod canvases;
mod commands;
mod downloads;
mod files;
mod frames;
mod keys;
mod logic;
mod mask_work;
mod palettes;
pub mod preferences;
mod seeds;
mod session;
mod status;
mod ui;

use std::path::PathBuf;

use eframe::{egui, egui_wgpu::RenderState};
use wordbrush_engine::api::{Command, EngineConfig, ModelChoice, ModelSource};

use crate::{
    canvas::CanvasState,
    command::AppCommand,
    dialogs::Dialog,
    document::{Document, History, Target},
    engine_link::EngineLink,
    kept_frames::KeptFrames,
    notifications::{Level, Notifications},
    panels::{
        history_strip::HistoryStrip, outbox::Outbox, regions::RegionsState, thumbnails::Thumbnails,
        tools::ToolSettings,
    },
    samples,
    storage::{folders::Folders, settings},
    theme,
};
use preferences::{KeptPreferences, Preferences, ThemeChoice};
use status::StatusFile;

/// What the app is started with.
#[derive(Clone, Debug, Default)]
pub struct AppConfig {
    /// The engine's start.
    pub engine: EngineConfig,
    /// Where things are kept; nowhere if there are none.
    pub folders: Option<Folders>,
    /// A file to open at once.
    pub open: Option<PathBuf>,
    /// A file that gets a line of state each second, for tests of the real window.
    pub status_file: Option<PathBuf>,
}

impl AppConfig {
    /// For a window on a desktop: the pocket model, and the user's settings.
    ///
    /// `WORDBRUSH_STATUS_FILE` names a file for [`AppConfig::status_file`].
    pub fn for_desktop(open: Option<PathBuf>, folders: Option<Folders>) -> Self {
        Self {
            engine: EngineConfig {
                model: Some(ModelChoice::plain(ModelSource::Pocket)),
                ..EngineConfig::default()
            },
            folders,
            open,
            status_file: std::env::var_os("WORDBRUSH_STATUS_FILE").map(PathBuf::from),
        }
    }
}

/// Which part of the right panel is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SideTab {
    /// Regions and what the selected one shows.
    #[default]
    Regions,
    /// How the stream runs.
    Stream,
}

/// The app.
pub struct App {
    document: Document,
    history: History,
    selected: Target,
    previously_selected: Target,
    /// Counts changes of the document; the engine knows those up to `handed_over`.
    changes: u64,
    handed_over: Option<u64>,
    /// Changes at the last save.
    saved: u64,
    canvases: canvases::Canvases,
    /// Kept frames from this number on are of the canvas in hand, but for canvases that were left unsaved.
    first_frame: u64,

    link: EngineLink,
    keys: keys::Keys,
    preferences: Preferences,
    kept_preferences: KeptPreferences,
    notifications: Notifications,
    kept_frames: KeptFrames,
    frames: frames::FrameKeeper,
    strip: HistoryStrip,
    thumbnails: Thumbnails,
    regions: RegionsState,
    outbox: Outbox,
    canvas: CanvasState,
    canvas_area: egui::Rect,
    tabs_area: egui::Rect,
    pen: ToolSettings,
    wants_prompt_focus: bool,
    /// Whether the first control of the panels is to get the keyboard, as soon as it is there.
    wants_panel_focus: bool,
    dialog: Option<Dialog>,
    files: files::Files,
    mask_work: mask_work::MaskWork,
    session: session::SessionKeeper,
    downloads: downloads::Downloads,
    seeds: seeds::SeedSource,
    folders: Option<Folders>,
    tab: SideTab,
    hides_ui: bool,
    /// The key that hides the panels also moves the focus; it is taken away again at the end of the frame.
    drops_focus: bool,
    /// Whether Escape means something else than to close a message. It is known of the last frame: what has the keyboard
    /// has lost it by the time that the key is seen.
    escape_is_taken: bool,
    status_file: Option<StatusFile>,
}

impl App {
    /// Starts the engine and shows the first sample.
    ///
    /// The canvas is drawn by the graphics card of `render_state`, or as egui textures where there is none.
    pub fn new(ctx: &egui::Context, render_state: Option<&RenderState>, config: AppConfig) -> Self {
        theme::install(ctx);
        ctx.options_mut(|options| options.zoom_with_keyboard = false);
        let mut notifications = Notifications::default();
        let folder = config.folders.as_ref().map(|folders| &folders.config);
        let loaded = folder.map(|folder| settings::load::<Preferences>(&folder.join("interface.toml")));
        let preferences = loaded.map_or_else(Preferences::default, |loaded| {
            if let Some(notice) = loaded.notice {
                notifications.push(Level::Warning, notice);
            }
            loaded.settings
        });
        let pen = preferences.tools;
        let keys_path = folder.map(|folder| folder.join(keys::KEYS_FILE));
        let keys = keys::Keys::load(preferences.keys, keys_path.as_deref(), &mut notifications);
        let wake = ctx.clone();
        let engine = EngineConfig {
            threads: preferences.threads,
            ..config.engine
        };
        let (link, started) = EngineLink::new(engine, move || wake.request_repaint());
        if let Err(error) = started {
            notifications.push(Level::Error, format!("The engine does not start: {error}"));
        }
        let sample = &samples::SAMPLES[0];
        let document = samples::document(sample);
        let selected = document
            .regions
            .last()
            .map_or(Target::Background, |region| Target::Region(region.id));
        let mut app = Self {
            document,
            history: History::default(),
            selected,
            previously_selected: Target::Background,
            changes: 0,
            handed_over: None,
            saved: 0,
            canvases: canvases::Canvases::new(sample.name),
            first_frame: 0,
            link,
            keys,
            kept_preferences: KeptPreferences::new(&preferences),
            preferences,
            notifications,
            kept_frames: KeptFrames::default(),
            frames: frames::FrameKeeper::start(ctx),
            strip: HistoryStrip::default(),
            thumbnails: Thumbnails::default(),
            regions: RegionsState::default(),
            outbox: Outbox::default(),
            canvas: CanvasState::new(render_state),
            canvas_area: egui::Rect::ZERO,
            tabs_area: egui::Rect::ZERO,
            pen,
            wants_prompt_focus: false,
            wants_panel_focus: false,
            dialog: None,
            files: files::Files::start(ctx),
            mask_work: mask_work::MaskWork::start(ctx),
            session: session::SessionKeeper::default(),
            downloads: downloads::Downloads::new(config.folders.as_ref()),
            seeds: seeds::SeedSource::new(),
            folders: config.folders,
            tab: SideTab::default(),
            hides_ui: false,
            drops_focus: false,
            escape_is_taken: false,
            status_file: config.status_file.and_then(|path| StatusFile::start(path).ok()),
        };
        app.start_session();
        if let Some(path) = config.open {
            app.open_path(&path);
        }
        app
    }

    /// What is painted; for tests.
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// What is selected; for tests.
    pub fn selected(&self) -> Target {
        self.selected
    }

    /// The engine's end; for tests.
    pub fn link(&self) -> &EngineLink {
        &self.link
    }

    /// The messages on screen; for tests.
    pub fn notifications(&self) -> &Notifications {
        &self.notifications
    }

    /// The frames kept; for tests.
    pub fn kept_frames(&self) -> &KeptFrames {
        &self.kept_frames
    }

    /// Does what a menu entry would do; for tests.
    pub fn run(&mut self, ctx: &egui::Context, command: AppCommand) {
        self.run_command(ctx, command);
    }

    /// Whether the newest change is in the picture on screen; for tests.
    pub fn is_up_to_date(&self) -> bool {
        let shown = self.link.frame().map(|shown| shown.frame.revision);
        let is_handed_over = self.mask_work.is_idle() && self.handed_over == Some(self.changes);
        is_handed_over && shown == Some(self.link.revision())
    }

    fn is_dirty(&self) -> bool {
        // What is still being made is in no file either.
        self.changes != self.saved || !self.mask_work.is_idle()
    }

    fn apply_preferences(&mut self, ctx: &egui::Context) {
        self.keys.map.set_preset(self.preferences.keys);
        if self.link.threads() != self.preferences.threads {
            self.link.send(Command::SetThreads(self.preferences.threads));
        }
        let theme = match self.preferences.theme {
            ThemeChoice::Dark => egui::ThemePreference::Dark,
            ThemeChoice::Light => egui::ThemePreference::Light,
            ThemeChoice::System => egui::ThemePreference::System,
        };
        if ctx.options(|options| options.theme_preference) != theme {
            ctx.set_theme(theme);
        }
        let scale = self.preferences.scale.clamp(0.75, 2.0);
        if (ctx.zoom_factor() - scale).abs() > 0.001 {
            ctx.set_zoom_factor(scale);
        }
    }
}

impl eframe::App for App {
    fn logic(&mut self, ctx: &egui::Context, _frame: &mut eframe::Frame) {
        self.tick(ctx);
    }

    fn ui(&mut self, ui: &mut egui::Ui, _frame: &mut eframe::Frame) {
        self.show(ui);
    }

    fn on_exit(&mut self) {
        self.end_session();
    }
}
