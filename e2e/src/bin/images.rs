//! Builds the container images of hub and spoke, without a container engine.

#![expect(clippy::print_stdout, reason = "its lines are what others read")]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use e2e::images::{self, Architecture, Image, ImagesError, Linkage, Options, Profile};

/// Builds OCI images of hub and spoke without a container engine, each with a tar to import, a bill of materials and a
/// provenance statement. Prints `name:tag@digest layout` of each on stdout; progress goes to stderr.
#[derive(Parser)]
struct Arguments {
    /// The top folder of the checkout to build, for images of another version; by default this one.
    #[arg(long)]
    checkout: Option<PathBuf>,
    /// Architectures, each image being an index over them; by default this machine's own.
    #[arg(long, value_enum, value_delimiter = ',')]
    arch: Vec<Architecture>,
    /// What comes before /nimfleet-hub and /nimfleet-spoke in the images' names.
    #[arg(long, default_value = "nimfleet")]
    repository: String,
    /// The images' tag.
    #[arg(long, default_value = env!("CARGO_PKG_VERSION"))]
    tag: String,
    /// The folder in which everything is written.
    #[arg(long, default_value = "target/images")]
    out: PathBuf,
    /// How optimised the programs are; dev takes a third of the time.
    #[arg(long, value_enum, default_value_t)]
    profile: Profile,
    /// Makes dynamic programs with their loader and libraries, as is done where Rust's musl target cannot be installed.
    #[arg(long)]
    dynamic: bool,
    /// Where the sources are public (a URL), for labels and provenance.
    #[arg(long)]
    source: Option<String>,
    /// Builds kubectl's plugin too, and writes an archive of it for each architecture into this folder.
    #[arg(long, value_name = "FOLDER")]
    plugin: Option<PathBuf>,
    /// Who builds (a URI), for the provenance.
    #[arg(long, default_value = "https://nimfleet.io/builders/local")]
    builder: String,
}

fn main() -> ExitCode {
    let began = Instant::now();
    let say = |what: &str| eprintln!("[{:>6.1} s] {what}", began.elapsed().as_secs_f32());
    match run(Arguments::parse(), &say) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments, say: &dyn Fn(&str)) -> Result<(), ImagesError> {
    let mut architectures = arguments.arch;
    if architectures.is_empty() {
        architectures.push(Architecture::of_this_machine()?);
    }
    architectures.sort();
    architectures.dedup();
    let options = Options {
        checkout: arguments.checkout.unwrap_or_else(images::this_checkout),
        architectures,
        profile: arguments.profile,
        dynamic: arguments.dynamic,
        repository: arguments.repository,
        tag: arguments.tag,
        out: arguments.out,
        source: arguments.source,
        builder: arguments.builder,
        plugin: arguments.plugin,
    };
    let images = images::build(&options, say)?;
    for image in &images {
        tell(image, say);
        println!("{}@{} {}", image.reference, image.written.digest, image.written.folder.display());
    }
    Ok(())
}

/// Says what was made: for each architecture how it is linked and how large it is.
fn tell(image: &Image, say: &dyn Fn(&str)) {
    const MEBIBYTE: f64 = 1_048_576.0;
    for (variant, linkage) in image.written.variants.iter().zip(&image.linkage) {
        let how = match linkage {
            Linkage::Static => "a static program".to_owned(),
            Linkage::Dynamic(files) => format!("a dynamic program with {} libraries", files.len()),
        };
        #[expect(clippy::cast_precision_loss, reason = "a size to read")]
        let size = variant.compressed as f64 / MEBIBYTE;
        say(&format!(
            "{} for {}: {how}, {size:.1} MiB compressed, {}",
            image.reference, variant.architecture, variant.digest
        ));
    }
}
