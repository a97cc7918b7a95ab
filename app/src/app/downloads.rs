//! Known models: which are on this machine, and their download. Nothing goes over the network unless asked.

use eframe::egui;

use super::App;
use crate::{
    background_tasks::{Task, TaskThread},
    command::AppCommand,
    dialogs::model::{DownloadProgress, KnownModelRow},
    models_store::{Downloader, KnownModel, ModelState, ModelStore, PullError},
    notifications::Level,
    storage::folders::Folders,
};

/// What is known of downloadable models, and the download that runs.
#[derive(Default)]
pub(super) struct Downloads {
    store: Option<ModelStore>,
    states: Vec<(KnownModel, ModelState)>,
    look: Option<Task<Vec<(KnownModel, ModelState)>>>,
    thread: Option<TaskThread>,
    running: Option<(KnownModel, Task<()>)>,
}

impl Downloads {
    pub(super) fn new(folders: Option<&Folders>) -> Self {
        Self {
            store: folders.map(ModelStore::of_user),
            ..Self::default()
        }
    }
}

impl App {
    /// Looks which models are here; the model window shows the answer when it comes.
    pub(super) fn look_for_models(&mut self) {
        let Some(store) = self.downloads.store.clone() else {
            return;
        };
        self.downloads.look = self.begin("Looking for models", move || {
            let models = store.catalogue().models().iter();
            Ok(models.map(|model| (model.clone(), store.state(model))).collect())
        });
    }

    /// What the model window lists.
    pub(super) fn known_models(&self) -> Vec<KnownModelRow> {
        let Some(store) = &self.downloads.store else {
            return Vec::new();
        };
        let running = self.downloads.running.as_ref();
        let row = |(model, state): &(KnownModel, ModelState)| KnownModelRow {
            name: model.name.clone(),
            title: model.title.clone(),
            family: model.family.clone(),
            licence: model.licence.clone(),
            licence_url: model.licence_url.clone(),
            bytes: model.total_bytes(),
            state: *state,
            choice: store.choice(model),
            progress: running
                .filter(|(known, _)| known.name == model.name)
                .map(|(_, task)| DownloadProgress::of(task.progress())),
        };
        self.downloads.states.iter().map(row).collect()
    }

    /// Begins a download; one at a time.
    pub(super) fn download_model(&mut self, ctx: &egui::Context, name: &str) {
        let Some(store) = self.downloads.store.clone() else {
            return;
        };
        let Some(model) = store.catalogue().find(name).cloned() else {
            return;
        };
        if self.downloads.running.is_some() {
            self.notifications.push(
                Level::Info,
                "One download at a time: wait for the one that runs, or cancel it.",
            );
            return;
        }
        if self.downloads.thread.is_none() {
            let wake = ctx.clone();
            match TaskThread::start("download", move || wake.request_repaint()) {
                Ok(thread) => self.downloads.thread = Some(thread),
                Err(error) => self.notifications.push(Level::Error, format!("{error:#}")),
            }
        }
        let Some(thread) = &self.downloads.thread else {
            return;
        };
        let wanted = model.clone();
        let task = thread.run(format!("Downloading {}", model.title), move |progress| {
            Ok(Downloader::from_environment().pull(&store, &wanted, progress)?)
        });
        self.downloads.running = Some((model, task));
    }

    /// Gives the download up; what has come stays and is gone on from.
    pub(super) fn cancel_download(&self) {
        if let Some((_, task)) = &self.downloads.running {
            task.cancel();
        }
    }

    /// Gives the download up without waiting for its server, for the end of the program.
    pub(super) fn end_downloads(&mut self) {
        self.cancel_download();
        if let Some(thread) = &mut self.downloads.thread {
            thread.leave();
        }
    }

    pub(super) fn poll_downloads(&mut self, ctx: &egui::Context) {
        if let Some(found) = self.downloads.look.as_ref().and_then(Task::poll) {
            self.downloads.look = None;
            match found {
                Ok(states) => self.downloads.states = states,
                Err(error) => self.notifications.push(Level::Warning, format!("{error:#}")),
            }
        }
        let Some((model, task)) = &self.downloads.running else {
            return;
        };
        let Some(result) = task.poll() else {
            ctx.request_repaint_after(std::time::Duration::from_millis(250));
            return;
        };
        let title = model.title.clone();
        self.downloads.running = None;
        match result {
            Ok(()) => self.notifications.push_with_action(
                Level::Success,
                format!("{title} is here: load it."),
                Some(AppCommand::ModelWindow),
            ),
            Err(error) if matches!(error.downcast_ref(), Some(PullError::Cancelled(_))) => {
                self.notifications.push(
                    Level::Info,
                    format!("The download of {title} rests; it goes on from there."),
                );
            }
            Err(error) => self.notifications.push_with_action(
                Level::Error,
                format!("{title}: {error:#}"),
                Some(AppCommand::ModelWindow),
            ),
        }
        self.look_for_models();
    }
}
