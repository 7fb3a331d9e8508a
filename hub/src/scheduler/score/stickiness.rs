//! Score: a placement stays where it is.

/// More than free capacity can ever weigh.
const STAYS: i32 = 100;

pub(super) const fn score(stays: bool) -> i32 {
    if stays { STAYS } else { 0 }
}
