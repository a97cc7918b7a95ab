//! Files: opening, saving, exporting, and the system's dialogs; whatever waits does so on a thread of its own.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, bounded};
use eframe::egui;
use wordbrush_engine::api::{CanvasSize, ModelSource, ModelSummary, Picture, RegionId};

use super::{App, palettes::News};
use crate::{
    background_tasks::{Task, TaskThread},
    command::AppCommand,
    dialogs::{
        Dialog,
        export::{ExportDialog, ExportFormat, ExportRequest},
        file_path::{FilePathDialog, FilePurpose},
    },
    document::{BackgroundField, Document, Edit, RegionLayer},
    kept_frames::{CanvasNumber, Entry},
    notifications::Level,
    storage::{
        canvas_format::{CanvasFormat, canvas_path},
        clipboard::{self, Clipboard},
        export::{self, PictureFormat},
        frames::{KeptFrame, frame_path, read_frame},
        masks,
        open::{self, Opened, ProjectKind},
        ora,
        palette::{Demo, Palette},
        palette_library::{self, KeptPalette},
        project::{ModelRecord, Pin, Project},
        project_file, settings,
    },
};

/// Nobody closes a window so soon: the desktop has not shown any.
const NO_WINDOW_WITHIN: Duration = Duration::from_millis(250);

/// What the system's dialog brought.
enum Chosen {
    File(PathBuf),
    Nothing,
    /// There is no such dialog, as on desktops without a portal.
    NoDialog,
}

/// A job on files: looks whether it is done, and then answers what is to be done with its result.
type Job = Box<dyn FnMut() -> Option<Then>>;
pub(super) type Then = Box<dyn FnOnce(&mut App)>;

/// Where a pinned frame is to be found.
enum PinSource {
    Memory(Box<KeptFrame>),
    File(PathBuf),
}

/// Saves in the format that the file's name asks for.
fn save_canvas(project: &Project, path: &Path) -> anyhow::Result<()> {
    match CanvasFormat::from_path(path) {
        Some(CanvasFormat::OpenRaster) => ora::save(project, path),
        Some(CanvasFormat::Project) | None => project_file::save(project, path),
    }
}

/// How many pinned frames a save had to do without.
#[derive(Clone, Copy, Debug)]
struct LostPins(usize);

impl PinSource {
    /// The pin; for the thread "file-io".
    fn read(self) -> Option<Pin> {
        let frame = match self {
            Self::Memory(frame) => *frame,
            Self::File(path) => read_frame(&path)
                .inspect_err(|error| tracing::warn!("{error:#}"))
                .ok()?,
        };
        Some(Pin {
            name: String::new(),
            document: frame.document,
            picture: Some(frame.picture),
        })
    }
}

/// The system dialog that is open, and the jobs that run.
pub(super) struct Files {
    choosing: Option<(FilePurpose, Receiver<Chosen>)>,
    thread: anyhow::Result<TaskThread>,
    /// Reads what is opened. A folder on a network may never answer, and no save may wait for that.
    reading: anyhow::Result<TaskThread>,
    jobs: Vec<Job>,
    /// Files that were chosen while a canvas was in hand, until they are opened or saved: a mistake in a path is mended,
    /// not typed anew.
    wanted: BTreeMap<(FilePurpose, CanvasNumber), PathBuf>,
    /// As `wanted`, for the newest export.
    wanted_export: Option<(CanvasNumber, ExportRequest)>,
    /// What was copied last is on the clipboard as long as this is there.
    clipboard: Option<Clipboard>,
}

impl Files {
    /// Starts the threads "file-io" and "file-reading".
    pub(super) fn start(ctx: &egui::Context) -> Self {
        let start = |name| {
            let wake = ctx.clone();
            TaskThread::start(name, move || wake.request_repaint())
        };
        Self {
            choosing: None,
            thread: start("file-io"),
            reading: start("file-reading"),
            jobs: Vec::new(),
            wanted: BTreeMap::new(),
            wanted_export: None,
            clipboard: None,
        }
    }

    /// Gives up what is being opened, for the end of the program.
    pub(super) fn stop_reading(&mut self) {
        if let Ok(thread) = &mut self.reading {
            thread.leave();
        }
    }

    pub(super) fn is_busy(&self) -> bool {
        self.choosing.is_some() || !self.jobs.is_empty()
    }

    pub(super) fn browse_model(&mut self, ctx: &egui::Context) {
        self.browse(ctx, FilePurpose::Model, |dialog| {
            dialog
                .add_filter("Checkpoints", &["safetensors"])
                .set_title("Choose a checkpoint")
                .pick_file()
        });
    }

    /// Opens a system dialog on a thread of its own; one at a time.
    fn browse(
        &mut self,
        ctx: &egui::Context,
        purpose: FilePurpose,
        show: impl FnOnce(rfd::FileDialog) -> Option<PathBuf> + Send + 'static,
    ) {
        if self.choosing.is_some() {
            return;
        }
        let (sender, receiver) = bounded(1);
        let ctx = ctx.clone();
        let thread = std::thread::Builder::new()
            .name("file-dialog".to_owned())
            .spawn(move || {
                let asked = Instant::now();
                let chosen = match show(rfd::FileDialog::new()) {
                    Some(path) => Chosen::File(path),
                    None if asked.elapsed() < NO_WINDOW_WITHIN => Chosen::NoDialog,
                    None => Chosen::Nothing,
                };
                // A receiver that is gone means that the app has ended.
                drop(sender.send(chosen));
                ctx.request_repaint();
            });
        match thread {
            Ok(_) => self.choosing = Some((purpose, receiver)),
            Err(error) => tracing::error!("no thread for a file dialog: {error}"),
        }
    }
}

impl App {
    /// Takes what dialogs and jobs have brought.
    pub(super) fn poll_files(&mut self, ctx: &egui::Context) {
        let mut done = Vec::new();
        self.files.jobs.retain_mut(|job| match job() {
            Some(then) => {
                done.push(then);
                false
            }
            None => true,
        });
        for then in done {
            then(self);
        }
        let Some((purpose, receiver)) = &self.files.choosing else {
            return;
        };
        let Ok(chosen) = receiver.try_recv() else { return };
        let purpose = *purpose;
        self.files.choosing = None;
        match chosen {
            Chosen::File(path) => self.use_file(purpose, path),
            Chosen::Nothing => {}
            Chosen::NoDialog => self.ask_for_path(purpose),
        }
        ctx.request_repaint();
    }

    /// Asks for a file's path by hand; what has a field of its own for it only needs a word.
    pub fn ask_for_path(&mut self, purpose: FilePurpose) {
        if self.dialog.is_some() {
            let text = "This desktop shows no window to choose files: write the path into the field.";
            self.notifications.push(Level::Info, text);
            return;
        }
        let wanted = self.files.wanted.get(&(purpose, self.canvases.present()));
        let path = match (purpose, wanted) {
            (_, Some(wanted)) => wanted.clone(),
            (FilePurpose::Save, None) => self
                .canvases
                .path()
                .map_or_else(|| self.export_path().with_extension("wordbrush"), Path::to_owned),
            (_, None) => PathBuf::new(),
        };
        self.dialog = Some(Dialog::FilePath(FilePathDialog::new(purpose, &path)));
    }

    /// Does with a file what it was chosen for.
    pub(super) fn use_file(&mut self, purpose: FilePurpose, path: PathBuf) {
        let present = self.canvases.present();
        self.files.wanted.insert((purpose, present), path.clone());
        match purpose {
            FilePurpose::Open => self.open_path(&path),
            FilePurpose::Background => self.drop_path(&path, true),
            FilePurpose::Save => self.once_masks_are_made(move |app| app.save_to(path)),
            FilePurpose::Export => {
                if let Some(Dialog::Export(dialog)) = &mut self.dialog {
                    dialog.set_path(&path);
                }
            }
            FilePurpose::Model => {
                if let Some(Dialog::Model(dialog)) = &mut self.dialog {
                    dialog.set_path(&path);
                }
            }
        }
    }

    fn announce_saved(&mut self, lost_pins: LostPins, path: &Path, canvas: CanvasNumber, changes: u64) {
        self.take_saved(canvas, path, changes);
        self.notifications
            .push(Level::Success, format!("Saved {}", path.display()));
        if lost_pins.0 > 0 {
            let text = match lost_pins.0 {
                1 => "1 pinned frame could not be read from the disk and is not in the file.".to_owned(),
                count => {
                    format!("{count} pinned frames could not be read from the disk and are not in the file.")
                }
            };
            self.notifications.push(Level::Warning, text);
        }
        self.note_session();
    }

    fn take_opened(&mut self, opened: Opened, path: &Path, is_for_background: bool) {
        match opened {
            Opened::Project { project, .. } if is_for_background => match project.last_frame {
                Some(picture) => self.set_background(picture, "Background picture"),
                None => self
                    .notifications
                    .push(Level::Info, "There is no picture in this file."),
            },
            Opened::Project { project, kind, .. } => {
                let path = path.to_owned();
                self.once_masks_are_made(move |app| app.take_project(*project, &kind, &path));
            }
            Opened::Picture { picture, .. } => self.set_background(picture, "Background picture"),
            Opened::ColourMasks { picture, .. } if is_for_background => {
                self.set_background(picture, "Background picture");
            }
            Opened::ColourMasks { masks, .. } => self.add_masks(masks),
            Opened::Palette(palette) => self.add_palette(&palette),
        }
    }

    fn take_project(&mut self, project: Project, kind: &ProjectKind, path: &Path) {
        let document = Document {
            model: self.document.model.clone(),
            ..project.document
        };
        // Saving to it would take from the file what could not be read of it.
        let is_whole = project.pins_left_out == 0;
        let own_path = (*kind == ProjectKind::Project && is_whole).then(|| path.to_owned());
        self.replace_document(document, &stem(path), own_path);
        if let Some(picture) = project.last_frame {
            self.link.show(picture);
        }
        for pin in project.pins {
            if let Some(picture) = pin.picture {
                let canvas = Some(self.canvases.present());
                self.kept_frames.keep(&pin.document, &picture, canvas);
            }
        }
        if !is_whole {
            let text = format!(
                "Memory has no room for {} of the pinned frames in this file. Save the canvas under another name: they stay \
                 in {} only.",
                project.pins_left_out,
                path.display()
            );
            self.notifications.push(Level::Warning, text);
        }
        let told = self
            .link
            .summary()
            .and_then(|running| told_of_model(project.model_record.as_ref(), kind, running));
        if let Some(text) = told {
            self.notifications
                .push_with_action(Level::Info, text, Some(AppCommand::ModelWindow));
        }
    }

    /// The masks of a colour-coded picture become regions.
    fn add_masks(&mut self, found: Vec<([u8; 3], wordbrush_engine::api::Mask)>) {
        let mut edits = Vec::with_capacity(found.len());
        for (id, (colour, mask)) in (self.document.next_region_id..).zip(found) {
            let mut region = RegionLayer::new(RegionId(id), self.document.size, colour, "");
            region.mask = mask;
            edits.push(Edit::AddRegion {
                index: usize::MAX,
                region: Box::new(region),
            });
        }
        let text = match edits.len() {
            1 => "1 region was made from the picture's colours: give it a prompt.".to_owned(),
            count => format!("{count} regions were made from the picture's colours: give them prompts."),
        };
        self.apply(Edit::Batch(edits), "Regions from colours", None);
        self.notifications.push(Level::Success, text);
    }

    fn set_background(&mut self, picture: Picture, label: &'static str) {
        self.apply(
            Edit::Background(BackgroundField::Image(Some(picture))),
            label,
            None,
        );
    }

    pub(super) fn browse_open(&mut self, ctx: &egui::Context) {
        self.files.browse(ctx, FilePurpose::Open, |dialog| {
            let kinds = ["wordbrush", "ora", "png", "jpg", "jpeg", "webp", "json"];
            dialog
                .add_filter("Canvases and pictures", &kinds)
                .set_title("Open")
                .pick_file()
        });
    }

    pub(super) fn browse_background(&mut self, ctx: &egui::Context) {
        self.files.browse(ctx, FilePurpose::Background, |dialog| {
            dialog
                .add_filter("Pictures", &["png", "jpg", "jpeg", "webp"])
                .set_title("Background picture")
                .pick_file()
        });
    }

    pub(super) fn browse_save(&mut self, ctx: &egui::Context) {
        let name = format!("{}.wordbrush", self.canvases.title());
        self.files.browse(ctx, FilePurpose::Save, move |dialog| {
            dialog
                .add_filter("Wordbrush project", &["wordbrush"])
                .add_filter("OpenRaster", &["ora"])
                .set_file_name(name)
                .set_title("Save as")
                .save_file()
        });
    }

    pub(super) fn browse_export(&mut self, ctx: &egui::Context) {
        let name = format!("{}.png", self.canvases.title());
        self.files.browse(ctx, FilePurpose::Export, move |dialog| {
            dialog
                .add_filter("Pictures", &["png", "jpg", "webp", "ora"])
                .set_file_name(name)
                .set_title("Export picture")
                .save_file()
        });
    }

    /// Opens a project, a picture, a palette: whatever it is.
    pub(super) fn open_path(&mut self, path: &Path) {
        self.begin_open(path, false);
    }

    /// Takes a file that was dropped on the window.
    pub(super) fn drop_path(&mut self, path: &Path, is_for_background: bool) {
        self.begin_open(path, is_for_background);
    }

    fn begin_open(&mut self, path: &Path, is_for_background: bool) {
        let path = path.to_owned();
        let job = path.clone();
        let size = self.document.size;
        let purpose = if is_for_background {
            FilePurpose::Background
        } else {
            FilePurpose::Open
        };
        let wanted = (purpose, self.canvases.present());
        self.begin_reading(
            "Opening",
            move || open_for(&job, size),
            move |app, opened| {
                app.files.wanted.remove(&wanted);
                app.take_opened(opened, &path, is_for_background);
            },
        );
    }

    /// Asks the thread "file-io" for a job.
    pub(super) fn begin<T: Send + 'static>(
        &mut self,
        name: &str,
        job: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
    ) -> Option<Task<T>> {
        match &self.files.thread {
            Ok(thread) => Some(thread.run(name, |_progress| job())),
            Err(error) => {
                let text = format!("Files cannot be read or written: {error:#}");
                self.notifications.push(Level::Error, text);
                None
            }
        }
    }

    /// As [`App::begin`], and does with what the job brings what `then` says. A failure is told until the same
    /// kind of work succeeds.
    pub(super) fn begin_then<T: Send + 'static>(
        &mut self,
        name: &'static str,
        job: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
        then: impl FnOnce(&mut Self, T) + 'static,
    ) {
        if let Some(task) = self.begin(name, job) {
            self.follow(name, task, then);
        }
    }

    /// As [`App::begin_then`], for what only reads: nothing that is written waits for it, nor does the end of the program.
    pub(super) fn begin_reading<T: Send + 'static>(
        &mut self,
        name: &'static str,
        job: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
        then: impl FnOnce(&mut Self, T) + 'static,
    ) {
        match &self.files.reading {
            Ok(thread) => {
                let task = thread.run(name, |_progress| job());
                self.follow(name, task, then);
            }
            Err(error) => {
                let text = format!("Files cannot be read: {error:#}");
                self.notifications.push(Level::Error, text);
            }
        }
    }

    fn follow<T: Send + 'static>(
        &mut self,
        name: &'static str,
        task: Task<T>,
        then: impl FnOnce(&mut Self, T) + 'static,
    ) {
        let mut then = Some(then);
        self.files.jobs.push(Box::new(move || {
            let result = task.poll()?;
            let then = then.take()?;
            Some(Box::new(move |app: &mut Self| match result {
                Ok(value) => {
                    app.notifications.take_succeeded(name);
                    then(app, value);
                }
                Err(error) => app.notifications.push_failed(name, format!("{error:#}")),
            }))
        }));
    }

    /// Saves to the file it came from, or asks for one.
    pub(super) fn save(&mut self, ctx: &egui::Context) {
        match self.canvases.path().map(Path::to_owned) {
            Some(path) => self.save_to(path),
            None => self.browse_save(ctx),
        }
    }

    fn save_to(&mut self, path: PathBuf) {
        let path = canvas_path(path);
        let mut project = self.project();
        let pins = self.pin_sources();
        let target = path.clone();
        let (canvas, changes) = (self.canvases.present(), self.changes);
        let save = move || {
            let wanted = pins.len();
            project.pins = pins.into_iter().filter_map(PinSource::read).collect();
            save_canvas(&project, &target)?;
            Ok(LostPins(wanted - project.pins.len()))
        };
        self.begin_then("Saving", save, move |app, lost_pins| {
            app.files.wanted.remove(&(FilePurpose::Save, canvas));
            app.announce_saved(lost_pins, &path, canvas, changes);
        });
    }

    /// The canvas with everything that is kept with it, but for the pins, which may have to be read first.
    fn project(&self) -> Project {
        Project {
            model_record: self.link.summary().map(ModelRecord::from),
            last_frame: self.link.frame().map(|shown| shown.frame.picture.clone()),
            ..Project::new(self.document.clone())
        }
    }

    /// The pins of the canvas in hand, and those of which it is not known whose they are.
    fn pin_sources(&self) -> Vec<PinSource> {
        let folder = self.session.frames_folder();
        let present = self.canvases.present();
        let is_of_present = |entry: &&Entry| entry.canvas().is_none_or(|canvas| canvas == present);
        let source = |entry: &Entry| match entry.frame() {
            Some(frame) => Some(PinSource::Memory(Box::new(frame.clone()))),
            None => Some(PinSource::File(frame_path(folder.as_deref()?, entry.number()))),
        };
        let pinned = self.kept_frames.pinned().filter(is_of_present);
        pinned.filter_map(source).collect()
    }

    pub(super) fn copy_picture(&mut self) {
        let Some(picture) = self.link.frame().map(|shown| shown.frame.picture.clone()) else {
            self.notifications
                .push(Level::Info, "There is no picture yet to be copied.");
            return;
        };
        self.begin_then(
            "Copying",
            move || clipboard::copy_picture(&picture),
            |app, clipboard| {
                app.files.clipboard = Some(clipboard);
                app.notifications
                    .push(Level::Success, "The picture is on the clipboard.");
            },
        );
    }

    /// Asks the thread "file-io" for a job on the library of palettes that ends with what is in it then.
    pub(super) fn begin_palettes(
        &mut self,
        news: Option<News>,
        job: impl FnOnce() -> anyhow::Result<Vec<KeptPalette>> + Send + 'static,
    ) {
        self.begin_then("Palettes", job, |app, palettes| {
            if let Some(Dialog::Palettes(dialog)) = &mut app.dialog {
                dialog.set_palettes(palettes);
            }
            if let Some(news) = news {
                app.notifications
                    .push_with_action(Level::Success, news.text, news.action);
            }
        });
    }

    pub(super) fn paste_background(&mut self) {
        // What is on the clipboard comes from another program, which may not answer.
        self.begin_reading("Pasting", clipboard::paste_picture, |app, pasted| match pasted {
            Some(picture) => app.set_background(picture, "Paste background picture"),
            None => app
                .notifications
                .push(Level::Info, "There is no picture on the clipboard."),
        });
    }

    /// Where an export goes unless told otherwise.
    pub(super) fn export_path(&self) -> PathBuf {
        // A file without a folder would land wherever the program was started.
        let pictures = || {
            let folders = directories::UserDirs::new()?;
            Some(
                folders
                    .picture_dir()
                    .unwrap_or_else(|| folders.home_dir())
                    .to_owned(),
            )
        };
        let folder = self
            .preferences
            .export_folder
            .clone()
            .or_else(pictures)
            .unwrap_or_default();
        folder.join(format!("{}.png", self.canvases.title()))
    }

    pub(super) fn export_dialog(&self) -> ExportDialog {
        match &self.files.wanted_export {
            Some((canvas, request)) if *canvas == self.canvases.present() => ExportDialog::again(request),
            _ => ExportDialog::new(&self.export_path()),
        }
    }

    pub(super) fn export(&mut self, request: &ExportRequest) {
        let project = self.project();
        let (format, target, quality) = (request.format, request.path.clone(), request.quality);
        let path = request.path.clone();
        let job = move || match format {
            ExportFormat::Png => export::export_picture(&project, PictureFormat::Png, &target),
            ExportFormat::Jpeg => export::export_picture(&project, PictureFormat::Jpeg { quality }, &target),
            ExportFormat::WebP => export::export_picture(&project, PictureFormat::WebP { quality }, &target),
            ExportFormat::OpenRaster => ora::save(&project, &target),
            ExportFormat::Masks => masks::export_masks(&project.document, &target).map(drop),
            ExportFormat::Palette => {
                let palette = Palette::from_document(&project.document);
                palette_library::save(&palette, Demo::default(), &target)
            }
        };
        self.files.wanted_export = Some((self.canvases.present(), request.clone()));
        self.begin_then("Exporting", job, move |app, ()| {
            app.files.wanted_export = None;
            // A bare name has the folder in which the program was started, which is none to come back to.
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            if let Some(folder) = folder {
                app.preferences.export_folder = Some(folder.to_owned());
            }
            app.notifications
                .push(Level::Success, format!("Exported {}", path.display()));
        });
    }

    /// Asks for the preferences to be written, if there is a place for them.
    pub(super) fn write_preferences(&mut self) {
        let Some(path) = self
            .folders
            .as_ref()
            .map(|folders| folders.config.join("interface.toml"))
        else {
            self.kept_preferences.note_written(&self.preferences);
            return;
        };
        let preferences = self.preferences.clone();
        match self.begin("Keeping preferences", move || settings::save(&preferences, &path)) {
            Some(task) => self.kept_preferences.follow(&self.preferences, task),
            // There is no thread for files, and there will be none.
            None => self.kept_preferences.note_written(&self.preferences),
        }
    }
}

/// Opens a file; masks from colours are brought to the canvas' size.
fn open_for(path: &Path, size: CanvasSize) -> anyhow::Result<Opened> {
    Ok(match open::open_path(path)? {
        Opened::ColourMasks { masks, picture } => Opened::ColourMasks {
            masks: masks::fit(masks, size)?,
            picture,
        },
        opened => opened,
    })
}

/// What to say where another model paints a canvas than the one that it was made with or for.
fn told_of_model(
    painted_by: Option<&ModelRecord>,
    kind: &ProjectKind,
    running: &ModelSummary,
) -> Option<String> {
    let now = &running.name;
    if let ProjectKind::Scene {
        model_name: Some(wanted),
        ..
    } = kind
    {
        let is_meant = is_called(&running.choice.source, wanted);
        return (!is_meant).then(|| format!("This scene is meant for {wanted}; {now} paints it now."));
    }
    let before = painted_by.filter(|record| !record.name.is_empty())?;
    if before.name != *now {
        return Some(format!(
            "This canvas was painted with {}; {now} paints it now.",
            before.name
        ));
    }
    let is_same_file = before.fingerprint.is_empty() || before.fingerprint == running.fingerprint;
    (!is_same_file).then(|| format!("This canvas was painted with another version of {now}."))
}

/// Whether a scene's name of a model, known or a path, means this one.
fn is_called(source: &ModelSource, name: &str) -> bool {
    match source {
        ModelSource::Path(path) => {
            let is_known = path.components().any(|part| part.as_os_str() == name);
            is_known || path.file_name() == Path::new(name).file_name()
        }
        source => source.built_in_name() == Some(name),
    }
}

pub(super) fn stem(path: &Path) -> String {
    path.file_stem().map_or_else(
        || "Untitled".to_owned(),
        |stem| stem.to_string_lossy().into_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canvas_is_saved_as_its_name_says() {
        let folder = tempfile::tempdir().unwrap();
        let project = Project::new(Document::new(CanvasSize::new(40, 30).unwrap()));
        for (name, expected) in [
            ("a.wordbrush", ProjectKind::Project),
            ("a.ora", ProjectKind::OpenRaster),
        ] {
            let path = folder.path().join(name);
            save_canvas(&project, &path).unwrap();
            let Opened::Project { kind, .. } = open::open_path(&path).unwrap() else {
                panic!("{name} is no canvas");
            };
            assert_eq!(kind, expected);
        }
    }

    #[test]
    fn a_scene_calls_its_model_by_name_or_path() {
        let downloaded = ModelSource::Path("/home/a/models/sd-turbo/sd_turbo.safetensors".into());
        assert!(is_called(&downloaded, "sd-turbo"));
        assert!(is_called(&downloaded, "../models/sd_turbo.safetensors"));
        assert!(!is_called(&downloaded, "pocket"));
        assert!(is_called(&ModelSource::Pocket, "pocket"));
        assert!(!is_called(&ModelSource::Pocket, "sd-turbo"));
    }
}
