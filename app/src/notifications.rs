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
    /// Something failed; stays until it is closed.
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
    ends: Option<Instant>,
}

/// The messages on screen, newest last.
#[derive(Debug, Default)]
pub struct Notifications {
    toasts: Vec<Toast>,
}

const MOST: usize = 4;
const SHOWN_FOR: Duration = Duration::from_secs(6);

impl Notifications {
    /// Shows a message; the same one twice is shown once.
    pub fn push(&mut self, level: Level, text: impl Into<String>) {
        self.show(level, text.into(), None);
    }

    /// Shows a message with a button that does something about it.
    pub fn push_with_action(
        &mut self,
        level: Level,
        text: impl Into<String>,
        action: Option<impl Into<Action>>,
    ) {
        self.show(level, text.into(), action.map(Into::into));
    }

    fn show(&mut self, level: Level, text: String, action: Option<Action>) {
        match level {
            Level::Error => tracing::error!("{text}"),
            Level::Warning => tracing::warn!("{text}"),
            Level::Success | Level::Info => tracing::info!("{text}"),
        }
        self.toasts.retain(|toast| toast.text != text);
        if self.toasts.len() == MOST {
            self.toasts.remove(0);
        }
        let ends = (level != Level::Error).then(|| Instant::now() + SHOWN_FOR);
        self.toasts.push(Toast {
            level,
            text,
            action,
            ends,
        });
    }

    /// The texts on screen, for tests and the status file.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.toasts.iter().map(|toast| toast.text.as_str())
    }

    /// Draws the messages; returns what the user chose to do about one.
    pub fn ui(&mut self, ctx: &egui::Context) -> Option<Intent> {
        let now = Instant::now();
        self.toasts
            .retain(|toast| toast.ends.is_none_or(|ends| ends > now));
        if let Some(next) = self.toasts.iter().filter_map(|toast| toast.ends).min() {
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
                for (index, toast) in self.toasts.iter().enumerate() {
                    let colours = palette(ui);
                    let (glyph, colour) = match toast.level {
                        Level::Success => (icons::CIRCLE_CHECK, colours.accent),
                        Level::Info => (icons::INFO, colours.text_weak),
                        Level::Warning => (icons::TRIANGLE_ALERT, colours.warn),
                        Level::Error => (icons::SQUARE_X, colours.error),
                    };
                    Frame::new()
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
    use super::*;

    #[test]
    fn messages_begin_with_a_capital() {
        assert_eq!(as_sentence("cannot open castle.ora"), "Cannot open castle.ora");
        assert_eq!(as_sentence("émile.png is no picture"), "Émile.png is no picture");
        assert_eq!(as_sentence(""), "");
    }
}
