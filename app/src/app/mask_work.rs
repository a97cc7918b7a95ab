//! Changes of whole masks, made on a thread of their own: the window goes on whatever the canvas' size.
//!
//! A change is asked for, made on a snapshot of its mask, and then becomes one step of the history. If the mask is
//! another one by then, or a stroke is being painted, which lays its tiles over the mask that it began on, the change
//! is made again afterwards. If the region or the whole canvas has gone, so does the change. Changes keep their order.

use std::{collections::VecDeque, sync::Arc};

use eframe::egui;
use wordbrush_engine::api::{CanvasSize, Mask, RegionId};

use super::App;
use crate::{
    background_tasks::{Task, TaskThread},
    document::{Edit, MaskTiles},
    notifications::Level,
    paint::MaskChange,
};

/// What was asked for and has not become part of the document yet, oldest first; the first one is being made.
pub(super) struct MaskWork {
    thread: anyhow::Result<TaskThread>,
    waiting: VecDeque<Waiting>,
}

struct Waiting {
    region: RegionId,
    /// The canvas that the change is meant for; its points are pixels of that.
    canvas: CanvasSize,
    change: Arc<MaskChange>,
    label: &'static str,
    /// The mask that it is made of, and what the thread makes of it.
    task: Option<(Mask, Task<Edit>)>,
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
        self.mask_work.waiting.push_back(Waiting {
            region,
            canvas: self.document.size,
            change: Arc::new(change),
            label,
            task: None,
        });
        self.poll_mask_work();
    }

    /// Takes what is made, and has the next made.
    pub(super) fn poll_mask_work(&mut self) {
        while let Some(first) = self.mask_work.waiting.front_mut() {
            let region = self.document.region(first.region);
            let Some(region) = region.filter(|region| region.mask.size() == first.canvas) else {
                self.mask_work.waiting.pop_front();
                continue;
            };
            if self.canvas.has_stroke() {
                return;
            }
            let is_current = first
                .task
                .as_ref()
                .is_some_and(|(made_of, _)| *made_of == region.mask);
            let Some((_, task)) = first.task.as_ref().filter(|_| is_current) else {
                match &self.mask_work.thread {
                    Ok(thread) => {
                        let task = begin(thread, first, region.mask.clone());
                        first.task = Some((region.mask.clone(), task));
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

fn begin(thread: &TaskThread, waiting: &Waiting, mask: Mask) -> Task<Edit> {
    let (region, change) = (waiting.region, Arc::clone(&waiting.change));
    thread.run(waiting.label, move |_progress| {
        // The tiles that differ are found here, too: comparing is work in itself on a large canvas.
        let changed = change.apply(&mask);
        Ok(Edit::MaskTiles(MaskTiles::between(region, &mask, &changed)))
    })
}
