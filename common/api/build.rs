//! Generates Rust code from the `.proto` files, without `protoc`.

use std::error::Error;
use std::path::PathBuf;

use prost::Message as _;
use protox::Compiler;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let mut files: Vec<PathBuf> = std::fs::read_dir("proto")?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "proto"));
    files.sort();

    let descriptors = Compiler::new(["proto"])?
        .include_imports(true)
        .include_source_info(true)
        .open_files(&files)?
        .file_descriptor_set();

    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    // Reflection needs names and numbers, but no comments.
    let mut bare = descriptors.clone();
    for file in &mut bare.file {
        file.source_code_info = None;
    }
    std::fs::write(out.join("descriptors.bin"), bare.encode_to_vec())?;

    let mut config = tonic_prost_build::Config::new();
    config
        .enable_type_names()
        .btree_map(["."])
        .compile_well_known_types()
        .extern_path(".google.protobuf", "::prost_types")
        .extern_path(".google.protobuf.Empty", "()")
        .extern_path(".google.protobuf.Int64Value", "i64")
        // File data stays in its buffer instead of being copied into a vector.
        .extern_path(".google.protobuf.BytesValue", "::prost::bytes::Bytes");
    tonic_prost_build::configure()
        .compile_well_known_types(true)
        .generate_default_stubs(true)
        .codec_path("crate::codec::BoundedCodec")
        .include_file("howdah_api.rs")
        .emit_rerun_if_changed(false)
        .compile_fds_with_config(descriptors, config)?;
    Ok(())
}
