//! Score: a placement stays where it is.

pub(super) const fn points(stays: bool) -> u32 {
    if stays { 100 } else { 0 }
}
