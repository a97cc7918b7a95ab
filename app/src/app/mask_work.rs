//! Changes of whole masks and of the canvas' size, made on a thread of their own: the window goes on however large the
//! canvas is.
//!
//! A change is asked for, made on a snapshot of the canvas, and then becomes one step of the history. If a mask that it
//! was made of is another one by then, or a stroke is being painted, which lays its tiles over the mask that it began on,
//! the change is made again afterwards. If the region or the whole canvas has gone, so does the change. Changes keep
//! their order.

use std::{collections::VecDeque, sync::Arc};

use eframe::egui;
use wordbrush_engine::api::{CanvasSize, RegionId};

use super::App;
use crate::{
    background_tasks::{Task, TaskThread},
    document::{Document, Edit, RegionLayer, ResizeMode},
    notifications::Level,
    paint::MaskChange,
};

/// What was asked for and has not become part of the document yet, oldest first; the first one is being made.
pub(super) struct MaskWork {
    thread: anyhow::Result<TaskThread>,
    waiting: VecDeque<Waiting>,
}

struct Waiting {
    /// The canvas that the change is meant for; its points are pixels of that.
    canvas: CanvasSize,
    change: Change,
    label: &'static str,
    /// The document that it is made of, and what the thread makes of it.
    task: Option<(Document, Task<Edit>)>,
}

#[derive(Clone)]
enum Change {
    Mask(RegionId, Arc<MaskChange>),
    Size(CanvasSize, ResizeMode),
}

impl Change {
    /// The change as an edit of this document; for the thread. The tiles that differ are found here, too: comparing is
    /// work in itself on a large canvas.
    fn edit(&self, document: &Document) -> Edit {
        match self {
            Self::Mask(id, change) => document.region(*id).map_or(Edit::NOTHING, |region| {
                Edit::set_mask(document, *id, &change.apply(&region.mask))
            }),
            Self::Size(size, mode) => Edit::resize(document, *size, *mode),
        }
    }

    /// Whether there still is what it changes.
    fn has_subject(&self, document: &Document) -> bool {
        match self {
            Self::Mask(id, _) => document.region(*id).is_some(),
            Self::Size(..) => true,
        }
    }

    /// Whether it would make the same of both documents.
    fn sees_same(&self, before: &Document, now: &Document) -> bool {
        match self {
            Self::Mask(id, _) => {
                let mask = |document: &Document| document.region(*id).map(|region| region.mask.clone());
                mask(before) == mask(now)
            }
            Self::Size(..) => {
                let is_same_picture = match (&before.background.image, &now.background.image) {
                    (Some(before), Some(now)) => before.is_same(now),
                    (before, now) => before.is_none() && now.is_none(),
                };
                let has_same_mask = |(before, now): (&RegionLayer, &RegionLayer)| {
                    before.id == now.id && before.mask == now.mask
                };
                is_same_picture
                    && before.regions.len() == now.regions.len()
                    && before.regions.iter().zip(&now.regions).all(has_same_mask)
            }
        }
    }
}

impl MaskWork {
    /// Starts the thread "masks".
    pub(super) fn start(ctx: &egui::Context) -> Self {
        let wake = ctx.clone();
        Self {
            thread: TaskThread::start("masks", move || wake.request_repaint()),
            waiting: VecDeque::new(),
        }
    }

    /// Whether nothing is being made.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Gives up the newest change; answers whether there was one.
    pub(super) fn take_back(&mut self) -> bool {
        self.waiting.pop_back().is_some()
    }

    /// Gives up everything, as for another canvas.
    pub(super) fn clear(&mut self) {
        self.waiting.clear();
    }
}

impl App {
    /// Changes a region's mask as soon as that is made.
    pub(super) fn begin_mask_change(&mut self, region: RegionId, change: MaskChange, label: &'static str) {
        self.begin_change(Change::Mask(region, Arc::new(change)), label);
    }

    /// Gives the canvas another size as soon as masks and background picture are made for it.
    pub(super) fn begin_resize(&mut self, size: CanvasSize, mode: ResizeMode) {
        self.begin_change(Change::Size(size, mode), "Canvas size");
    }

    fn begin_change(&mut self, change: Change, label: &'static str) {
        self.mask_work.waiting.push_back(Waiting {
            canvas: self.document.size,
            change,
            label,
            task: None,
        });
        self.poll_mask_work();
    }

    /// Takes what is made, and has the next made.
    pub(super) fn poll_mask_work(&mut self) {
        while let Some(first) = self.mask_work.waiting.front_mut() {
            if self.document.size != first.canvas || !first.change.has_subject(&self.document) {
                self.mask_work.waiting.pop_front();
                continue;
            }
            if self.canvas.has_stroke() {
                return;
            }
            let is_current = first
                .task
                .as_ref()
                .is_some_and(|(made_of, _)| first.change.sees_same(made_of, &self.document));
            let Some((_, task)) = first.task.as_ref().filter(|_| is_current) else {
                match &self.mask_work.thread {
                    Ok(thread) => {
                        let (change, document) = (first.change.clone(), self.document.clone());
                        let task = thread.run(first.label, move |_progress| Ok(change.edit(&document)));
                        first.task = Some((self.document.clone(), task));
                    }
                    Err(error) => {
                        let text = format!("The mask cannot be changed: {error:#}");
                        self.notifications.push(Level::Error, text);
                        self.mask_work.clear();
                    }
                }
                return;
            };
            let Some(result) = task.poll() else { return };
            let label = first.label;
            self.mask_work.waiting.pop_front();
            match result {
                Ok(edit) => self.apply(edit, label, None),
                Err(error) => self
                    .notifications
                    .push(Level::Error, format!("{label}: {error:#}")),
            }
        }
    }
}
