//! The library of palettes: reading it, adding to the canvas, keeping the canvas' own.

use std::path::PathBuf;

use wordbrush_engine::api::RegionId;

use super::App;
use crate::{
    dialogs::palettes::PaletteWish,
    document::{BackgroundField, Edit, Target, region_colour},
    notifications::{Action, Level},
    panels::outbox::Intent,
    storage::{folders::Folders, palette::Palette, palette_library},
};

/// What to say when a job on the library is done.
pub(super) struct News {
    pub(super) text: String,
    pub(super) action: Option<Action>,
}

impl App {
    fn palettes_folder(&self) -> Option<PathBuf> {
        self.folders.as_ref().map(Folders::palettes)
    }

    /// Reads the library for its window.
    pub(super) fn look_for_palettes(&mut self) {
        let folder = self.palettes_folder();
        self.begin_palettes(None, move || Ok(palette_library::load(folder.as_deref())));
    }

    /// Carries out what the window was asked for.
    pub(super) fn run_palette_wish(&mut self, wish: PaletteWish) {
        match wish {
            PaletteWish::Add(palette) => self.add_palette(&palette),
            PaletteWish::Keep(title) => self.keep_palette(title),
            PaletteWish::Remove(title, path) => {
                let folder = self.palettes_folder();
                let way_back = Intent::Palette(PaletteWish::BringBack(path.clone()));
                let news = News {
                    text: format!("The palette {title:?} was removed."),
                    action: Some(Action::new("Bring back", way_back)),
                };
                self.begin_palettes(Some(news), move || {
                    palette_library::remove(&path)?;
                    Ok(palette_library::load(folder.as_deref()))
                });
            }
            PaletteWish::BringBack(path) => {
                let folder = self.palettes_folder();
                self.begin_palettes(None, move || {
                    palette_library::bring_back(&path)?;
                    Ok(palette_library::load(folder.as_deref()))
                });
            }
        }
    }

    fn keep_palette(&mut self, title: String) {
        let Some(folder) = self.palettes_folder() else {
            self.notifications.push(
                Level::Warning,
                "There is no folder for settings, so that nothing can be kept.",
            );
            return;
        };
        let news = News {
            text: format!("The palette {title:?} is in the library."),
            action: None,
        };
        let palette = Palette {
            title,
            ..Palette::from_document(&self.document)
        };
        self.begin_palettes(Some(news), move || {
            palette_library::keep(&folder, &palette)?;
            Ok(palette_library::load(Some(&folder)))
        });
    }

    /// Adds a palette's brushes as unpainted regions, and its background where the canvas has none. A colour that is on
    /// the canvas already is exchanged.
    pub(super) fn add_palette(&mut self, palette: &Palette) {
        let mut colours: Vec<[u8; 3]> = self.document.regions.iter().map(|region| region.colour).collect();
        let mut edits = Vec::with_capacity(palette.brushes.len());
        for (id, brush) in (self.document.next_region_id..).zip(&palette.brushes) {
            let mut region = brush.to_region(RegionId(id), self.document.size);
            if colours.contains(&region.colour) {
                region.colour = region_colour(colours.len());
            }
            colours.push(region.colour);
            edits.push(Edit::AddRegion {
                index: usize::MAX,
                region: Box::new(region),
            });
        }
        let count = edits.len();
        let (own, added) = (&self.document.background, &palette.background);
        if own.prompt.is_empty() && own.negative_prompt.is_empty() {
            // Words that the painter wrote stay.
            let prompt = BackgroundField::Prompt(added.prompt.clone());
            let negative_prompt = BackgroundField::NegativePrompt(added.negative_prompt.clone());
            edits.extend([prompt, negative_prompt].map(Edit::Background));
        }
        let first = RegionId(self.document.next_region_id);
        self.apply(Edit::Batch(edits), "Add palette", None);
        if count > 0 {
            self.select(Target::Region(first));
        }
        let text = match count {
            0 => "There are no brushes in this palette.".to_owned(),
            1 => "1 brush was added as a region: paint with it.".to_owned(),
            count => format!("{count} brushes were added as regions: paint with them."),
        };
        self.notifications.push(Level::Success, text);
    }
}
