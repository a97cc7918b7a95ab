//! Sessions that were cut off, offered back.

use std::time::SystemTime;

use eframe::egui::{self, RichText, TextureHandle, TextureOptions};

use super::{buttons_ui, window_ui};
use crate::{
    counted::counted,
    panels::thumbnails::picture_image,
    storage::sessions::CutOffSession,
    theme::{
        icons, strong,
        widgets::{action_button, card, hint, primary_button},
    },
};

/// Longer side of a session's last picture in points.
const PICTURE_SIDE: usize = 160;

/// The window's state.
#[derive(Debug)]
pub struct RecoverDialog {
    sessions: Vec<OfferedSession>,
    /// The session that the user wants to let go; it asks once more, since nothing brings that back.
    letting_go: Option<usize>,
}

/// A session, and its last picture on the graphics card.
struct OfferedSession {
    session: CutOffSession,
    texture: Option<TextureHandle>,
}

impl std::fmt::Debug for OfferedSession {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A texture has nothing to tell.
        self.session.fmt(formatter)
    }
}

/// What the user wants with a session.
#[derive(Debug)]
pub enum Recovery {
    /// Bring it back.
    Restore(CutOffSession),
    /// Remove it.
    Discard(CutOffSession),
}

impl RecoverDialog {
    /// Begins with what was found, newest first.
    pub fn new(sessions: Vec<CutOffSession>) -> Self {
        let offered = sessions.into_iter().map(|session| OfferedSession {
            session,
            texture: None,
        });
        Self {
            sessions: offered.collect(),
            letting_go: None,
        }
    }

    /// Draws the window; returns whether it is to be closed, and what was chosen.
    pub fn ui(&mut self, ctx: &egui::Context) -> (bool, Option<Recovery>) {
        let mut chosen = None;
        let is_closed = window_ui(ctx, "Welcome back", 460.0, |ui| {
            hint(
                ui,
                "Something you painted was not saved. Bring it back, or let it go; closing this window asks again at the next start.",
            );
            ui.add_space(8.0);
            for (index, OfferedSession { session, texture }) in self.sessions.iter_mut().enumerate() {
                card(ui, |ui| {
                    ui.set_width(ui.available_width());
                    if let Some(last) = &session.frames().last {
                        let texture = texture.get_or_insert_with(|| {
                            let small = picture_image(&last.picture, PICTURE_SIDE);
                            ui.ctx()
                                .load_texture("last picture", small, TextureOptions::LINEAR)
                        });
                        ui.add(
                            egui::Image::new(&*texture)
                                .corner_radius(5)
                                .alt_text("Its last picture"),
                        );
                    }
                    let state = &session.recovered().state;
                    let name = match (&state.file.path, state.file.title.as_str()) {
                        (Some(path), _) => path.display().to_string(),
                        (None, "") => "Untitled canvas".to_owned(),
                        (None, title) => title.to_owned(),
                    };
                    ui.label(RichText::new(name).text_style(strong()));
                    let (size, regions) = (state.document.size, state.document.regions.len());
                    let regions = counted(regions, "region", "regions");
                    let pins = match session.frames().pins.len() {
                        0 => String::new(),
                        count => format!(" · {}", counted(count, "pinned frame", "pinned frames")),
                    };
                    let age = age_of(session.recovered().written_at);
                    hint(
                        ui,
                        &format!(
                            "{} × {} px · {regions}{pins} · {age}",
                            size.width(),
                            size.height()
                        ),
                    );
                    if let Some(text) = left_with(session) {
                        hint(ui, &text);
                    }
                    let is_asking = self.letting_go == Some(index);
                    if is_asking {
                        ui.add_space(4.0);
                        hint(
                            ui,
                            "Really let it go? Nothing of it can be brought back afterwards.",
                        );
                    }
                    buttons_ui(ui, |ui| {
                        if primary_button(ui, icons::HISTORY, "Bring back").clicked() {
                            chosen = Some((index, true));
                        }
                        if !is_asking {
                            if action_button(ui, icons::TRASH_2, "Let go").clicked() {
                                self.letting_go = Some(index);
                            }
                            return;
                        }
                        // Where "Let go" was, so that a double click does no harm.
                        if action_button(ui, icons::X, "Keep for later").clicked() {
                            self.letting_go = None;
                        }
                        if action_button(ui, icons::TRASH_2, "Let go for good").clicked() {
                            chosen = Some((index, false));
                        }
                    });
                });
            }
        });
        let recovery = chosen.map(|(index, is_restored)| {
            self.letting_go = None;
            let session = self.sessions.remove(index).session;
            if is_restored {
                Recovery::Restore(session)
            } else {
                Recovery::Discard(session)
            }
        });
        let is_done = self.sessions.is_empty() || matches!(recovery, Some(Recovery::Restore(_)));
        (is_closed || is_done, recovery)
    }
}

/// Which other canvases of the session come back into the history strip.
fn left_with(session: &CutOffSession) -> Option<String> {
    let titles: Vec<_> = session
        .frames()
        .left
        .iter()
        .map(|(left, _)| left.title.as_str())
        .collect();
    (!titles.is_empty()).then(|| format!("Also brought back, in the history strip: {}", titles.join(", ")))
}

fn age_of(time: SystemTime) -> String {
    let minutes = time.elapsed().map_or(0, |age| age.as_secs() as usize / 60);
    match minutes {
        0 => "a moment ago".to_owned(),
        1..60 => format!("{minutes} min ago"),
        60..1440 => format!("{} h ago", minutes / 60),
        _ => format!("{} ago", counted(minutes / 1440, "day", "days")),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_age_is_told_in_whole_words() {
        let told = |minutes| age_of(SystemTime::now() - Duration::from_mins(minutes));
        let ages = [0, 5, 125, 24 * 60, 3 * 24 * 60];
        let expected = ["a moment ago", "5 min ago", "2 h ago", "1 day ago", "3 days ago"];
        assert_eq!(ages.map(told), expected);
    }
}
