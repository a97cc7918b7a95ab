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
        self.pane(self.pane_index_at(position, wipe), wipe)
    }

    /// As [`Self::pane_at`], by its place among the panes.
    pub(super) fn pane_index_at(&self, position: Pos2, wipe: f32) -> usize {
        let is_there = |pane: &Pane| pane.clip.contains(position);
        self.panes(wipe).iter().position(is_there).unwrap_or(0)
    }

    /// A pane where it is now; the first one if the layout has it no more.
    pub(super) fn pane(&self, index: usize, wipe: f32) -> Pane {
        let panes = self.panes(wipe);
        *panes.get(index).unwrap_or(&panes[0])
    }

    pub(super) fn placement(&self, view: &View, pane_rect: Rect) -> Placement {
        Placement::new(view, pane_rect, self.pixels_per_point)
    }

    /// Closes menus if a press at this place is meant for the canvas but for them; answers whether it was. A click closes them
    /// by itself, a stroke does not.
    pub(super) fn closes_menus(&self, position: Pos2) -> bool {
        let is_below_menus = !self.is_reachable
            && Popup::is_any_open(self.context)
            && self.context.memory(|memory| memory.top_modal_layer()).is_none()
            && self.is_on_canvas(position);
        if is_below_menus {
            Popup::close_all(self.context);
        }
        is_below_menus
    }

    /// Whether a press at this place is meant for the canvas and not for something above it.
    pub(super) fn is_free(&self, position: Pos2) -> bool {
        self.is_reachable && self.is_on_canvas(position)
    }

    fn is_on_canvas(&self, position: Pos2) -> bool {
        let layer = self.context.layer_id_at(position);
        self.rect.contains(position) && layer.is_none_or(|layer| layer == self.layer)
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
