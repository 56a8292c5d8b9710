//! What a stage container consists of: name, image, mounts, limits and labels.
//!
//! Nothing here talks to the engine.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use bollard::models::{ContainerCreateBody, HealthConfig, HostConfig, HostConfigLogConfig, Mount, MountType};

use super::super::StageRequest;
use super::super::init_client::SOCKET_NAME;
use super::containment::{Containment, DROPPED_CAPABILITIES};
use super::engine::Engine;
use super::image::LocalImage;

/// Label whose value is the scratch folder of the worker that created the container.
pub const WORKER_LABEL: &str = "howdah.worker";

/// Prefix of the labels that users give in a spec.
pub const USER_LABELS: &str = "howdah.user.";

// Mount points in the container.
pub(super) const PFS: &str = "/pfs";
const INPUTS: &str = "/pfs/.scratch";
pub(super) const INIT: &str = "/.howdah/init";
const RUN_DIR: &str = "/.howdah/run";
/// Folders that are emptied between datums.
const TEMPORARY: [&str; 4] = ["/tmp", "/var/tmp", "/run", "/dev/shm"];

/// What the start of a container needs besides the request.
pub struct StageSetup<'a> {
    /// The engine.
    pub engine: &'a Engine,
    /// Path of the `stage-init` program on this machine.
    pub init: &'a Path,
    /// Value of [`WORKER_LABEL`].
    pub owner: &'a str,
    /// Converts a path of the worker into the engine's path of the same file.
    pub to_engine: &'a (dyn Fn(&Path) -> PathBuf + Sync),
    /// Limits of all stages.
    pub containment: &'a Containment,
    /// Name of the network; `None` means the engine's default.
    pub network: Option<String>,
}

/// Returns a valid and unique container name that contains `wanted`.
pub(super) fn container_name(wanted: &str) -> String {
    let mut name: String = wanted
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "_.-".contains(c) {
                c
            } else {
                '-'
            }
        })
        .take(80)
        .collect();
    // Several workers may share an engine, and the engine refuses a name that is in use.
    let random = uuid::Uuid::new_v4().simple().to_string();
    name.push('-');
    name.extend(random.chars().take(12));
    format!("howdah-{name}")
}

/// Returns the container's definition for the engine.
pub(super) fn definition(setup: &StageSetup<'_>, request: &StageRequest, image: &LocalImage) -> ContainerCreateBody {
    // Prefixed: a label of a user must not look like one of ours, or of a tool that acts on labels.
    let user_labels = request.user_labels.iter();
    let mut labels: HashMap<String, String> = user_labels
        .map(|(name, value)| (format!("{USER_LABELS}{name}"), value.clone()))
        .collect();
    labels.extend(request.labels.clone());
    labels.insert(WORKER_LABEL.to_owned(), setup.owner.to_owned());
    let mount = |source: &Path, target: &str, read_only: bool| Mount {
        typ: Some(MountType::BIND),
        source: Some((setup.to_engine)(source).to_string_lossy().into_owned()),
        target: Some(target.to_owned()),
        read_only: Some(read_only),
        ..Mount::default()
    };
    let containment = setup.containment;
    let memory = request
        .memory_bytes
        .or(containment.memory_bytes)
        .map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
    ContainerCreateBody {
        image: Some(image.id.clone()),
        entrypoint: Some(vec![INIT.to_owned(), format!("{RUN_DIR}/{SOCKET_NAME}")]),
        cmd: Some(TEMPORARY.map(str::to_owned).to_vec()),
        // stage-init runs as root and changes to the user of each command.
        user: Some("0:0".to_owned()),
        working_dir: Some("/".to_owned()),
        labels: Some(labels),
        // A health check of the image would run beside the commands, and stage-init would kill it
        // at the end of a command.
        healthcheck: Some(HealthConfig {
            test: Some(vec!["NONE".to_owned()]),
            ..HealthConfig::default()
        }),
        host_config: Some(HostConfig {
            mounts: Some(vec![
                mount(setup.init, INIT, true),
                mount(&request.dirs.run, RUN_DIR, true),
                mount(&request.dirs.pfs, PFS, false),
                mount(&request.dirs.inputs, INPUTS, true),
            ]),
            memory,
            // The limit of memory and swap together. Without it the engine allows as much swap as
            // memory, and a command gets twice its limit.
            memory_swap: memory,
            nano_cpus: request.cpus.map(|cpus| (cpus * 1e9).round() as i64),
            network_mode: setup.network.clone(),
            cap_drop: Some(DROPPED_CAPABILITIES.map(str::to_owned).to_vec()),
            pids_limit: Some(containment.pids.into()),
            runtime: containment.runtime.clone(),
            init: Some(false),
            auto_remove: Some(true),
            log_config: Some(HostConfigLogConfig {
                typ: Some("none".to_owned()),
                config: None,
            }),
            // SELinux would deny the container access to its mounts. Ignored without SELinux.
            security_opt: Some(vec!["label=disable".to_owned(), "no-new-privileges".to_owned()]),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn container_names_are_valid_and_unique() {
        let name = container_name("default/edges v2 ü");
        assert!(name.starts_with("howdah-default-edges-v2---"), "{name}");
        assert_ne!(name, container_name("default/edges v2 ü"));
    }
}
