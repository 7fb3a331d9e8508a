//! The rules of a NIMBuild: without these fields its pod cannot be made.

use super::rule::Rule;

/// What a build is refused for.
pub(super) const RULES: &[Rule] = &[
    Rule::of(
        "A5",
        ".nimCache.name",
        "object.?spec.?nimCache.?name.orValue('') != ''",
        "Required value: name the NIMCache whose profile is built",
    ),
    Rule::of(
        "A6",
        ".image.repository",
        "object.?spec.?image.?repository.orValue('') != ''",
        "Required value: name the image of the NIM that builds",
    ),
    Rule::of(
        "A7",
        ".image.tag",
        "object.?spec.?image.?tag.orValue('') != ''",
        "Required value: name the version of the image",
    ),
];
