//! Where the panels go; nothing else.

use eframe::egui::{
    self, Align2, CentralPanel, Frame, Id, Margin, Panel, Popup, Rect, ScrollArea, Stroke, StrokeKind, Ui,
    vec2,
};
use wordbrush_engine::api::ModelSource;

use super::{App, SideTab};
use crate::{
    canvas::{CanvasInputs, Placement, canvas_ui},
    command::AppCommand,
    dialogs::{
        Dialog, export::PictureState, gallery::gallery_ui, help::help_ui, mask_edge::mask_edge_ui,
        recover::Recovery, settings::settings_ui,
    },
    document::Target,
    keymap::Keymap,
    panels::{
        performance::{Memory, performance_ui},
        prompt::PromptAids,
        regions::{RegionsView, regions_ui},
        status_bar::status_bar_ui,
        stream::stream_ui,
        tools::{RAIL_WIDTH, tool_options_ui, tool_rail_ui},
        top_bar::{TopBarView, top_bar_ui},
        words::POCKET,
    },
    theme::{
        palette,
        widgets::{release_keyboard, segmented},
    },
};

/// From so high a side panel on, the figures have a place of their own below it; else they scroll with it.
const PERFORMANCE_BELOW_HEIGHT: f32 = 640.0;

/// The control that F6 moves the keyboard to.
fn first_control() -> Id {
    Id::unique("background row")
}

impl App {
    /// Draws everything and carries out what was asked for.
    pub fn show(&mut self, ui: &mut Ui) {
        let ctx = ui.ctx().clone();
        self.thumbnails.update(&ctx, &self.document);
        self.end_typing(&ctx);
        if !self.hides_ui {
            self.bars(ui);
            self.side_panel(ui);
        }
        self.centre(ui);
        self.dialog(&ctx);
        if let Some(intent) = self.notifications.ui(&ctx) {
            self.outbox.push(intent);
        }
        self.run_wishes(&ctx);
        self.hand_over();
        if std::mem::take(&mut self.drops_focus) {
            release_keyboard(&ctx);
        }
        self.escape_is_taken = self.dialog.is_some()
            || self.canvas.is_painting()
            || Popup::is_any_open(&ctx)
            || ctx.egui_is_using_pointer()
            || ctx.memory(|memory| memory.focused().is_some());
    }

    fn bars(&mut self, ui: &mut Ui) {
        let colours = palette(ui);
        let bar = |margin: Margin| Frame::new().fill(colours.panel).inner_margin(margin);
        Panel::top("top bar")
            .frame(bar(Margin::symmetric(8, 0)))
            .exact_size(42.0)
            .show(ui, |ui| {
                let view = TopBarView {
                    title: self.canvases.title(),
                    is_dirty: self.is_dirty(),
                    document: &self.document,
                    history: &self.history,
                    link: &self.link,
                    keymap: &self.keys.map,
                    toggles: [
                        (AppCommand::MirrorView, self.canvas.view().is_mirrored()),
                        (AppCommand::ToggleHistory, self.preferences.shows_history),
                        (AppCommand::TogglePerformance, self.preferences.shows_performance),
                    ],
                };
                top_bar_ui(ui, view, &mut self.outbox);
            });
        let memory = self.memory();
        Panel::bottom("status bar")
            .frame(bar(Margin::symmetric(8, 0)))
            .exact_size(26.0)
            .show(ui, |ui| {
                status_bar_ui(
                    ui,
                    &self.document,
                    &self.canvas,
                    &self.link,
                    memory,
                    &mut self.outbox,
                );
            });
        if self.preferences.shows_history {
            Panel::bottom("history strip")
                .frame(bar(Margin::symmetric(10, 6)))
                .exact_size(88.0)
                .show(ui, |ui| {
                    self.strip
                        .ui(ui, &self.kept_frames, &self.document, &mut self.outbox);
                });
        }
        Panel::left("tool rail")
            .frame(bar(Margin::symmetric(4, 0)))
            .exact_size(RAIL_WIDTH)
            .resizable(false)
            .show(ui, |ui| {
                ScrollArea::vertical()
                    .scroll_bar_visibility(egui::scroll_area::ScrollBarVisibility::AlwaysHidden)
                    .show(ui, |ui| {
                        tool_rail_ui(ui, self.pen.tool, &self.history, &self.keys.map, &mut self.outbox);
                    });
            });
    }

    fn side_panel(&mut self, ui: &mut Ui) {
        let colours = palette(ui);
        let frame = Frame::new().fill(colours.panel).inner_margin(Margin::same(12));
        let widest = (ui.available_width() - 200.0).clamp(240.0, 460.0);
        let memory = self.memory();
        Panel::right("side panel")
            .frame(frame)
            .default_size(308.0_f32.min(widest))
            .size_range(240.0..=widest)
            .show(ui, |ui| {
                let is_tight = ui.available_height() < PERFORMANCE_BELOW_HEIGHT;
                let shows_performance = self.preferences.shows_performance;
                if shows_performance && !is_tight {
                    Panel::bottom("performance")
                        .frame(Frame::new().inner_margin(Margin {
                            top: 8,
                            ..Margin::ZERO
                        }))
                        .resizable(false)
                        .show(ui, |ui| {
                            performance_ui(ui, &self.link, memory);
                        });
                }
                let tabs = [
                    (SideTab::Regions, "Regions", "What is painted where."),
                    (SideTab::Stream, "Stream", "How the picture is made."),
                ];
                let tabs = ui.scope(|ui| segmented(ui, "Panel", &mut self.tab, &tabs));
                self.tabs_area = tabs.response.rect;
                ui.add_space(6.0);
                if self.tab == SideTab::Regions && !(shows_performance && is_tight) {
                    self.regions_tab(ui);
                    return;
                }
                ScrollArea::vertical()
                    .id_salt(("side panel", self.tab == SideTab::Stream))
                    .auto_shrink([false, false])
                    .show(ui, |ui| {
                        if shows_performance && is_tight {
                            performance_ui(ui, &self.link, memory);
                            ui.separator();
                        }
                        match self.tab {
                            SideTab::Regions => self.regions_tab(ui),
                            SideTab::Stream => stream_ui(ui, &self.document, &mut self.outbox),
                        }
                    });
            });
    }

    /// A press on the canvas or the tabs may bring another region's properties, or none: what is being typed is taken over
    /// before, while its field is still drawn. A click alone would take the keyboard from the field, and a stroke is none.
    fn end_typing(&self, ctx: &egui::Context) {
        let is_pressed_there = ctx.input(|input| {
            let at = input.pointer.press_origin();
            let is_there = |at| self.canvas_area.contains(at) || self.tabs_area.contains(at);
            input.pointer.any_pressed() && at.is_some_and(is_there)
        });
        let modal = ctx.memory(|memory| memory.top_modal_layer());
        if is_pressed_there && modal.is_none() {
            release_keyboard(ctx);
        }
    }

    fn regions_tab(&mut self, ui: &mut Ui) {
        let summary = self.link.summary();
        let source = summary.map_or(&self.document.model.source, |summary| &summary.choice.source);
        let aids = PromptAids {
            tokenizer: summary.map(|summary| &summary.tokenizer),
            words: (*source == ModelSource::Pocket).then(|| &*POCKET),
        };
        let view = RegionsView {
            document: &self.document,
            canvas: self.canvases.present(),
            selected: self.selected,
            thumbnails: &self.thumbnails,
            aids,
            keymap: &self.keys.map,
        };
        if std::mem::take(&mut self.wants_prompt_focus) {
            self.regions.focus_prompt();
        }
        if std::mem::take(&mut self.wants_panel_focus) {
            ui.memory_mut(|memory| memory.request_focus(first_control()));
        }
        regions_ui(ui, view, &mut self.regions, &mut self.outbox);
    }

    fn centre(&mut self, ui: &mut Ui) {
        let colours = palette(ui);
        if !self.hides_ui {
            let frame = Frame::new()
                .fill(colours.panel)
                .inner_margin(Margin::symmetric(10, 3))
                .stroke(Stroke::NONE);
            Panel::top("tool options").frame(frame).show(ui, |ui| {
                tool_options_ui(ui, &mut self.pen, &self.keys.map, &mut self.outbox);
            });
        }
        let mut actions = Vec::new();
        CentralPanel::no_frame()
            .frame(Frame::new().fill(colours.desk))
            .show(ui, |ui| {
                self.canvas_area = ui.available_rect_before_wrap();
                let inputs = CanvasInputs {
                    document: &self.document,
                    target: self.selected,
                    tool: self.pen.tool,
                    brush: self.pen.brush,
                    symmetry: self.pen.symmetry,
                    area: self.pen.area,
                    frame: self.link.frame().map(|shown| &shown.frame.picture),
                    display: self.pen.display,
                };
                canvas_ui(ui, &mut self.canvas, &inputs, &mut actions);
                let has_nothing_to_show =
                    self.document.regions.is_empty() && self.document.background.keep_strength >= 1.0;
                if has_nothing_to_show {
                    empty_canvas_ui(ui, self.canvas_area, &self.keys.map);
                } else if !self.preferences.has_painted && !self.canvas.is_painting() {
                    self.first_stroke_ui(ui);
                }
                if ui.input(|input| !input.raw.hovered_files.is_empty()) {
                    drop_hint_ui(ui, self.canvas_area);
                }
            });
        for action in actions {
            self.run_canvas_action(action);
        }
    }

    /// What to do first, until it was done once.
    fn first_stroke_ui(&self, ui: &Ui) {
        let region = match self.selected {
            Target::Region(id) => self.document.region(id),
            Target::Background => None,
        };
        let Some(region) = region else { return };
        let paint = format!("Drag to paint “{}”: the picture follows", region.title());
        let more = format!(
            "{paint}. Alt+click picks another region, {} tells more",
            self.keys.map.name(AppCommand::Help)
        );
        // The longer text where it has room.
        let text = if self.canvas_area.width() > 620.0 {
            more
        } else {
            paint
        };
        banner_ui(ui, self.canvas_area, Align2::CENTER_TOP, &text);
    }

    fn dialog(&mut self, ctx: &egui::Context) {
        let known_models = matches!(self.dialog, Some(Dialog::Model(_))).then(|| self.known_models());
        let picture = self.picture_state();
        let Some(mut dialog) = self.dialog.take() else {
            return;
        };
        let outbox = &mut self.outbox;
        let is_closed = match &mut dialog {
            Dialog::NewCanvas(state) => state.new_canvas_ui(ctx, outbox),
            Dialog::CanvasSize(state) => state.resize_ui(ctx, outbox),
            Dialog::MaskEdge => mask_edge_ui(ctx, &mut self.preferences.mask_edge, outbox),
            Dialog::Gallery => gallery_ui(ctx, outbox),
            Dialog::Palettes(state) => state.ui(ctx, self.document.regions.len(), outbox),
            Dialog::Export(state) => state.ui(ctx, picture, outbox),
            Dialog::FilePath(state) => state.ui(ctx, outbox),
            Dialog::Model(state) => state.ui(ctx, &self.link, &known_models.unwrap_or_default(), outbox),
            Dialog::Recover(state) => {
                let (is_closed, recovery) = state.ui(ctx);
                match recovery {
                    Some(Recovery::Restore(session)) => {
                        self.once_masks_are_made(move |app| app.restore_session(session));
                    }
                    Some(Recovery::Discard(session)) => self.discard_session(session),
                    None => {}
                }
                is_closed
            }
            Dialog::Settings => settings_ui(ctx, &mut self.preferences, &self.keys.map, outbox),
            Dialog::Help => help_ui(ctx, &self.keys.map),
            Dialog::CommandPalette(state) => state.ui(ctx, &self.keys.map, outbox),
        };
        if !is_closed {
            self.dialog = Some(dialog);
        }
    }

    fn picture_state(&self) -> PictureState {
        if self.link.frame().is_none() {
            PictureState::Missing
        } else if self.is_up_to_date() {
            PictureState::UpToDate
        } else {
            PictureState::Behind
        }
    }

    fn memory(&self) -> Memory {
        Memory {
            undo_bytes: self.history.memory_bytes() as u64,
            strip_bytes: self.kept_frames.memory_bytes(),
        }
    }

    /// Where the canvas lies in the window, in points; upright and unmirrored views only.
    pub(super) fn canvas_rect(&self, pixels_per_point: f32) -> Rect {
        let placement = Placement::new(self.canvas.view(), self.canvas_area, pixels_per_point);
        let (width, height) = (
            self.document.size.width() as f32,
            self.document.size.height() as f32,
        );
        Rect::from_two_pos(
            placement.screen_from_canvas([0.0, 0.0]),
            placement.screen_from_canvas([width, height]),
        )
    }
}

/// What to do with a canvas without regions, where the eye looks first.
fn empty_canvas_ui(ui: &Ui, area: Rect, keymap: &Keymap) {
    let key = match keymap.name(AppCommand::NewRegion) {
        key if key.is_empty() => key,
        key => format!(" ({key})"),
    };
    let text = format!("Add a region{key}, give it a prompt, then paint");
    banner_ui(ui, area, Align2::CENTER_CENTER, &text);
}

/// What happens to a file that is held over the window.
fn drop_hint_ui(ui: &Ui, area: Rect) {
    let colours = palette(ui);
    ui.painter().rect_stroke(
        area.shrink(6.0),
        10,
        Stroke::new(2.0, colours.accent),
        StrokeKind::Inside,
    );
    banner_ui(
        ui,
        area,
        Align2::CENTER_CENTER,
        "Drop to open; with Alt, as the background picture",
    );
}

fn banner_ui(ui: &Ui, area: Rect, place: Align2, text: &str) {
    let colours = palette(ui);
    let font = egui::TextStyle::Body.resolve(ui.style());
    let room = (area.width() - 80.0).max(80.0);
    let galley = ui.painter().layout(text.to_owned(), font, colours.text, room);
    let card = place.align_size_within_rect(galley.size() + vec2(28.0, 18.0), area.shrink(24.0));
    ui.painter().rect(
        card,
        10,
        colours.panel,
        Stroke::new(1.0, colours.line),
        StrokeKind::Inside,
    );
    ui.painter()
        .galley(card.min + vec2(14.0, 9.0), galley, colours.text);
}
