//! The init container that makes a container image trust certificates of a ConfigMap.

use k8s_openapi::api::core::v1::{Container, SecurityContext, VolumeMount};

/// Its name.
const NAME: &str = "update-ca-certificates";

/// Copies `/custom` where the image's own tool finds it, and what the tool makes of it to `/ca-certs`.
const SCRIPT: &str = "\
set -e
store=/usr/local/share/ca-certificates
for file in /custom/*.crt; do if [ -f \"$file\" ]; then cp \"$file\" \"$store/\"; fi; done
for file in /custom/*.pem; do if [ -f \"$file\" ]; then cp \"$file\" \"$store/$(basename \"$file\" .pem)-pem.crt\"; fi; done
update-ca-certificates
cp -r /etc/ssl/certs /ca-certs/
";

/// The container. It runs as root, for the image's own certificate store is root's.
pub(crate) fn update_certificates(image: String, mounts: Vec<VolumeMount>) -> Container {
    Container {
        name: NAME.to_owned(),
        image: Some(image),
        command: Some(vec!["/bin/sh".into(), "-c".into(), SCRIPT.to_owned()]),
        volume_mounts: Some(mounts),
        security_context: Some(SecurityContext {
            run_as_user: Some(0),
            run_as_non_root: Some(false),
            ..SecurityContext::default()
        }),
        ..Container::default()
    }
}
