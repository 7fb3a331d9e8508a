//! Container images of hub and spoke, made without a container engine: from scratch, with nothing in them but the program,
//! CA certificates and the user that it runs as.
//!
//! ```text
//! program        cargo builds static programs, or dynamic ones with their libraries
//! layout         an OCI image layout, the same bytes for the same input
//! supply_chain   bill of materials and provenance
//! ```

pub mod layout;
mod program;
mod supply_chain;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use layout::{Config, Layer, Variant, Written};
pub use program::{Architecture, Linkage, Profile, Program};
use supply_chain::{Source, Subject};

/// User and group that the programs run as: `nonroot`, as the charts say too.
pub const USER: &str = "65532:65532";
/// Where CA certificates lie in an image, as in most distributions.
pub const CERTIFICATES: &str = "etc/ssl/certs/ca-certificates.crt";
/// The folder of the programs, which is on the PATH, so that `kubectl exec … -- nimfleet-hub join-command` finds them.
const PROGRAMS: &str = "usr/local/bin";
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What is made an image of.
#[derive(Debug, Clone, Copy)]
struct Product {
    package: &'static str,
    /// Name of the image, the program and the chart.
    name: &'static str,
    description: &'static str,
}

const PRODUCTS: [Product; 2] = [
    Product {
        package: "hub",
        name: "nimfleet-hub",
        description: "The hub of a nimfleet, which chooses clusters for NVIDIA NIM manifests and keeps the whole fleet's status",
    },
    Product {
        package: "spoke",
        name: "nimfleet-spoke",
        description: "The agent of a nimfleet in one cluster, which is a NIM operator of its own",
    },
];

/// Package and program of kubectl's plugin, which goes into no image.
const PLUGIN: (&str, &str) = ("kubectl-nimfleet", "kubectl-nimfleet");

/// Images could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ImagesError {
    /// A file could not be read or written, or a program not be run.
    #[error("{path}: {source}")]
    Io {
        /// The file, folder or program.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Something that should be JSON, or be made into it, is not what was expected.
    #[error("{0}")]
    Json(String),
    /// This machine's architecture has no images.
    #[error("images are made on x86_64 and aarch64; this machine is {0}")]
    Machine(&'static str),
    /// Rust's target is missing and cannot be installed, and no program of this machine's own can stand in.
    #[error(
        "Rust's target {target} is missing and could not be installed ({said}): install it with `rustup target add {target}`, \
         or leave that architecture out; dynamic programs, which need no such target, are made for this machine's own alone"
    )]
    NoTarget {
        /// The target.
        target: String,
        /// What rustup said.
        said: String,
    },
    /// A C compiler is missing.
    #[error(
        "`{program}` was not found, and parts of ring and psm are compiled with it for {target}: install it (Debian and \
         Ubuntu: apt-get install {packages}), or name another in {variable}"
    )]
    NoCompiler {
        /// The compiler looked for.
        program: &'static str,
        /// What is built.
        target: String,
        /// Where the compiler is, in Debian.
        packages: &'static str,
        /// The variable that names another.
        variable: String,
    },
    /// Cargo ran and failed; what it said is on stderr.
    #[error("building the programs for {target} failed ({said}): cargo's own words stand above")]
    Cargo {
        /// Rust's target.
        target: String,
        /// How cargo ended.
        said: String,
    },
    /// The libraries of a dynamic program are unknown.
    #[error("{program}: `ldd` does not list its libraries, which its image must have: {said}")]
    Libraries {
        /// The program.
        program: PathBuf,
        /// What ldd said.
        said: String,
    },
}

impl ImagesError {
    pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}

/// How images are made.
#[derive(Debug, Clone)]
pub struct Options {
    /// The top folder of the checkout that is built: [`this_checkout`], or that of another version.
    pub checkout: PathBuf,
    /// For which architectures; each image is an index over them.
    pub architectures: Vec<Architecture>,
    /// How optimised the programs are.
    pub profile: Profile,
    /// Makes dynamic programs although static ones could be built.
    pub dynamic: bool,
    /// What comes before `/nimfleet-hub` in the name of an image: `registry.example.com/nimfleet`.
    pub repository: String,
    /// The images' tag.
    pub tag: String,
    /// The folder in which layouts, tars, bills and statements are written.
    pub out: PathBuf,
    /// Where the sources are public, as a URL; left out of labels and provenance if unknown.
    pub source: Option<String>,
    /// Who builds, as a URI: SLSA's `builder.id`.
    pub builder: String,
    /// The folder in which archives of kubectl's plugin are written, one for each architecture; none: it is not built.
    pub plugin: Option<PathBuf>,
}

/// An image that was made, with its files.
#[derive(Debug, Clone)]
pub struct Image {
    /// `repository:tag`.
    pub reference: String,
    /// The layout.
    pub written: Written,
    /// The layout as one file.
    pub archive: PathBuf,
    /// How the program of each architecture is linked, in the order of `written.variants`.
    pub linkage: Vec<Linkage>,
}

/// The checkout that this program was built from.
#[must_use]
pub fn this_checkout() -> PathBuf {
    crate::cargo::workspace()
}

/// Builds hub and spoke and makes their images; `say` is told what is being done, from the start on.
pub fn build(options: &Options, say: &dyn Fn(&str)) -> Result<Vec<Image>, ImagesError> {
    say("reading the state of the sources");
    let source = Source::read(&options.checkout)?;
    let rust = supply_chain::rust_version(&options.checkout)?;
    let mut packages = PRODUCTS.map(|product| (product.package, product.name)).to_vec();
    packages.extend(options.plugin.is_some().then_some(PLUGIN));
    let mut programs: Vec<Vec<Program>> = vec![Vec::new(); PRODUCTS.len()];
    for architecture in &options.architectures {
        let mut built = program::build(&packages, *architecture, options, say)?;
        if let Some(folder) = &options.plugin {
            for program in built.split_off(PRODUCTS.len()) {
                plugin(folder, *architecture, &program, options)?;
            }
        }
        for (programs, built) in programs.iter_mut().zip(built) {
            programs.push(built);
        }
    }
    fs::create_dir_all(&options.out).map_err(ImagesError::at(&options.out))?;
    PRODUCTS
        .iter()
        .zip(&programs)
        .map(|(product, programs)| {
            say(&format!("writing the image of {}", product.name));
            image(product, programs, &source, &rust, options)
        })
        .collect()
}

/// Writes the archive of kubectl's plugin for one architecture: the program and the licence, as krew wants them.
fn plugin(
    folder: &Path,
    architecture: Architecture,
    program: &Program,
    options: &Options,
) -> Result<(), ImagesError> {
    let (_, name) = PLUGIN;
    let bytes = fs::read(&program.path).map_err(ImagesError::at(&program.path))?;
    let licence = options.checkout.join("LICENSE");
    let licence = fs::read(&licence).map_err(ImagesError::at(&licence))?;
    let archive = Layer::new().file(name, 0o755, bytes).file("LICENSE", 0o644, licence).compressed();
    fs::create_dir_all(folder).map_err(ImagesError::at(folder))?;
    let path = folder.join(format!("{name}-{}-linux-{}.tar.gz", options.tag, architecture.oci()));
    layout::keep(&path, &archive.map_err(ImagesError::at(&path))?)
}

/// Writes one image with all that lies beside it.
fn image(
    product: &Product,
    programs: &[Program],
    source: &Source,
    rust: &str,
    options: &Options,
) -> Result<Image, ImagesError> {
    let reference = format!("{}/{}:{}", options.repository, product.name, options.tag);
    let labels = labels(product, source, options);
    let variants: Vec<Variant> = options
        .architectures
        .iter()
        .zip(programs)
        .map(|(architecture, program)| variant(product.name, *architecture, program, &labels))
        .collect::<Result<_, _>>()?;
    let written = layout::write(&options.out.join(product.name), &reference, &variants)?;
    let archive = options.out.join(format!("{}.tar", product.name));
    layout::archive(&written.folder, &archive)?;

    for (variant, program) in written.variants.iter().zip(programs) {
        let mut files = vec![(format!("/{CERTIFICATES}"), certificates().into_bytes())];
        for path in libraries(&program.linkage) {
            files.push((path.display().to_string(), fs::read(path).map_err(ImagesError::at(path))?));
        }
        let subject = Subject {
            name: product.name,
            package: product.package,
            architecture: variant.architecture,
            digest: &variant.digest,
            reference: &reference,
            target: &program.target,
            files: &files,
        };
        let bill = supply_chain::bill(&subject, rust, &options.checkout)?;
        let path = options.out.join(format!("{}-{}.cdx.json", product.name, variant.architecture));
        layout::keep(&path, &layout::to_bytes(&bill)?)?;
    }
    let targets: Vec<String> = programs.iter().map(|program| program.target.clone()).collect();
    let statement = supply_chain::provenance(product.name, &written, &targets, source, rust, options);
    let path = options.out.join(format!("{}.provenance.json", product.name));
    layout::keep(&path, &layout::to_bytes(&statement)?)?;
    let linkage = programs.iter().map(|program| program.linkage.clone()).collect();
    Ok(Image { reference, written, archive, linkage })
}

/// What an image says of itself, in OCI's words.
fn labels(product: &Product, source: &Source, options: &Options) -> BTreeMap<String, String> {
    let mut labels = vec![
        ("title", product.name.to_owned()),
        ("description", product.description.to_owned()),
        ("version", options.tag.clone()),
        ("licenses", env!("CARGO_PKG_LICENSE").to_owned()),
        ("vendor", "nimfleet".to_owned()),
    ];
    labels.extend(source.revision().map(|revision| ("revision", revision)));
    if let Some(url) = &options.source {
        labels.extend([("source", url.clone()), ("url", url.clone()), ("documentation", url.clone())]);
    }
    labels.into_iter().map(|(key, value)| (format!("org.opencontainers.image.{key}"), value)).collect()
}

/// The image of one program: a layer that seldom changes, and the program with what it needs.
fn variant(
    name: &str,
    architecture: Architecture,
    program: &Program,
    labels: &BTreeMap<String, String>,
) -> Result<Variant, ImagesError> {
    let path = format!("{PROGRAMS}/{name}");
    let bytes = fs::read(&program.path).map_err(ImagesError::at(&program.path))?;
    let mut own = Layer::new().file(&path, 0o755, bytes);
    for library in libraries(&program.linkage) {
        let bytes = fs::read(library).map_err(ImagesError::at(library))?;
        own = own.file(&library.to_string_lossy(), 0o755, bytes);
    }
    Ok(Variant {
        architecture: architecture.oci(),
        layers: vec![base(), own],
        config: Config {
            user: USER.to_owned(),
            entrypoint: vec![format!("/{path}")],
            command: Vec::new(),
            environment: vec![PATH.to_owned(), format!("SSL_CERT_FILE=/{CERTIFICATES}")],
            labels: labels.clone(),
        },
    })
}

fn libraries(linkage: &Linkage) -> &[PathBuf] {
    match linkage {
        Linkage::Static => &[],
        Linkage::Dynamic(files) => files,
    }
}

/// What every program finds: its user, how names are resolved, CA certificates and a place for temporary files.
fn base() -> Layer {
    Layer::new()
        .file(
            "etc/passwd",
            0o644,
            "root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/:/sbin/nologin\n",
        )
        .file("etc/group", 0o644, "root:x:0:\nnonroot:x:65532:\n")
        .file("etc/nsswitch.conf", 0o644, "hosts: files dns\n")
        .file(CERTIFICATES, 0o644, certificates())
        .folder("tmp", 0o1777)
}

/// Mozilla's CA certificates in the version of the lock file, as PEM: those of the machine that builds would differ.
fn certificates() -> String {
    let mut pem = String::new();
    for certificate in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
        let text = STANDARD.encode(certificate);
        pem.push_str("-----BEGIN CERTIFICATE-----\n");
        let mut rest = text.as_str();
        while !rest.is_empty() {
            let (line, after) = rest.split_at(rest.len().min(64));
            let _ = writeln!(pem, "{line}");
            rest = after;
        }
        pem.push_str("-----END CERTIFICATE-----\n");
    }
    pem
}

#[cfg(test)]
mod tests;
