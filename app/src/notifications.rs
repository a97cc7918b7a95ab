//! Short messages at the lower edge: one failure, shown once, with a way out where there is one.

use std::time::{Duration, Instant};

use eframe::egui::{self, Align2, Area, Frame, Id, Margin, Order, RichText, Stroke, vec2};

use crate::{
    command::AppCommand,
    panels::outbox::Intent,
    theme::{CORNER_LARGE, icons, palette, space, strong, widgets::icon_button},
};

/// How much a message matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Something went well.
    Success,
    /// Good to know.
    Info,
    /// Something works differently than asked.
    Warning,
    /// Something failed; stays longer than the others.
    Error,
}

/// What a message's button does. It must name what the message is about: by the time of the press something else may
/// be selected.
#[derive(Clone, Debug)]
pub struct Action {
    label: &'static str,
    intent: Intent,
}

impl Action {
    /// A button with a word of its own.
    pub fn new(label: &'static str, intent: Intent) -> Self {
        Self { label, intent }
    }
}

/// For commands that do the same whatever is selected.
impl From<AppCommand> for Action {
    fn from(command: AppCommand) -> Self {
        Self::new(command.spec().label, Intent::Run(command))
    }
}

#[derive(Clone, Debug)]
struct Toast {
    level: Level,
    text: String,
    action: Option<Action>,
    /// The kind of work that failed, where a later success of it makes the message untrue.
    failed: Option<&'static str>,
    ends: Instant,
}

/// The messages on screen, newest last.
#[derive(Debug, Default)]
pub struct Notifications {
    toasts: Vec<Toast>,
}

const MOST: usize = 4;
const SHOWN_FOR: Duration = Duration::from_secs(6);
const ERRORS_SHOWN_FOR: Duration = Duration::from_secs(30);

impl Notifications {
    /// Shows a message; the same one twice is shown once.
    pub fn push(&mut self, level: Level, text: impl Into<String>) {
        self.show(level, text.into(), None, None);
    }

    /// Shows a message with a button that does something about it.
    pub fn push_with_action(
        &mut self,
        level: Level,
        text: impl Into<String>,
        action: Option<impl Into<Action>>,
    ) {
        self.show(level, text.into(), action.map(Into::into), None);
    }

    /// Shows that a kind of work failed, until it succeeds.
    pub fn push_failed(&mut self, work: &'static str, text: impl Into<String>) {
        self.show(Level::Error, text.into(), None, Some(work));
    }

    /// A kind of work succeeded: that it failed before is of no interest any more.
    pub fn take_succeeded(&mut self, work: &'static str) {
        self.toasts.retain(|toast| toast.failed != Some(work));
    }

    /// Closes the newest message, if there is one.
    pub fn close_newest(&mut self) {
        self.toasts.pop();
    }

    fn show(&mut self, level: Level, text: String, action: Option<Action>, failed: Option<&'static str>) {
        match level {
            Level::Error => tracing::error!("{text}"),
            Level::Warning => tracing::warn!("{text}"),
            Level::Success | Level::Info => tracing::info!("{text}"),
        }
        self.toasts.retain(|toast| toast.text != text);
        if self.toasts.len() == MOST {
            self.toasts.remove(0);
        }
        let shown_for = match level {
            Level::Error => ERRORS_SHOWN_FOR,
            Level::Warning | Level::Success | Level::Info => SHOWN_FOR,
        };
        self.toasts.push(Toast {
            level,
            text,
            action,
            failed,
            ends: Instant::now() + shown_for,
        });
    }

    /// The texts on screen, for tests and the status file.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.toasts.iter().map(|toast| toast.text.as_str())
    }

    /// Draws the messages; returns what the user chose to do about one.
    pub fn ui(&mut self, ctx: &egui::Context) -> Option<Intent> {
        let now = Instant::now();
        self.toasts.retain(|toast| toast.ends > now);
        if let Some(next) = self.toasts.iter().map(|toast| toast.ends).min() {
            ctx.request_repaint_after(next - now);
        }
        let mut chosen = None;
        let mut closed = None;
        if self.toasts.is_empty() {
            return None;
        }
        Area::new(Id::unique("notifications"))
            .order(Order::Tooltip)
            .anchor(Align2::CENTER_BOTTOM, vec2(0.0, -124.0))
            .show(ctx, |ui| {
                ui.set_max_width(520.0);
                for (index, toast) in self.toasts.iter_mut().enumerate() {
                    let colours = palette(ui);
                    let (glyph, colour) = match toast.level {
                        Level::Success => (icons::CIRCLE_CHECK, colours.accent),
                        Level::Info => (icons::INFO, colours.text_weak),
                        Level::Warning => (icons::TRIANGLE_ALERT, colours.warn),
                        Level::Error => (icons::SQUARE_X, colours.error),
                    };
                    let card = Frame::new()
                        .fill(colours.raised)
                        .stroke(Stroke::new(1.0, colours.line))
                        .corner_radius(CORNER_LARGE)
                        .inner_margin(Margin::symmetric(space::M as i8, 6))
                        .shadow(ui.visuals().popup_shadow)
                        .show(ui, |ui| {
                            ui.horizontal(|ui| {
                                ui.label(RichText::new(glyph).size(16.0).color(colour));
                                ui.scope(|ui| {
                                    ui.set_max_width(380.0);
                                    ui.add(egui::Label::new(as_sentence(&toast.text)).wrap());
                                });
                                if let Some(action) = &toast.action
                                    && ui
                                        .button(RichText::new(action.label).text_style(strong()))
                                        .clicked()
                                {
                                    chosen = Some(action.intent.clone());
                                    closed = Some(index);
                                }
                                if icon_button(ui, icons::X, "Close message", "").clicked() {
                                    closed = Some(index);
                                }
                            });
                        });
                    if ui.rect_contains_pointer(card.response.rect) {
                        // It is being read.
                        toast.ends = toast.ends.max(now + SHOWN_FOR);
                    }
                }
            });
        if let Some(index) = closed {
            self.toasts.remove(index);
        }
        chosen
    }
}

/// An error's text begins small, so that it can follow others; alone it is a sentence.
fn as_sentence(text: &str) -> String {
    let mut rest = text.chars();
    rest.next()
        .into_iter()
        .flat_map(char::to_uppercase)
        .chain(rest)
        .collect()
}

#[cfg(test)]
mod tests {
    use egui_kittest::{Harness, kittest::Queryable as _};

    use super::*;
    use crate::theme;

    fn shown(notifications: Notifications) -> Harness<'static, Notifications> {
        let show = |ui: &mut egui::Ui, notifications: &mut Notifications| {
            notifications.ui(ui.ctx());
        };
        let mut harness = Harness::builder()
            .with_size(vec2(600.0, 400.0))
            .with_context_setup(theme::install)
            .build_ui_state(show, notifications);
        harness.run_steps(2);
        harness
    }

    #[test]
    fn an_error_leaves_by_itself_but_not_while_the_pointer_is_on_it() {
        let mut notifications = Notifications::default();
        notifications.push(Level::Error, "cannot open castle.ora");
        let longest = Instant::now() + ERRORS_SHOWN_FOR;
        assert!(notifications.toasts[0].ends <= longest);
        let mut harness = shown(notifications);
        let place = harness.get_by_label("Cannot open castle.ora").rect().center();
        harness.hover_at(place);
        harness.state_mut().toasts[0].ends = Instant::now() + SHOWN_FOR / 2;
        let before = harness.state().toasts[0].ends;
        harness.run_steps(2);
        assert!(harness.state().toasts[0].ends > before);

        harness.event(egui::Event::PointerGone);
        harness.run_steps(2);
        harness.state_mut().toasts[0].ends = Instant::now();
        harness.run_steps(2);
        assert_eq!(harness.state().texts().count(), 0);
    }

    #[test]
    fn a_failure_is_told_until_the_same_kind_of_work_succeeds() {
        let mut notifications = Notifications::default();
        notifications.push_failed("Opening", "cannot open castle.ora");
        notifications.push_failed("Saving", "cannot write castle.wordbrush");
        notifications.push(Level::Error, "the engine does not start");
        notifications.take_succeeded("Opening");
        let left: Vec<_> = notifications.texts().collect();
        assert_eq!(
            left,
            ["cannot write castle.wordbrush", "the engine does not start"]
        );
    }

    #[test]
    fn messages_begin_with_a_capital() {
        assert_eq!(as_sentence("cannot open castle.ora"), "Cannot open castle.ora");
        assert_eq!(as_sentence("émile.png is no picture"), "Émile.png is no picture");
        assert_eq!(as_sentence(""), "");
    }
}
