//! Compiles the protocol with protox, so that no `protoc` is needed.

/// Clients and servers need tonic.
const GRPC: &str = "#[cfg(feature = \"grpc\")]";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = ["fleet/v1/enrollment.proto", "fleet/v1/sync.proto"];
    println!("cargo:rerun-if-changed=fleet");
    let descriptors = protox::compile(files, ["."])?;
    tonic_prost_build::configure()
        .build_transport(false)
        .client_mod_attribute("fleet.v1", GRPC)
        .server_mod_attribute("fleet.v1", GRPC)
        .skip_debug(["fleet.v1.Upsert"])
        .compile_fds(descriptors)?;
    Ok(())
}
