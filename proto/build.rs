//! Compiles the protocol with protox, so that no `protoc` is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = ["fleet/v1/enrollment.proto", "fleet/v1/sync.proto"];
    println!("cargo:rerun-if-changed=fleet");
    let descriptors = protox::compile(files, ["."])?;
    tonic_prost_build::configure()
        .build_transport(false)
        .skip_debug(["fleet.v1.Upsert"])
        .compile_fds(descriptors)?;
    Ok(())
}
