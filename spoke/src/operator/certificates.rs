//! The init container that makes a container image trust certificates of a ConfigMap.

use k8s_openapi::api::core::v1::{Container, EnvVar, SecurityContext, VolumeMount};
use serde_json::{Value, json};

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

/// The same without a right of root: the image's certificates are copied, and those of `/custom` are added to the copy.
const SCRIPT_WITHOUT_ROOT: &str = "\
set -e
cp -r /etc/ssl/certs /ca-certs/
for file in /custom/*.crt /custom/*.pem; do
  if [ -f \"$file\" ]; then
    name=$(basename \"$file\")
    cp \"$file\" \"/ca-certs/certs/${name%.*}.pem\"
    { echo; cat \"$file\"; } >> /ca-certs/certs/ca-certificates.crt
  fi
done
if command -v openssl >/dev/null; then openssl rehash /ca-certs/certs >/dev/null 2>&1 || true; fi
";

/// Turns that container, if it is it, into one that needs no root; other containers stay as they are.
pub(crate) fn without_root(container: &mut Value) {
    if container["name"] == NAME && container["securityContext"]["runAsUser"] == 0 {
        container["command"] = json!(["/bin/sh", "-c", SCRIPT_WITHOUT_ROOT]);
        container["securityContext"] = json!({});
    }
}

/// The container. It runs as root, for the image's own certificate store is root's. Its script reads nothing of `env`: that
/// is what NVIDIA's operator gives to every init container, and another list would restart pods that it made.
pub(crate) fn update_certificates(image: String, env: Vec<EnvVar>, mounts: Vec<VolumeMount>) -> Container {
    Container {
        name: NAME.to_owned(),
        image: Some(image),
        command: Some(vec!["/bin/sh".into(), "-c".into(), SCRIPT.to_owned()]),
        env: Some(env).filter(|env| !env.is_empty()),
        volume_mounts: Some(mounts),
        security_context: Some(SecurityContext {
            run_as_user: Some(0),
            run_as_non_root: Some(false),
            ..SecurityContext::default()
        }),
        ..Container::default()
    }
}
