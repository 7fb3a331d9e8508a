//! What of a spec stays as it was made. An empty field and an absent one are the same: NVIDIA's operator drops some and
//! adds others when it writes an object back.

use super::rule::Rule;

/// Of a NIMService.
pub(super) const SERVICE: &[Rule] = &[
    Rule::of(
        "S44",
        ".multiNode",
        "oldObject.?spec.?multiNode == $spec.?multiNode",
        "Forbidden: is immutable; delete the NIMService and create it anew",
    ),
    Rule::of(
        "S45",
        ".storage.pvc",
        "!oldObject.?spec.?storage.?pvc.?create.orValue(false) \
         || $pvc.?create.orValue(false) \
         && ['name', 'storageClass', 'size', 'volumeAccessMode', 'subPath'].all(field, dyn($pvc)[?field].orValue('') == dyn(oldObject).?spec.?storage.?pvc[?field].orValue('')) \
         && $pvc.?annotations.orValue({}) == oldObject.?spec.?storage.?pvc.?annotations.orValue({})",
        "Forbidden: is immutable once the claim is made for the NIMService (create: true); delete the NIMService and create it anew",
    ),
];

/// Of a NIMCache: all of it.
pub(super) const CACHE: &[Rule] = &[
    Rule::of("K18", ".source", SAME_SOURCE, IMMUTABLE),
    Rule::of(
        "K18",
        ".storage",
        "$storage.?hostPath == oldObject.?spec.?storage.?hostPath \
         && $pvc.?create == oldObject.?spec.?storage.?pvc.?create \
         && ['name', 'storageClass', 'size', 'volumeAccessMode', 'subPath'].all(field, dyn($pvc)[?field].orValue('') == dyn(oldObject).?spec.?storage.?pvc[?field].orValue('')) \
         && $pvc.?annotations.orValue({}) == oldObject.?spec.?storage.?pvc.?annotations.orValue({})",
        IMMUTABLE,
    ),
    Rule::of(
        "K18",
        ".resources",
        "['cpu', 'memory'].all(field, quantity(string(dyn($spec).?resources[?field].orValue('0'))).compareTo(quantity(string(dyn(oldObject).?spec.?resources[?field].orValue('0')))) == 0)",
        IMMUTABLE,
    ),
    Rule::of(
        "K18",
        ".tolerations",
        "$spec.?tolerations.orValue([]).map(one, [dyn(one.?key.orValue('')), dyn(one.?operator.orValue('')), dyn(one.?value.orValue('')), dyn(one.?effect.orValue('')), dyn(one.?tolerationSeconds)]) \
         == oldObject.?spec.?tolerations.orValue([]).map(one, [dyn(one.?key.orValue('')), dyn(one.?operator.orValue('')), dyn(one.?value.orValue('')), dyn(one.?effect.orValue('')), dyn(one.?tolerationSeconds)])",
        IMMUTABLE,
    ),
    Rule::of(
        "K18",
        ".env",
        "$spec.?env.orValue([]).map(one, [dyn(one.name), dyn(one.?value.orValue('')), dyn(one.?valueFrom)]) == oldObject.?spec.?env.orValue([]).map(one, [dyn(one.name), dyn(one.?value.orValue('')), dyn(one.?valueFrom)])",
        IMMUTABLE,
    ),
    Rule::of(
        "K18",
        ".proxy",
        "['httpProxy', 'httpsProxy', 'noProxy', 'certConfigMap'].all(field, dyn($spec).?proxy[?field].orValue('') == dyn(oldObject).?spec.?proxy[?field].orValue(''))",
        IMMUTABLE,
    ),
    Rule::of(
        "K18",
        "",
        "$spec.?initContainers.orValue([]) == oldObject.?spec.?initContainers.orValue([]) \
         && $spec.?nodeSelector.orValue({}) == oldObject.?spec.?nodeSelector.orValue({}) \
         && $spec.?runtimeClassName.orValue('') == oldObject.?spec.?runtimeClassName.orValue('') \
         && $spec.?userID == oldObject.?spec.?userID && $spec.?groupID == oldObject.?spec.?groupID \
         && $spec.?certConfig == oldObject.?spec.?certConfig",
        IMMUTABLE,
    ),
];

const IMMUTABLE: &str =
    "Forbidden: is immutable once the object is created; delete the NIMCache and create it anew";

const SAME_SOURCE: &str = "$source.?hf == oldObject.?spec.?source.?hf \
    && $source.?dataStore == oldObject.?spec.?source.?dataStore \
    && $source.?ngc.hasValue() == oldObject.?spec.?source.?ngc.hasValue() \
    && ['authSecret', 'modelPuller', 'pullSecret'].all(field, dyn($source).?ngc[?field].orValue('') == dyn(oldObject).?spec.?source.?ngc[?field].orValue('')) \
    && $source.?ngc.?modelEndpoint == oldObject.?spec.?source.?ngc.?modelEndpoint \
    && $model.hasValue() == oldObject.?spec.?source.?ngc.?model.hasValue() \
    && ['precision', 'engine', 'tensorParallelism', 'qosProfile'].all(field, dyn($model)[?field].orValue('') == dyn(oldObject).?spec.?source.?ngc.?model[?field].orValue('')) \
    && ['profiles', 'gpus'].all(field, dyn($model)[?field].orValue([]) == dyn(oldObject).?spec.?source.?ngc.?model[?field].orValue([])) \
    && $model.?lora == oldObject.?spec.?source.?ngc.?model.?lora \
    && $model.?buildable == oldObject.?spec.?source.?ngc.?model.?buildable";
