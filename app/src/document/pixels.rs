//! How edits and documents are written: the plain part through serde, the pixels through a visitor.
//!
//! Serde writes of a mask only its size and which tiles are painted, of a picture only its size; reading it back
//! gives blank tiles and pictures. A [`PixelVisitor`] then walks over the same tiles and pictures in the same
//! order, to write their bytes in whatever compact form a file has, or to fill them when reading.

use std::sync::Arc;

use wordbrush_engine::api::{Mask, Picture, TileData};

use super::{BackgroundField, BackgroundLayer, Document, Edit};

/// Sees every tile and picture of an edit or a document, in a fixed order, and may replace them.
pub trait PixelVisitor {
    /// A painted tile.
    fn tile(&mut self, tile: &mut Arc<TileData>);
    /// A picture; a replacement must have the same size.
    fn picture(&mut self, picture: &mut Picture);
}

impl Edit {
    /// Shows every tile and picture of the edit to `visitor`.
    pub fn visit_pixels(&mut self, visitor: &mut dyn PixelVisitor) {
        match self {
            Self::AddRegion { region, .. } => visit_mask(&mut region.mask, visitor),
            Self::MaskTiles(change) => {
                for tile in change.tiles.iter_mut().filter_map(|tile| tile.data.as_mut()) {
                    visitor.tile(tile);
                }
            }
            Self::Background(BackgroundField::Image(Some(picture))) => visitor.picture(picture),
            Self::Size { masks, .. } => {
                for sized in masks {
                    visit_mask(&mut sized.mask, visitor);
                }
            }
            Self::Replace(document) => document.visit_pixels(visitor),
            Self::Batch(edits) => {
                for edit in edits {
                    edit.visit_pixels(visitor);
                }
            }
            Self::RemoveRegion(_)
            | Self::MoveRegion { .. }
            | Self::Region(..)
            | Self::Background(_)
            | Self::Seed(_)
            | Self::Settings(_)
            | Self::Model(_) => {}
        }
    }
}

impl Document {
    /// Shows every tile and picture of the document to `visitor`.
    pub fn visit_pixels(&mut self, visitor: &mut dyn PixelVisitor) {
        let BackgroundLayer { image, .. } = &mut self.background;
        if let Some(picture) = image {
            visitor.picture(picture);
        }
        for region in &mut self.regions {
            visit_mask(&mut region.mask, visitor);
        }
    }
}

fn visit_mask(mask: &mut Mask, visitor: &mut dyn PixelVisitor) {
    for (column, row) in painted_tiles(mask) {
        let Some(tile) = mask.tile(column, row) else {
            continue;
        };
        let mut tile = Arc::clone(tile);
        let before = Arc::clone(&tile);
        visitor.tile(&mut tile);
        if !Arc::ptr_eq(&before, &tile) {
            mask.set_tile(column, row, Some(tile));
        }
    }
}

fn painted_tiles(mask: &Mask) -> Vec<(u32, u32)> {
    let (columns, rows) = mask.tile_grid();
    (0..rows)
        .flat_map(|row| (0..columns).map(move |column| (column, row)))
        .filter(|&(column, row)| mask.tile(column, row).is_some())
        .collect()
}

/// Serde for a mask without its pixels.
pub(super) mod mask_outline {
    use std::sync::{Arc, LazyLock};

    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
    use wordbrush_engine::api::{CanvasSize, Mask, TILE_SIDE, TileData};

    static BLANK: LazyLock<Arc<TileData>> = LazyLock::new(|| Arc::new([0; (TILE_SIDE * TILE_SIDE) as usize]));

    #[derive(Serialize, Deserialize)]
    struct Outline {
        size: CanvasSize,
        tiles: Vec<(u32, u32)>,
    }

    pub(in super::super) fn serialize<S: Serializer>(mask: &Mask, serializer: S) -> Result<S::Ok, S::Error> {
        Outline {
            size: mask.size(),
            tiles: super::painted_tiles(mask),
        }
        .serialize(serializer)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Mask, D::Error> {
        let Outline { size, tiles } = Outline::deserialize(deserializer)?;
        let mut mask = Mask::new(size);
        let (columns, rows) = mask.tile_grid();
        for (column, row) in tiles {
            if column >= columns || row >= rows {
                return Err(D::Error::custom(format!(
                    "tile {column}, {row} lies outside the canvas"
                )));
            }
            mask.set_tile(column, row, Some(Arc::clone(&BLANK)));
        }
        Ok(mask)
    }
}

/// Serde for a tile without its pixels: whether there is one.
pub(super) mod tile_outline {
    use std::sync::Arc;

    use serde::{Deserialize as _, Deserializer, Serializer};
    use wordbrush_engine::api::{TILE_SIDE, TileData};

    #[expect(clippy::ref_option, reason = "the signature serde calls")]
    pub(in super::super) fn serialize<S: Serializer>(
        tile: &Option<Arc<TileData>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_bool(tile.is_some())
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Arc<TileData>>, D::Error> {
        let is_painted = bool::deserialize(deserializer)?;
        Ok(is_painted.then(|| Arc::new([0; (TILE_SIDE * TILE_SIDE) as usize])))
    }
}

/// Serde for a picture without its pixels.
pub(super) mod picture_outline {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};
    use wordbrush_engine::api::{CanvasSize, Picture};

    #[expect(clippy::ref_option, reason = "the signature serde calls")]
    pub(in super::super) fn serialize<S: Serializer>(
        picture: &Option<Picture>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        picture.as_ref().map(Picture::size).serialize(serializer)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Picture>, D::Error> {
        let size = Option::<CanvasSize>::deserialize(deserializer)?;
        Ok(size.map(|size| Picture::solid(size, [0; 4])))
    }
}

#[cfg(test)]
mod tests {
    use wordbrush_engine::api::{CanvasSize, RegionId, Seed};

    use super::*;
    use crate::document::{MaskTile, MaskTiles, RegionLayer};

    #[derive(Default)]
    struct Writer {
        tiles: Vec<TileData>,
        pictures: Vec<Vec<u8>>,
    }

    impl PixelVisitor for Writer {
        fn tile(&mut self, tile: &mut Arc<TileData>) {
            self.tiles.push(**tile);
        }
        fn picture(&mut self, picture: &mut Picture) {
            self.pictures.push(picture.rgba().to_vec());
        }
    }

    struct Reader(std::vec::IntoIter<TileData>, std::vec::IntoIter<Vec<u8>>);

    impl PixelVisitor for Reader {
        fn tile(&mut self, tile: &mut Arc<TileData>) {
            *tile = Arc::new(self.0.next().unwrap());
        }
        fn picture(&mut self, picture: &mut Picture) {
            *picture = Picture::new(picture.size(), self.1.next().unwrap()).unwrap();
        }
    }

    #[test]
    fn an_edit_survives_outline_and_pixels() {
        let size = CanvasSize::new(130, 70).unwrap();
        let mut region = RegionLayer::new(RegionId(3), size, [1, 2, 3], "a tree");
        region.mask.tile_mut(1, 0)[7] = 9;
        region.mask.tile_mut(2, 1)[0] = 200;
        let mut edit = Edit::Batch(vec![
            Edit::AddRegion {
                index: 0,
                region: Box::new(region),
            },
            Edit::MaskTiles(MaskTiles {
                region: RegionId(3),
                tiles: vec![
                    MaskTile {
                        column: 0,
                        row: 0,
                        data: Some(Arc::new([77; 4096])),
                    },
                    MaskTile {
                        column: 1,
                        row: 0,
                        data: None,
                    },
                ],
            }),
            Edit::Background(BackgroundField::Image(Some(Picture::solid(size, [1, 2, 3, 4])))),
            Edit::Seed(Seed(5)),
        ]);

        let outline = serde_json::to_string(&edit).unwrap();
        let mut writer = Writer::default();
        edit.visit_pixels(&mut writer);

        let mut read: Edit = serde_json::from_str(&outline).unwrap();
        assert_ne!(read, edit);
        read.visit_pixels(&mut Reader(writer.tiles.into_iter(), writer.pictures.into_iter()));
        assert_eq!(read, edit);
    }

    #[test]
    fn an_outline_with_tiles_beyond_the_canvas_is_refused() {
        let size = CanvasSize::new(64, 64).unwrap();
        let document = {
            let mut document = Document::new(size);
            let mut region = RegionLayer::new(RegionId(1), size, [0; 3], "sky");
            region.mask.tile_mut(0, 0)[0] = 1;
            document.regions.push(region);
            document
        };
        let text = serde_json::to_string(&document).unwrap();
        assert!(serde_json::from_str::<Document>(&text).is_ok());
        let broken = text.replace("[[0,0]]", "[[4,0]]");
        assert_ne!(text, broken);
        assert!(serde_json::from_str::<Document>(&broken).is_err());
    }
}
