//! How a cache keeps what the operator made: the metadata as they are, since they are searched, and the rest as text,
//! which takes a tenth of the memory of a tree of values.

use std::sync::Arc;

use kube::core::DynamicObject;
use serde_json::Value;

/// Turns the content of an object into text.
pub(super) fn pack(object: &mut DynamicObject) {
    if object.data.is_object() {
        object.data = Value::String(object.data.to_string());
    }
}

/// The object as it was before it was packed; one that never was comes back as it is.
pub(super) fn unpack(object: Arc<DynamicObject>) -> Arc<DynamicObject> {
    let Value::String(text) = &object.data else { return object };
    // What was written by `pack` is read by the same library.
    let data = serde_json::from_str(text).unwrap_or_default();
    Arc::new(DynamicObject { types: object.types.clone(), metadata: object.metadata.clone(), data })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_packed_comes_back() {
        for data in [json!({"spec": {"replicas": 1}, "status": {}}), json!({}), Value::Null] {
            let whole = DynamicObject { types: None, metadata: kube::core::ObjectMeta::default(), data };
            let mut packed = whole.clone();
            pack(&mut packed);
            assert!(!packed.data.is_object());
            assert_eq!(*unpack(Arc::new(packed)), whole);
            assert_eq!(*unpack(Arc::new(whole.clone())), whole);
        }
    }
}
