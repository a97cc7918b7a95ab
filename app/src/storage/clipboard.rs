//! Pictures to and from the system's clipboard. May take long with large pictures: for the thread "file-io".

use anyhow::Context as _;
pub use arboard::Clipboard;
use arboard::ImageData;
use wordbrush_engine::api::{CanvasSize, Picture};

/// Copies a picture. On X11 and Wayland the returned handle must be kept alive, or the clipboard is empty again.
///
/// # Errors
/// If the system offers no clipboard.
pub fn copy_picture(picture: &Picture) -> anyhow::Result<Clipboard> {
    let mut clipboard = Clipboard::new().context("the system offers no clipboard")?;
    clipboard
        .set_image(ImageData {
            width: picture.size().width() as usize,
            height: picture.size().height() as usize,
            bytes: picture.rgba().into(),
        })
        .context("cannot copy the picture")?;
    Ok(clipboard)
}

/// The picture on the clipboard; `None` if there is something else on it.
///
/// # Errors
/// If the system offers no clipboard, or the picture is larger than a canvas may be.
pub fn paste_picture() -> anyhow::Result<Option<Picture>> {
    let mut clipboard = Clipboard::new().context("the system offers no clipboard")?;
    let image = match clipboard.get_image() {
        Err(arboard::Error::ContentNotAvailable) => return Ok(None),
        image => image.context("cannot paste the picture")?,
    };
    let side = |side: usize| u32::try_from(side).unwrap_or(u32::MAX);
    let size = CanvasSize::new(side(image.width), side(image.height)).context("cannot paste the picture")?;
    Ok(Some(Picture::new(size, image.bytes.into_owned())?))
}
