//! What is around the tools: where the canvas lies in the window, and what is meant for it.

use eframe::egui::{self, LayerId, Popup, Pos2, Rect, Ui};

use super::{
    CanvasInputs, CanvasLayout,
    display::{Pane, wipe_x},
    view::{Placement, View},
};
use crate::paint::Point;

/// What is around the tools in this frame.
pub(super) struct Scene<'a> {
    pub(super) inputs: &'a CanvasInputs<'a>,
    pub(super) rect: Rect,
    pub(super) pixels_per_point: f32,
    /// Whether nothing lies above the canvas that a press would go to.
    pub(super) is_reachable: bool,
    pub(super) layer: LayerId,
    pub(super) context: &'a egui::Context,
}

/// Whether the canvas may take presses: it is enabled, no modal window is open above it, and no menu, which a press beside
/// it closes.
pub(super) fn is_reachable(ui: &Ui) -> bool {
    let modal = ui.ctx().memory(|memory| memory.top_modal_layer());
    ui.is_enabled() && modal.is_none_or(|layer| layer == ui.layer_id()) && !Popup::is_any_open(ui.ctx())
}

impl Scene<'_> {
    pub(super) fn panes(&self, wipe: f32) -> Vec<Pane> {
        self.inputs.display.layout.panes(self.rect, wipe)
    }

    /// The pane at a place, or the first one for places beyond.
    pub(super) fn pane_at(&self, position: Pos2, wipe: f32) -> Pane {
        let panes = self.panes(wipe);
        *panes
            .iter()
            .find(|pane| pane.clip.contains(position))
            .unwrap_or(&panes[0])
    }

    pub(super) fn placement(&self, view: &View, pane_rect: Rect) -> Placement {
        Placement::new(view, pane_rect, self.pixels_per_point)
    }

    /// Whether a press at this place is meant for the canvas and not for something above it.
    pub(super) fn is_free(&self, position: Pos2) -> bool {
        self.is_reachable
            && self.rect.contains(position)
            && self
                .context
                .layer_id_at(position)
                .is_none_or(|layer| layer == self.layer)
    }

    pub(super) fn wipe_x(&self, wipe: f32) -> Option<f32> {
        matches!(self.inputs.display.layout, CanvasLayout::Wipe(..)).then(|| wipe_x(self.rect, wipe))
    }

    /// Changes the view by wheel or trackpad, if the pointer is over the canvas.
    pub(super) fn navigate(&self, view: &mut View, wipe: f32, change: impl FnOnce(&Placement, Pos2) -> View) {
        let Some(position) = self.context.pointer_latest_pos() else {
            return;
        };
        if self.is_free(position) {
            let pane = self.pane_at(position, wipe);
            *view = change(&self.placement(view, pane.view_rect), position);
        }
    }

    pub(super) fn canvas_middle(&self) -> Point {
        let size = self.inputs.document.size;
        [size.width() as f32 / 2.0, size.height() as f32 / 2.0]
    }
}
