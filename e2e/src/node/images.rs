//! Images that a real node of the tests has, made of busybox and of our own programs.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::failure::Failure;
use crate::images::layout::{self, Config, Layer, Variant};
use crate::images::{self, Architecture, Options, Profile};

/// Name of the image that holds a pod's namespaces.
pub(super) const PAUSE: &str = "nimfleet.test/pause:1";
/// The image of NVIDIA's sample, for which a stand-in is made.
const NIM: &str = "nvcr.io/nim/meta/llama-3.2-1b-instruct:1.12.0";
/// A folder of images as `--bin images` writes it; without it they are built as the tests are.
const GIVEN: &str = "NIMFLEET_IMAGES";
/// What a script of the operator, or of the stand-in, calls.
const APPLETS: [&str; 12] =
    ["sh", "cat", "echo", "env", "grep", "httpd", "id", "ls", "mkdir", "sleep", "test", "true"];
/// What the stand-in's image offers: one profile that fits NVIDIA's sample.
const MANIFEST: &str = "\
1a0000000000000000000000000000000000000000000000000000000000001a:
  model: meta/llama-3.2-1b-instruct
  release: '1.12.0'
  tags:
    feat_lora: 'false'
    gpu: H100
    gpu_device: 2330:10de
    llm_engine: tensorrt_llm
    pp: '1'
    precision: fp8
    profile: throughput
    tp: '1'
  container_url: nvcr.io/nim/meta/llama-3.2-1b-instruct:1.12.0
";

/// What every node of the tests needs beside hub and spoke: tars of pause and of the stand-in, made in `folder`.
pub fn stand_ins(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    Ok(vec![made(folder, "pause", PAUSE, pause()?)?, made(folder, "nim", NIM, nim()?)?])
}

/// Images of hub and spoke of one checkout.
pub struct Images {
    /// Tars of both.
    pub tars: Vec<PathBuf>,
    /// The hub's image: repository and tag.
    pub hub: (String, String),
    /// The spoke's image: repository and tag.
    pub spoke: (String, String),
}

impl Images {
    /// Makes those of this checkout in `folder`, of programs built now in the quick profile; or takes those of the folder
    /// that `NIMFLEET_IMAGES` names.
    pub fn make(folder: &Path, say: &dyn Fn(&str)) -> Result<Self, Failure> {
        match env::var_os(GIVEN) {
            Some(given) => Self::of(Path::new(&given)),
            None => Self::build(&images::this_checkout(), env!("CARGO_PKG_VERSION"), folder, say),
        }
    }

    /// Builds the programs of a checkout in the quick profile, and makes images of this tag in `folder`.
    pub fn build(checkout: &Path, tag: &str, folder: &Path, say: &dyn Fn(&str)) -> Result<Self, Failure> {
        let options = Options {
            checkout: checkout.to_owned(),
            architectures: vec![Architecture::of_this_machine()?],
            profile: Profile::Dev,
            dynamic: false,
            repository: "nimfleet".to_owned(),
            tag: tag.to_owned(),
            out: folder.join(tag),
            source: None,
            builder: "https://nimfleet.io/builders/e2e".to_owned(),
            plugin: None,
        };
        images::build(&options, say)?;
        Self::of(&options.out)
    }

    fn of(folder: &Path) -> Result<Self, Failure> {
        let own = ["nimfleet-hub", "nimfleet-spoke"];
        let tars = own.map(|name| folder.join(format!("{name}.tar"))).to_vec();
        let [hub, spoke] = own.map(|name| name_of(&folder.join(name)));
        Ok(Self { tars, hub: hub?, spoke: spoke? })
    }
}

/// What the image in a layout is called: repository and tag.
fn name_of(layout: &Path) -> Result<(String, String), Failure> {
    let path = layout.join("index.json");
    let index: Value = serde_json::from_slice(&fs::read(&path).map_err(super::at(&path))?)?;
    let name = index["manifests"][0]["annotations"]["io.containerd.image.name"].as_str();
    let (repository, tag) = name
        .and_then(|name| name.rsplit_once(':'))
        .ok_or_else(|| Failure::new(format!("{}: no annotation io.containerd.image.name", path.display())))?;
    Ok((repository.to_owned(), tag.to_owned()))
}

fn made(folder: &Path, name: &str, reference: &str, variant: Variant) -> Result<PathBuf, Failure> {
    let written = layout::write(&folder.join(name), reference, &[variant])?;
    let tar = folder.join(format!("{name}.tar"));
    layout::archive(&written.folder, &tar)?;
    Ok(tar)
}

/// Busybox with links for what is called.
fn busybox() -> Result<Layer, Failure> {
    let place = ["/bin/busybox", "/usr/bin/busybox"].into_iter().map(Path::new).find(|path| path.exists());
    let place = place.ok_or_else(|| Failure::new("busybox was not found: apt-get install busybox-static"))?;
    let layer = Layer::new()
        .file("bin/busybox", 0o755, fs::read(place).map_err(super::at(place))?)
        .folder("tmp", 0o1777);
    Ok(APPLETS.iter().fold(layer, |layer, applet| layer.link(&format!("bin/{applet}"), "busybox")))
}

fn variant(layer: Layer, user: &str, entrypoint: &[&str]) -> Result<Variant, Failure> {
    Ok(Variant {
        architecture: Architecture::of_this_machine()?.oci(),
        layers: vec![layer],
        config: Config {
            user: user.to_owned(),
            entrypoint: entrypoint.iter().map(|word| (*word).to_owned()).collect(),
            environment: vec!["PATH=/usr/local/bin:/usr/bin:/bin".to_owned()],
            ..Config::default()
        },
    })
}

/// Holds a pod's namespaces, and ends when it is asked to: a process 1 takes no signal that it does not handle.
fn pause() -> Result<Variant, Failure> {
    let hold = "trap 'exit 0' TERM INT; while :; do sleep 3600 & wait $!; done";
    variant(busybox()?, "65535:65535", &["/bin/sh", "-c", hold])
}

/// Answers as a NIM answers when it is ready, has a manifest of profiles, and downloads by writing a file.
fn nim() -> Result<Variant, Failure> {
    let download = "#!/bin/sh\nset -e\nmkdir -p \"$NIM_CACHE_PATH/model\"\necho weights > \"$NIM_CACHE_PATH/model/weights\"\n";
    let layer = busybox()?
        .file("usr/local/bin/download-to-cache", 0o755, download)
        .file("opt/nim/etc/default/model_manifest.yaml", 0o644, MANIFEST)
        .file("www/v1/health/ready", 0o644, "ok\n")
        .file("www/v1/health/live", 0o644, "ok\n")
        .file(
            "www/v1/models",
            0o644,
            r#"{"object":"list","data":[{"id":"meta/llama-3.2-1b-instruct","object":"model"}]}"#,
        )
        .file("www/v1/metrics", 0o644, "\n");
    variant(layer, "1000:1000", &["/bin/httpd", "-f", "-p", "8000", "-h", "/www"])
}
