//! The app without a window: drawn by `egui_kittest`, reached through its accessibility tree.

use std::time::{Duration, Instant};

use egui_kittest::{Harness, HarnessBuilder};
use wordbrush::{
    app::{App, AppConfig},
    storage::folders::Folders,
};
use wordbrush_engine::api::{EngineConfig, ModelChoice, ModelSource};

/// How long a test waits for the engine before it fails.
const PATIENCE: Duration = Duration::from_mins(1);

/// The app with the toy model and nothing kept on disk.
pub(crate) fn app() -> Harness<'static, Option<App>> {
    app_of_size(1280.0, 800.0)
}

/// As [`app`], in a window of a size in points.
pub(crate) fn app_of_size(width: f32, height: f32) -> Harness<'static, Option<App>> {
    build(
        HarnessBuilder::default().with_size(egui::vec2(width, height)),
        None,
    )
}

/// As [`app`], with everything kept below a folder.
pub(crate) fn app_with_folders(folders: Folders) -> Harness<'static, Option<App>> {
    build(
        HarnessBuilder::default().with_size(egui::vec2(1280.0, 800.0)),
        Some(folders),
    )
}

/// As [`app_of_size`], drawn into pictures by the graphics card or a software driver.
pub(crate) fn rendered_app_of_size(width: f32, height: f32) -> Harness<'static, Option<App>> {
    build(
        HarnessBuilder::default()
            .with_size(egui::vec2(width, height))
            .wgpu(),
        None,
    )
}

/// As [`app`], started with a file.
pub(crate) fn app_opening(path: &std::path::Path) -> Harness<'static, Option<App>> {
    build_with(
        HarnessBuilder::default().with_size(egui::vec2(1280.0, 800.0)),
        AppConfig {
            open: Some(path.to_owned()),
            ..AppConfig::default()
        },
    )
}

fn build(builder: HarnessBuilder<Option<App>>, folders: Option<Folders>) -> Harness<'static, Option<App>> {
    build_with(
        builder,
        AppConfig {
            folders,
            ..AppConfig::default()
        },
    )
}

fn build_with(builder: HarnessBuilder<Option<App>>, config: AppConfig) -> Harness<'static, Option<App>> {
    let config = AppConfig {
        engine: EngineConfig {
            model: Some(ModelChoice::plain(ModelSource::Toy)),
            threads: Some(1),
            ..EngineConfig::default()
        },
        ..config
    };
    let show = move |ui: &mut egui::Ui, state: &mut Option<App>| {
        let app = state.get_or_insert_with(|| App::new(ui.ctx(), None, config.clone()));
        app.tick(ui.ctx());
        app.show(ui);
    };
    let mut harness: Harness<'static, Option<App>> = builder
        .with_step_dt(1.0 / 60.0)
        .with_context_setup(wordbrush::theme::install)
        .build_ui_state(show, None);
    harness.run_steps(4);
    harness
}

/// What the tests ask of the app.
pub(crate) trait AppHarness {
    /// The app.
    fn app(&self) -> &App;
    /// Draws until a condition holds; frames and events of the engine wake it.
    fn run_until(&mut self, what: &str, condition: impl Fn(&App) -> bool);
    /// Draws until the newest edit is in the picture.
    fn run_until_fresh(&mut self);
}

impl AppHarness for Harness<'static, Option<App>> {
    fn app(&self) -> &App {
        self.state().as_ref().expect("the first frame makes the app")
    }

    fn run_until(&mut self, what: &str, condition: impl Fn(&App) -> bool) {
        let begin = Instant::now();
        while !condition(self.app()) {
            assert!(begin.elapsed() < PATIENCE, "waited in vain: {what}");
            std::thread::yield_now();
            self.step();
        }
        self.run_steps(3);
    }

    fn run_until_fresh(&mut self) {
        self.run_until("the newest edit in the picture", App::is_up_to_date);
    }
}
