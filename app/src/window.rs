//! The window on the desktop.

use std::{ffi::OsString, path::PathBuf};

use anyhow::{anyhow, ensure};
use eframe::egui::{ViewportBuilder, vec2};

use crate::{
    app::{App, AppConfig},
    storage::{folders::Folders, logs},
};

/// Opens the window with a file, if there is one, and runs until it is closed.
///
/// # Errors
/// If the system gives no window or no graphics.
pub fn open(file: Option<PathBuf>) -> anyhow::Result<()> {
    let folders = Folders::of_user().ok();
    if let Some(folders) = &folders
        && let Err(error) = logs::start(&folders.logs())
    {
        // Without a log the program is as good; stderr is for the command line.
        drop(error);
    }
    run(AppConfig::for_desktop(file, folders))
}

/// Opens the window and runs until it is closed.
///
/// # Errors
/// If the system gives no window or no graphics.
pub fn run(config: AppConfig) -> anyhow::Result<()> {
    ensure!(
        has_display(),
        "the window cannot be opened: there is no display (neither DISPLAY nor WAYLAND_DISPLAY is set); `wordbrush \
         render` paints without a window"
    );
    let options = eframe::NativeOptions {
        viewport: ViewportBuilder::default()
            .with_title("Wordbrush")
            .with_app_id("wordbrush")
            .with_inner_size(vec2(1360.0, 860.0))
            .with_min_inner_size(vec2(640.0, 440.0))
            .with_drag_and_drop(true),
        renderer: eframe::Renderer::Wgpu,
        ..Default::default()
    };
    let create: eframe::AppCreator<'_> = Box::new(move |creation| {
        Ok(Box::new(App::new(
            &creation.egui_ctx,
            creation.wgpu_render_state.as_ref(),
            config,
        )))
    });
    eframe::run_native("Wordbrush", options, create).map_err(|error| {
        tracing::error!("no window: {error}");
        match error {
            // What it says of a display that does not answer names places in its source.
            eframe::Error::WinitEventLoop(_) if is_named_by_variables() => anyhow!(
                "the window cannot be opened: no display answers ({}); `wordbrush render` paints without a window",
                displays().map(|(name, value)| format!("{name}={}", value.display())).collect::<Vec<_>>().join(", ")
            ),
            error => anyhow!("the window cannot be opened: {error}"),
        }
    })
}

/// Whether there is anything to open a window on; what the window library says of a missing one helps nobody.
fn has_display() -> bool {
    !is_named_by_variables() || displays().next().is_some()
}

/// Whether this is a system where variables tell which display there is.
fn is_named_by_variables() -> bool {
    cfg!(all(unix, not(target_os = "macos")))
}

/// The variables that tell of a display, with what they say.
fn displays() -> impl Iterator<Item = (&'static str, OsString)> {
    ["DISPLAY", "WAYLAND_DISPLAY", "WAYLAND_SOCKET"]
        .into_iter()
        .filter_map(|name| Some((name, std::env::var_os(name).filter(|value| !value.is_empty())?)))
}
