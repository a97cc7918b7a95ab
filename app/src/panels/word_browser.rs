//! Everything that the pocket model can paint, as pictures to choose from: a small window below a prompt field.

use eframe::egui::{
    self, Align2, FontId, Popup, PopupCloseBehavior, Response, Role, ScrollArea, Sense, TextEdit, Ui,
    WidgetInfo, vec2,
};

use super::{
    prompt::word_picture_ui,
    words::{Word, WordList},
};
use crate::theme::{
    CORNER, icons, palette, space,
    widgets::{caption, hint, icon_button},
};

const WIDTH: f32 = 336.0;
const CELL: egui::Vec2 = vec2(60.0, 76.0);
const PICTURE: egui::Vec2 = vec2(52.0, 52.0);

/// Draws the button of the window; returns the prompt with the chosen word in it.
pub fn word_browser_ui(ui: &mut Ui, words: &WordList, prompt: &str) -> Option<String> {
    let button = icon_button(
        ui,
        icons::LAYOUT_GRID,
        "Words",
        "Everything the pocket model can paint; a click puts it into the prompt.",
    );
    let query_id = button.id.with("query");
    let mut chosen = None;
    Popup::menu(&button)
        .close_behavior(PopupCloseBehavior::CloseOnClickOutside)
        .show(|ui| {
            ui.set_width(WIDTH);
            let mut query: String = ui.data(|data| data.get_temp(query_id)).unwrap_or_default();
            query_ui(ui, &mut query);
            ui.add_space(space::XS);
            let room = (ui.ctx().content_rect().height() * 0.5).clamp(160.0, 420.0);
            ScrollArea::vertical()
                .max_height(room)
                .min_scrolled_height(room)
                .auto_shrink([false, true])
                .show(ui, |ui| chosen = words_ui(ui, words, query.trim()));
            ui.data_mut(|data| data.insert_temp(query_id, query));
            if chosen.is_some() {
                ui.close();
            }
        });
    chosen.map(|word| with_word(prompt, &word.name))
}

fn query_ui(ui: &mut Ui, query: &mut String) {
    let id = egui::Id::unique("word query");
    ui.add(
        TextEdit::singleline(query)
            .id(id)
            .hint_text("Find a word")
            .desired_width(f32::INFINITY),
    );
    ui.ctx()
        .accesskit_node_builder(id, |node| node.set_label("Find a word".to_owned()));
}

fn words_ui<'a>(ui: &mut Ui, words: &'a WordList, query: &str) -> Option<&'a Word> {
    let mut chosen = None;
    let mut is_empty = true;
    for category in words.categories() {
        let found: Vec<&Word> = words
            .words()
            .iter()
            .filter(|word| word.category == category && word.answers(query))
            .collect();
        if found.is_empty() {
            continue;
        }
        is_empty = false;
        caption(ui, &capitalised(category));
        ui.horizontal_wrapped(|ui| {
            ui.spacing_mut().item_spacing = vec2(space::XS, space::XS);
            for word in found {
                if word_ui(ui, word).clicked() {
                    chosen = Some(word);
                }
            }
        });
        ui.add_space(space::S);
    }
    if is_empty {
        hint(ui, "The pocket model does not know that. Try something like it.");
    }
    chosen
}

fn word_ui(ui: &mut Ui, word: &Word) -> Response {
    let colours = palette(ui);
    let (rect, response) = ui.allocate_exact_size(CELL, Sense::click());
    response.widget_info(|| WidgetInfo::labeled(Role::Button, true, format!("Word {}", word.name)));
    if !ui.is_rect_visible(rect) {
        return response;
    }
    if response.hovered() || response.has_focus() {
        ui.painter().rect_filled(rect, CORNER, colours.hover);
    }
    let place = egui::Rect::from_center_size(
        egui::pos2(rect.center().x, rect.top() + 4.0 + PICTURE.y / 2.0),
        PICTURE,
    );
    let mut picture = ui.new_child(egui::UiBuilder::new().max_rect(place));
    word_picture_ui(&mut picture, word.thumbnail, PICTURE);
    let mut name = egui::text::LayoutJob::single_section(
        word.name.clone(),
        egui::TextFormat::simple(FontId::proportional(10.5), colours.text),
    );
    name.wrap = egui::text::TextWrapping::truncate_at_width(CELL.x - 4.0);
    let galley = ui.fonts_mut(|fonts| fonts.layout_job(name));
    let at = Align2::CENTER_TOP.anchor_size(egui::pos2(rect.center().x, place.bottom() + 3.0), galley.size());
    ui.painter().galley(at.min, galley, colours.text);
    if word.synonyms.is_empty() {
        response.on_hover_text(&word.name)
    } else {
        response.on_hover_text(format!("{}; also: {}", word.name, word.synonyms.join(", ")))
    }
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// The prompt with a word after it.
fn with_word(prompt: &str, word: &str) -> String {
    let prompt = prompt.trim_end();
    match prompt.chars().last() {
        None => word.to_owned(),
        Some(',') => format!("{prompt} {word}"),
        Some(_) => format!("{prompt}, {word}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chosen_word_joins_the_prompt() {
        assert_eq!(with_word("", "tree"), "tree");
        assert_eq!(with_word("a red house ", "tree"), "a red house, tree");
        assert_eq!(with_word("grass,", "tree"), "grass, tree");
    }
}
