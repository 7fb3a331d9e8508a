//! Objects without a `spec`: an API server stores them, and one of them must not break a watch of all the others.

/// Lets an object of this kind be read without its `spec`, which then is the default one. The type derives serde's
/// traits with `#[serde(remote = "Self")]`, so that the derived code is at hand below the trait.
macro_rules! may_be_absent {
    ($spec:ty) => {
        impl<'de> serde::Deserialize<'de> for $spec {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Present;
                impl<'de> serde::de::Visitor<'de> for Present {
                    type Value = $spec;
                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str(concat!("a ", stringify!($spec), " or nothing"))
                    }
                    fn visit_none<E: serde::de::Error>(self) -> Result<$spec, E> {
                        Ok(<$spec>::default())
                    }
                    fn visit_unit<E: serde::de::Error>(self) -> Result<$spec, E> {
                        Ok(<$spec>::default())
                    }
                    fn visit_some<D: serde::Deserializer<'de>>(
                        self,
                        deserializer: D,
                    ) -> Result<$spec, D::Error> {
                        <$spec>::deserialize(deserializer)
                    }
                }
                deserializer.deserialize_option(Present)
            }
        }

        impl serde::Serialize for $spec {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                <$spec>::serialize(self, serializer)
            }
        }
    };
}

pub(crate) use may_be_absent;
