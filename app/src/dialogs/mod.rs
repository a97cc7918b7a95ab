//! Modal windows; one at a time. Escape or a click beside closes.

pub mod canvas_size;
pub mod command_palette;
pub mod export;
mod file_look;
pub mod file_path;
pub mod gallery;
pub mod help;
pub mod mask_edge;
pub mod model;
pub mod palettes;
pub mod recover;
pub mod settings;

use eframe::egui::{
    self, Align, AreaState, Frame, Id, Key, LayerId, Layout, Margin, Modal, Order, RichText, Stroke,
    TextEdit, Ui,
    text::{CCursor, CCursorRange},
    text_edit::TextEditState,
};

use crate::theme::{
    CORNER_LARGE, icons, palette, title,
    widgets::{icon_button, release_keyboard},
};

/// The window on top.
#[derive(Debug)]
pub enum Dialog {
    /// An empty canvas.
    NewCanvas(canvas_size::CanvasSizeDialog),
    /// Another size for the canvas.
    CanvasSize(canvas_size::CanvasSizeDialog),
    /// How far grow, shrink and feather go.
    MaskEdge,
    /// Sample canvases.
    Gallery,
    /// Writing the picture.
    Export(export::ExportDialog),
    /// A file's path by hand.
    FilePath(file_path::FilePathDialog),
    /// The library of palettes.
    Palettes(palettes::PalettesDialog),
    /// Choosing the model.
    Model(model::ModelDialog),
    /// Sessions that were cut off.
    Recover(recover::RecoverDialog),
    /// Theme, size, keys.
    Settings,
    /// One page of help.
    Help,
    /// Every command by name.
    CommandPalette(command_palette::CommandPalette),
}

/// Draws a window with a title around `contents`; returns whether it is to be closed.
pub fn window_ui(ctx: &egui::Context, name: &str, width: f32, contents: impl FnOnce(&mut Ui)) -> bool {
    let mut is_closed = false;
    let room = ctx.content_rect();
    let id = Id::unique(name);
    let size_before = AreaState::load(ctx, id).and_then(|state| state.size);
    // A window that was open before keeps its size, so that this tells nothing of whether it is new.
    let layer = LayerId::new(Order::Foreground, id);
    if !ctx.memory(|memory| memory.areas().visible_last_frame(&layer)) {
        // What had the keyboard below the window would take its Enter.
        release_keyboard(ctx);
    }
    let response = Modal::new(id).frame(window_frame(ctx)).show(ctx, |ui| {
        ui.set_width(width.min(room.width() - 64.0));
        ui.horizontal(|ui| {
            ui.label(RichText::new(name).text_style(title()));
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                is_closed = icon_button(ui, icons::X, "Close", "").clicked();
            });
        });
        ui.add_space(8.0);
        egui::ScrollArea::vertical()
            .max_height(room.height() - 150.0)
            // Else it would shrink to what a small area has room for.
            .min_scrolled_height(room.height() - 150.0)
            .auto_shrink([false, true])
            .show(ui, contents);
    });
    if size_before.is_some_and(|size| size != response.response.rect.size()) {
        // It stands in the middle only once its new size is known.
        ctx.request_repaint();
    }
    is_closed || response.should_close()
}

/// Whether Enter means the window's main button: it does unless a control has the keyboard.
pub fn is_confirmed(ctx: &egui::Context) -> bool {
    ctx.memory(|memory| memory.focused().is_none()) && ctx.input(|input| input.key_pressed(Key::Enter))
}

/// A field for a file's path, which gets the keyboard at the first look, at the path's end; returns whether Enter was pressed
/// in it.
pub fn path_field_ui(ui: &mut Ui, name: &str, path: &mut String, is_new: &mut bool, width: f32) -> bool {
    let id = Id::unique(("path field", name));
    let is_new = std::mem::take(is_new);
    if is_new {
        // Else it would have the cursor and the undo steps of the path that stood here before.
        let mut state = TextEditState::default();
        let end = CCursor::new(path.chars().count());
        state.cursor.set_char_range(Some(CCursorRange::one(end)));
        TextEdit::store_state(ui.ctx(), id, state);
    }
    let field = ui.add(TextEdit::singleline(path).id(id).desired_width(width));
    ui.ctx()
        .accesskit_node_builder(id, |node| node.set_label(name.to_owned()));
    if is_new {
        field.request_focus();
    }
    field.lost_focus() && ui.input(|input| input.key_pressed(Key::Enter))
}

fn window_frame(ctx: &egui::Context) -> Frame {
    let style = ctx.global_style();
    Frame::new()
        .fill(style.visuals.window_fill)
        .stroke(Stroke::new(1.0, style.visuals.window_stroke.color))
        .corner_radius(CORNER_LARGE)
        .inner_margin(Margin::same(20))
        .shadow(style.visuals.window_shadow)
}

/// The row of buttons at a window's end: the main one at the right.
pub fn buttons_ui(ui: &mut Ui, contents: impl FnOnce(&mut Ui)) {
    ui.add_space(12.0);
    // A row of its own height: a layout alone would take all the room that the window could have.
    let size = egui::vec2(ui.available_width(), 32.0);
    ui.allocate_ui_with_layout(size, Layout::right_to_left(Align::Center), contents);
}

/// A sentence about something that went wrong.
pub fn error_ui(ui: &mut Ui, text: &str) {
    let colours = palette(ui);
    Frame::new()
        .fill(colours.raised)
        .stroke(Stroke::new(1.0, colours.error))
        .corner_radius(6)
        .inner_margin(Margin::same(10))
        .show(ui, |ui| {
            ui.horizontal_top(|ui| {
                ui.label(
                    RichText::new(icons::TRIANGLE_ALERT)
                        .size(16.0)
                        .color(colours.error),
                );
                ui.add(egui::Label::new(text).wrap());
            });
        });
}
