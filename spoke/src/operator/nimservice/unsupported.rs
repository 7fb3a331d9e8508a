//! What this version cannot render. A NIMService that asks for it is refused as a whole, naming the field, rather than
//! rendered in part.

use crds::nim::NIMServiceSpec;

/// The first field that asks for something this version does not render.
pub(super) fn field(spec: &NIMServiceSpec) -> Option<&'static str> {
    let asked = [("spec.inferencePlatform: kserve", spec.inference_platform.as_deref() == Some("kserve"))];
    asked.into_iter().find_map(|(field, asks)| asks.then_some(field))
}
