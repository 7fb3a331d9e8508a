//! Parts that several of NVIDIA's kinds have.

pub(super) mod container;
pub(super) mod proxy;
pub(super) mod volume;

/// Whether a value is what its type starts with; such a part is not written.
pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Takes out of a field's schema the width that Rust's number type has and upstream's field does not.
pub(crate) fn any_width(schema: &mut schemars::Schema) {
    schema.remove("format");
}
