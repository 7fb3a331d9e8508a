//! An OCI image layout: the folder in which an image lies for any tool that pushes or imports it, and a tar of it.
//!
//! The same input gives the same bytes: entries are sorted, nothing bears a time, and compression is that of one crate.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::ImagesError;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// What lies at a path of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Content {
    Folder,
    File(Vec<u8>),
    Link(String),
}

/// Files of an image, owned by root, in the order of their paths.
#[derive(Debug, Clone, Default)]
pub struct Layer {
    entries: BTreeMap<String, (u32, Content)>,
}

impl Layer {
    /// A layer without files.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a folder with its access mode, for example `0o1777`.
    #[must_use]
    pub fn folder(self, path: &str, mode: u32) -> Self {
        self.entry(path, mode, Content::Folder)
    }

    /// Adds a file with its access mode.
    #[must_use]
    pub fn file(self, path: &str, mode: u32, bytes: impl Into<Vec<u8>>) -> Self {
        self.entry(path, mode, Content::File(bytes.into()))
    }

    /// Adds a symbolic link.
    #[must_use]
    pub fn link(self, path: &str, to: &str) -> Self {
        self.entry(path, 0o777, Content::Link(to.to_owned()))
    }

    fn entry(mut self, path: &str, mode: u32, content: Content) -> Self {
        let path = path.trim_matches('/');
        for (at, _) in path.match_indices('/') {
            self.entries.entry(path[..at].to_owned()).or_insert((0o755, Content::Folder));
        }
        self.entries.insert(path.to_owned(), (mode, content));
        self
    }

    fn tar(&self) -> io::Result<Vec<u8>> {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, (mode, content)) in &self.entries {
            let mut header = tar::Header::new_ustar();
            header.set_mode(*mode);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(0);
            header.set_size(0);
            match content {
                Content::Folder => {
                    header.set_entry_type(tar::EntryType::Directory);
                    tar.append_data(&mut header, format!("{path}/"), io::empty())?;
                }
                Content::File(bytes) => {
                    header.set_size(bytes.len() as u64);
                    tar.append_data(&mut header, path, bytes.as_slice())?;
                }
                Content::Link(to) => {
                    header.set_entry_type(tar::EntryType::Symlink);
                    tar.append_link(&mut header, path, to)?;
                }
            }
        }
        tar.into_inner()
    }

    /// The files as a compressed tar.
    pub(super) fn compressed(&self) -> io::Result<Vec<u8>> {
        compress(&self.tar()?)
    }
}

fn compress(tar: &[u8]) -> io::Result<Vec<u8>> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(tar)?;
    gzip.finish()
}

/// How a container of an image is started, and what the image says of itself.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// `uid:gid`.
    pub user: String,
    /// Path of the program in the image, and arguments that are always given.
    pub entrypoint: Vec<String>,
    /// Arguments unless others are given.
    pub command: Vec<String>,
    /// `NAME=value` each.
    pub environment: Vec<String>,
    /// Labels, also the manifest's annotations.
    pub labels: BTreeMap<String, String>,
}

/// An image for one architecture.
#[derive(Debug, Clone)]
pub struct Variant {
    /// As OCI names it: `amd64`, `arm64`.
    pub architecture: &'static str,
    /// From the lowest up.
    pub layers: Vec<Layer>,
    /// How it is started.
    pub config: Config,
}

/// The image of one architecture as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenVariant {
    /// As OCI names it.
    pub architecture: &'static str,
    /// Of its manifest, `sha256:…`.
    pub digest: String,
    /// What is pulled for it: layers, config and manifest, compressed, bytes.
    pub compressed: u64,
}

/// An image as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The layout.
    pub folder: PathBuf,
    /// Of the index over all architectures, `sha256:…`: what a deployment pins.
    pub digest: String,
    /// One for each architecture, in the order given.
    pub variants: Vec<WrittenVariant>,
}

/// Writes an image layout to `folder`, which is emptied first. `reference` is `repository:tag`; without a registry in it
/// containerd knows the image as one of docker.io, as kubelet asks for it.
pub fn write(folder: &Path, reference: &str, variants: &[Variant]) -> Result<Written, ImagesError> {
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(ImagesError::at(folder))?;
    }
    let blobs = folder.join("blobs/sha256");
    fs::create_dir_all(&blobs).map_err(ImagesError::at(&blobs))?;
    let mut written = Vec::new();
    let mut manifests = Vec::new();
    for variant in variants {
        let (manifest, compressed) = write_variant(&blobs, variant)?;
        written.push(WrittenVariant {
            architecture: variant.architecture,
            digest: manifest.digest.clone(),
            compressed,
        });
        let mut manifest = manifest.json();
        manifest["platform"] = json!({"architecture": variant.architecture, "os": "linux"});
        manifests.push(manifest);
    }
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests});
    let index = Blob::of_json(&blobs, INDEX, &index)?;
    let mut top = index.json();
    top["annotations"] = json!({
        "org.opencontainers.image.ref.name": reference.rsplit_once(':').map_or(reference, |(_, tag)| tag),
        "io.containerd.image.name": with_registry(reference),
    });
    keep(
        &folder.join("index.json"),
        &to_bytes(&json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [top]}))?,
    )?;
    keep(&folder.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    Ok(Written { folder: folder.to_owned(), digest: index.digest, variants: written })
}

/// Writes the layout in `folder` as one tar, for tools that import from a file.
pub fn archive(folder: &Path, to: &Path) -> Result<(), ImagesError> {
    let file = fs::File::create(to).map_err(ImagesError::at(to))?;
    let mut tar = tar::Builder::new(io::BufWriter::new(file));
    let blobs = folder.join("blobs/sha256");
    let mut names = vec!["index.json".to_owned(), "oci-layout".to_owned()];
    for entry in fs::read_dir(&blobs).map_err(ImagesError::at(&blobs))? {
        let entry = entry.map_err(ImagesError::at(&blobs))?;
        names.push(format!("blobs/sha256/{}", entry.file_name().display()));
    }
    names.sort();
    for name in names {
        let path = folder.join(&name);
        let bytes = fs::read(&path).map_err(ImagesError::at(&path))?;
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_mtime(0);
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, &name, bytes.as_slice()).map_err(ImagesError::at(to))?;
    }
    tar.into_inner().and_then(|mut file| file.flush()).map_err(ImagesError::at(to))
}

/// The whole name of an image, as containerd keeps it.
#[must_use]
pub fn with_registry(reference: &str) -> String {
    match reference.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => reference.to_owned(),
        Some(_) => format!("docker.io/{reference}"),
        None => format!("docker.io/library/{reference}"),
    }
}

/// Writes the layers, the config and the manifest of one architecture; returns the manifest and what is pulled, in bytes.
fn write_variant(blobs: &Path, variant: &Variant) -> Result<(Blob, u64), ImagesError> {
    let (mut layers, mut contents, mut compressed) = (Vec::new(), Vec::new(), 0);
    for layer in &variant.layers {
        let tar = layer.tar().map_err(ImagesError::at(blobs))?;
        contents.push(digest(&tar));
        let bytes = compress(&tar).map_err(ImagesError::at(blobs))?;
        let blob = Blob::of_bytes(blobs, LAYER, &bytes)?;
        compressed += blob.size;
        layers.push(blob.json());
    }
    let config = &variant.config;
    let config = Blob::of_json(
        blobs,
        CONFIG,
        &json!({
            "architecture": variant.architecture,
            "os": "linux",
            "config": {
                "User": config.user,
                "Entrypoint": config.entrypoint,
                "Cmd": config.command,
                "Env": config.environment,
                "WorkingDir": "/",
                "Labels": config.labels,
            },
            "rootfs": {"type": "layers", "diff_ids": contents},
        }),
    )?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config.json(),
        "layers": layers,
        "annotations": variant.config.labels,
    });
    let manifest = Blob::of_json(blobs, MANIFEST, &manifest)?;
    compressed += config.size + manifest.size;
    Ok((manifest, compressed))
}

/// A part of an image, kept under its digest.
struct Blob {
    media: &'static str,
    digest: String,
    size: u64,
}

impl Blob {
    fn of_bytes(blobs: &Path, media: &'static str, bytes: &[u8]) -> Result<Self, ImagesError> {
        let digest = digest(bytes);
        keep(&blobs.join(digest.trim_start_matches("sha256:")), bytes)?;
        Ok(Self { media, digest, size: bytes.len() as u64 })
    }

    fn of_json(blobs: &Path, media: &'static str, value: &Value) -> Result<Self, ImagesError> {
        Self::of_bytes(blobs, media, &to_bytes(value)?)
    }

    fn json(&self) -> Value {
        json!({"mediaType": self.media, "digest": self.digest, "size": self.size})
    }
}

/// The digest of bytes as OCI writes it.
#[must_use]
pub(super) fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

pub(super) fn keep(path: &Path, bytes: &[u8]) -> Result<(), ImagesError> {
    fs::write(path, bytes).map_err(ImagesError::at(path))
}

/// JSON with sorted keys, whatever features `serde_json` was built with.
pub(super) fn to_bytes(value: &Value) -> Result<Vec<u8>, ImagesError> {
    let mut value = value.clone();
    value.sort_all_objects();
    serde_json::to_vec(&value).map_err(|error| ImagesError::Json(error.to_string()))
}
