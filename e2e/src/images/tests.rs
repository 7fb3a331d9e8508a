//! Images of a small program, read back as a tool would.

use std::io::Read;

use flate2::read::GzDecoder;
use serde_json::Value;

use super::layout::digest;
use super::*;

/// A program, and the options of an image of it in `out`.
fn small(out: &Path) -> (Vec<Program>, Options) {
    let path = out.join("program");
    fs::write(&path, "#!/bin/true\n").unwrap();
    let program = |linkage, architecture: Architecture| Program {
        path: path.clone(),
        linkage,
        target: architecture.static_target(),
    };
    let options = Options {
        checkout: this_checkout(),
        architectures: vec![Architecture::X86_64, Architecture::Aarch64],
        profile: Profile::Release,
        dynamic: false,
        repository: "registry.example.com/fleet".to_owned(),
        tag: "0.1.0".to_owned(),
        out: out.join("images"),
        source: Some("https://example.com/nimfleet".to_owned()),
        builder: "https://example.com/builder".to_owned(),
        plugin: None,
    };
    fs::create_dir_all(&options.out).unwrap();
    let library = Linkage::Dynamic(vec![path.clone()]);
    (vec![program(Linkage::Static, Architecture::X86_64), program(library, Architecture::Aarch64)], options)
}

fn made(out: &Path) -> (Image, Options) {
    let (programs, options) = small(out);
    let source = Source { commit: Some("c0ffee".to_owned()), modified: true, lock: "10c4".to_owned() };
    (image(&PRODUCTS[0], &programs, &source, "1.95.0", &options).unwrap(), options)
}

/// A blob of the layout; its bytes must be what its digest says.
fn blob(layout: &Path, descriptor: &Value) -> Vec<u8> {
    let named = descriptor["digest"].as_str().unwrap();
    let bytes = fs::read(layout.join("blobs/sha256").join(named.trim_start_matches("sha256:"))).unwrap();
    assert_eq!(
        (digest(&bytes), bytes.len() as u64),
        (named.to_owned(), descriptor["size"].as_u64().unwrap())
    );
    bytes
}

fn json_blob(layout: &Path, descriptor: &Value) -> Value {
    serde_json::from_slice(&blob(layout, descriptor)).unwrap()
}

/// Everything in a folder: path, bytes.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(
                files(&path)
                    .into_iter()
                    .map(|(name, bytes)| (Path::new(path.file_name().unwrap()).join(name), bytes)),
            );
        } else {
            found.insert(path.file_name().unwrap().into(), fs::read(&path).unwrap());
        }
    }
    found
}

#[test]
fn the_same_input_gives_the_same_bytes_of_images_bills_and_statements() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut made_of = Vec::new();
    for at in [&one, &other] {
        let (programs, options) = small(at.path());
        // A dynamic program of the same bytes, at the same path in both images.
        let programs = programs.into_iter().map(|program| Program { linkage: Linkage::Static, ..program });
        let source = Source::default();
        let image = image(&PRODUCTS[0], &programs.collect::<Vec<_>>(), &source, "1.95.0", &options).unwrap();
        made_of.push((image.written.digest, files(&options.out)));
    }
    let names: Vec<_> = made_of[0].1.keys().filter(|path| path.components().count() == 1).collect();
    let expected = [
        "nimfleet-hub-amd64.cdx.json",
        "nimfleet-hub-arm64.cdx.json",
        "nimfleet-hub.provenance.json",
        "nimfleet-hub.tar",
    ];
    assert_eq!(names, expected.iter().map(Path::new).collect::<Vec<_>>());
    assert!(made_of[0] == made_of[1], "two images of the same program differ");

    fs::write(one.path().join("program"), "another\n").unwrap();
    let (programs, options) = small(one.path());
    fs::write(&programs[0].path, "another\n").unwrap();
    let image = image(&PRODUCTS[0], &programs, &Source::default(), "1.95.0", &options).unwrap();
    assert_ne!(image.written.digest, made_of[0].0);
}

#[test]
fn the_layout_is_an_index_over_images_that_start_as_the_charts_expect() {
    let at = tempfile::tempdir().unwrap();
    let (image, _) = made(at.path());
    let layout = &image.written.folder;
    assert_eq!(fs::read_to_string(layout.join("oci-layout")).unwrap(), r#"{"imageLayoutVersion":"1.0.0"}"#);
    let top: Value = serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
    let top = &top["manifests"][0];
    assert_eq!(
        top["annotations"]["io.containerd.image.name"],
        "registry.example.com/fleet/nimfleet-hub:0.1.0"
    );
    assert_eq!(top["annotations"]["org.opencontainers.image.ref.name"], "0.1.0");
    assert_eq!(top["digest"], image.written.digest.as_str());
    let index = json_blob(layout, top);
    let architectures: Vec<_> = index["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m["platform"]["architecture"].clone())
        .collect();
    assert_eq!(architectures, ["amd64", "arm64"]);

    for (n, descriptor) in index["manifests"].as_array().unwrap().iter().enumerate() {
        let manifest = json_blob(layout, descriptor);
        let config = json_blob(layout, &manifest["config"]);
        let run = &config["config"];
        assert_eq!(run["User"], "65532:65532");
        assert_eq!(run["Entrypoint"], serde_json::json!(["/usr/local/bin/nimfleet-hub"]));
        assert_eq!(run["Env"][1], "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt");
        for (label, value) in [
            ("title", "nimfleet-hub"),
            ("version", "0.1.0"),
            ("licenses", "Apache-2.0"),
            ("revision", "c0ffee-modified"),
        ] {
            assert_eq!(run["Labels"][format!("org.opencontainers.image.{label}")], value);
        }
        assert_eq!(manifest["annotations"], run["Labels"]);
        assert!(config.get("created").is_none(), "a time would differ from build to build");

        let mut found = BTreeMap::new();
        let layers = manifest["layers"].as_array().unwrap();
        let ids = config["rootfs"]["diff_ids"].as_array().unwrap();
        for (layer, id) in layers.iter().zip(ids) {
            let mut tar = Vec::new();
            GzDecoder::new(blob(layout, layer).as_slice()).read_to_end(&mut tar).unwrap();
            assert_eq!(id, digest(&tar).as_str());
            for entry in tar::Archive::new(tar.as_slice()).entries().unwrap() {
                let mut entry = entry.unwrap();
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes).unwrap();
                let header = entry.header();
                assert_eq!(
                    (header.uid().unwrap(), header.gid().unwrap(), header.mtime().unwrap()),
                    (0, 0, 0)
                );
                let path = entry.path().unwrap().display().to_string();
                found.insert(path, (header.mode().unwrap(), bytes));
            }
        }
        assert_eq!(found["usr/local/bin/nimfleet-hub"], (0o755, b"#!/bin/true\n".to_vec()));
        if n == 0 {
            // The library of the other one lies below /tmp.
            assert_eq!(found["tmp/"].0, 0o1777);
        }
        assert!(String::from_utf8_lossy(&found["etc/passwd"].1).contains("\nnonroot:x:65532:65532:"));
        let certificates = String::from_utf8_lossy(&found[CERTIFICATES].1).into_owned();
        assert_eq!(
            certificates.matches("BEGIN CERTIFICATE").count(),
            webpki_root_certs::TLS_SERVER_ROOT_CERTS.len()
        );
        // The second program is dynamic: what it needs lies beside it, at the path where its loader looks.
        let library = at.path().join("program").display().to_string();
        assert_eq!(found.contains_key(library.trim_start_matches('/')), n == 1);
    }
}

#[test]
fn the_tar_holds_the_layout_in_order() {
    let at = tempfile::tempdir().unwrap();
    let (image, _) = made(at.path());
    let mut tar = tar::Archive::new(fs::File::open(&image.archive).unwrap());
    let names: Vec<PathBuf> =
        tar.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().into_owned()).collect();
    assert!(names.is_sorted());
    assert_eq!(names, files(&image.written.folder).into_keys().collect::<Vec<_>>());
}

#[test]
fn the_bill_names_what_is_linked_and_nothing_of_tests_or_build_scripts() {
    let at = tempfile::tempdir().unwrap();
    let (image, options) = made(at.path());
    let bill: Value =
        serde_json::from_slice(&fs::read(options.out.join("nimfleet-hub-amd64.cdx.json")).unwrap()).unwrap();
    let amd64 = &image.written.variants[0].digest;
    assert_eq!(bill["metadata"]["component"]["hashes"][0]["content"], amd64.trim_start_matches("sha256:"));
    for field in ["serialNumber", "metadata/timestamp"] {
        assert!(bill.pointer(&format!("/{field}")).is_none(), "{field} differs from build to build");
    }
    let components = bill["components"].as_array().unwrap();
    let named = |name: &str| components.iter().find(|component| component["name"] == name);
    assert_eq!(components[0]["type"], "application");
    assert_eq!(named("tonic").unwrap()["hashes"][0]["content"].as_str().unwrap().len(), 64);
    assert!(
        named("crds").is_some()
            && named("rust-std").is_some()
            && named("/etc/ssl/certs/ca-certificates.crt").is_some()
    );
    for absent in ["spoke", "proptest", "bolero", "protox", "serde_derive", "webpki-root-certs"] {
        assert!(named(absent).is_none(), "{absent} is not linked into the hub");
    }
    for component in components.iter().filter(|component| component["type"] == "library") {
        assert!(component["licenses"][0]["expression"].is_string(), "{component} has no licence");
    }
    let references: std::collections::BTreeSet<_> =
        components.iter().map(|component| component["bom-ref"].as_str().unwrap()).collect();
    assert_eq!(references.len(), components.len(), "references are unique");
    for on in bill["dependencies"].as_array().unwrap().iter().flat_map(|d| d["dependsOn"].as_array().unwrap())
    {
        assert!(references.contains(on.as_str().unwrap()), "{on} is no component");
    }
}

#[test]
fn the_statement_names_the_images_the_commit_and_the_builder() {
    let at = tempfile::tempdir().unwrap();
    let (image, options) = made(at.path());
    let statement: Value =
        serde_json::from_slice(&fs::read(options.out.join("nimfleet-hub.provenance.json")).unwrap()).unwrap();
    assert_eq!(statement["predicateType"], "https://slsa.dev/provenance/v1");
    let digests: Vec<_> = statement["subject"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["digest"]["sha256"].as_str().unwrap())
        .collect();
    let mut expected = vec![image.written.digest.as_str()];
    expected.extend(image.written.variants.iter().map(|variant| variant.digest.as_str()));
    assert_eq!(
        digests,
        expected.iter().map(|digest| digest.trim_start_matches("sha256:")).collect::<Vec<_>>()
    );
    let build = &statement["predicate"]["buildDefinition"];
    assert_eq!(build["externalParameters"]["sourceModified"], true);
    let source = build["resolvedDependencies"].as_array().unwrap().last().unwrap();
    assert_eq!(source["uri"], "git+https://example.com/nimfleet");
    assert_eq!(source["digest"]["gitCommit"], "c0ffee");
    assert_eq!(statement["predicate"]["runDetails"]["builder"]["id"], "https://example.com/builder");
}

#[test]
fn names_without_a_registry_are_of_docker_hub_as_kubelet_asks() {
    for (reference, whole) in [
        ("nimfleet/nimfleet-hub:1", "docker.io/nimfleet/nimfleet-hub:1"),
        ("pause:1", "docker.io/library/pause:1"),
        ("localhost/x:1", "localhost/x:1"),
        ("10.0.0.1:5000/x:1", "10.0.0.1:5000/x:1"),
    ] {
        assert_eq!(layout::with_registry(reference), whole);
    }
}

#[test]
fn the_dockerfile_says_the_same() {
    let top = crate::cargo::workspace();
    let read = |name: &str| fs::read_to_string(top.join(name)).unwrap();
    let (dockerfile, toolchain) = (read("Dockerfile"), read("rust-toolchain.toml"));
    let version =
        toolchain.lines().find_map(|line| line.strip_prefix("channel = \"")).unwrap().trim_end_matches('"');
    let mut words = vec![
        format!("ARG RUST={version}\n"),
        format!("USER {USER}\n"),
        format!("ENV {PATH} "),
        format!("SSL_CERT_FILE=/{CERTIFICATES}\n"),
        "root:x:0:0:root:/:/sbin/nologin\\nnonroot:x:65532:65532:nonroot:/:/sbin/nologin\\n".to_owned(),
        format!("org.opencontainers.image.licenses=\"{}\"", env!("CARGO_PKG_LICENSE")),
        format!("ARG VERSION={}\n", env!("CARGO_PKG_VERSION")),
        "cargo build --locked --release --bins ".to_owned(),
    ];
    for Product { package, name, description } in PRODUCTS {
        words.push(format!("--package {package}"));
        words.push(format!("ENTRYPOINT [\"/{PROGRAMS}/{name}\"]"));
        words.push(format!("org.opencontainers.image.title=\"{name}\""));
        words.push(format!("org.opencontainers.image.description=\"{description}\""));
    }
    for word in words {
        assert!(dockerfile.contains(&word), "Dockerfile lacks {word:?}");
    }
}

#[test]
fn the_archive_of_the_plugin_is_what_krew_unpacks() {
    let at = tempfile::tempdir().unwrap();
    let (programs, options) = small(at.path());
    let folder = at.path().join("plugin");
    plugin(&folder, Architecture::Aarch64, &programs[0], &options).unwrap();
    let archive = fs::read(folder.join("kubectl-nimfleet-0.1.0-linux-arm64.tar.gz")).unwrap();
    let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(archive.as_slice()));
    let entries = tar.entries().unwrap().map(|entry| {
        let entry = entry.unwrap();
        (entry.path().unwrap().display().to_string(), entry.header().mode().unwrap())
    });
    assert_eq!(
        entries.collect::<Vec<_>>(),
        [("LICENSE".to_owned(), 0o644), ("kubectl-nimfleet".to_owned(), 0o755)]
    );
}
