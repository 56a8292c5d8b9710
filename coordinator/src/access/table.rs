//! Which methods there are, and who may call them.
//!
//! What is not in the table is refused: a new method has to be added here. A test compares the table with the `.proto`
//! files.

use std::collections::HashMap;
use std::sync::LazyLock;

/// Who may call a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Everybody who can connect. The answer tells nothing but whether the server is there.
    Everybody,
    /// Callers that are known: a trusted user of this machine, or the owner of a token.
    KnownCallers,
}

/// Methods for everybody: a service and its methods.
const FOR_EVERYBODY: &[(&str, &[&str])] = &[("grpc.health.v1.Health", &["Check"])];

/// Methods for known callers.
const FOR_KNOWN_CALLERS: &[(&str, &[&str])] = &[
    ("admin_v2.API", &["InspectCluster"]),
    ("auth_v2.API", &["WhoAmI"]),
    ("debug_v2.Debug", &["SetLogLevel", "GetDumpV2Template", "DumpV2"]),
    ("enterprise_v2.API", &["GetState"]),
    ("logs.API", &["GetLogs"]),
    ("metadata.API", &["EditMetadata"]),
    ("pachyderm.worker.Worker", &["NextDatum"]),
    (
        "pfs_v2.API",
        &[
            "CreateRepo",
            "InspectRepo",
            "ListRepo",
            "DeleteRepo",
            "DeleteRepos",
            "StartCommit",
            "FinishCommit",
            "ClearCommit",
            "InspectCommit",
            "ListCommit",
            "SubscribeCommit",
            "SquashCommit",
            "DropCommit",
            "InspectCommitSet",
            "ListCommitSet",
            "SquashCommitSet",
            "DropCommitSet",
            "FindCommits",
            "WalkCommitProvenance",
            "WalkCommitSubvenance",
            "CreateBranch",
            "InspectBranch",
            "ListBranch",
            "DeleteBranch",
            "WalkBranchProvenance",
            "WalkBranchSubvenance",
            "ModifyFile",
            "GetFile",
            "GetFileTAR",
            "InspectFile",
            "ListFile",
            "WalkFile",
            "GlobFile",
            "DiffFile",
            "DeleteAll",
            "Fsck",
            "CreateFileSet",
            "GetFileSet",
            "AddFileSet",
            "RenewFileSet",
            "ComposeFileSet",
            "ShardFileSet",
            "Egress",
            "CreateProject",
            "InspectProject",
            "InspectProjectV2",
            "ListProject",
            "DeleteProject",
            "ReposSummary",
        ],
    ),
    (
        "pps_v2.API",
        &[
            "InspectJob",
            "InspectJobSet",
            "ListJob",
            "ListJobSet",
            "SubscribeJob",
            "DeleteJob",
            "StopJob",
            "InspectDatum",
            "ListDatum",
            "CreateDatum",
            "RestartDatum",
            "RerunPipeline",
            "CreatePipeline",
            "CreatePipelineV2",
            "InspectPipeline",
            "ListPipeline",
            "DeletePipeline",
            "DeletePipelines",
            "StartPipeline",
            "StopPipeline",
            "RunCron",
            "CheckStatus",
            "CreateSecret",
            "DeleteSecret",
            "ListSecret",
            "InspectSecret",
            "DeleteAll",
            "GetLogs",
            "RenderTemplate",
            "GetClusterDefaults",
            "SetClusterDefaults",
            "GetProjectDefaults",
            "SetProjectDefaults",
            "PipelinesSummary",
        ],
    ),
    (
        "storage.Fileset",
        &[
            "CreateFileset",
            "ReadFileset",
            "ReadFilesetCDR",
            "RenewFileset",
            "ComposeFileset",
            "ShardFileset",
        ],
    ),
    (
        "transaction_v2.API",
        &[
            "BatchTransaction",
            "StartTransaction",
            "InspectTransaction",
            "DeleteTransaction",
            "ListTransaction",
            "FinishTransaction",
            "DeleteAll",
        ],
    ),
    ("versionpb_v2.API", &["GetVersion"]),
    ("grpc.health.v1.Health", &["List", "Watch"]),
];

/// Rules by path: `/package.Service/Method`.
static RULES: LazyLock<HashMap<String, Rule>> = LazyLock::new(|| {
    let lists = [
        (FOR_EVERYBODY, Rule::Everybody),
        (FOR_KNOWN_CALLERS, Rule::KnownCallers),
    ];
    let paths = lists.into_iter().flat_map(|(services, rule)| {
        let paths = services
            .iter()
            .flat_map(|(service, methods)| methods.iter().map(move |method| format!("/{service}/{method}")));
        paths.map(move |path| (path, rule))
    });
    paths.collect()
});

/// Returns the rule of a method; `None` if there is no such method.
pub fn rule(path: &str) -> Option<Rule> {
    RULES.get(path).copied()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use howdah_api::json::DESCRIPTORS;

    use super::*;

    #[test]
    fn every_method_of_the_api_has_a_rule_and_no_other() {
        let described: BTreeSet<String> = DESCRIPTORS
            .services()
            .flat_map(|service| {
                let methods: Vec<_> = service.methods().map(|method| method.name().to_owned()).collect();
                methods
                    .into_iter()
                    .map(move |method| format!("/{}/{method}", service.full_name()))
            })
            .chain(["Check", "List", "Watch"].map(|method| format!("/grpc.health.v1.Health/{method}")))
            .collect();
        let listed: BTreeSet<String> = RULES.keys().cloned().collect();
        assert_eq!(listed, described);
    }

    #[test]
    fn only_the_health_check_is_for_everybody() {
        let open: Vec<_> = RULES.iter().filter(|(_, rule)| **rule == Rule::Everybody).collect();
        assert_eq!(open.len(), 1);
        assert_eq!(rule("/grpc.health.v1.Health/Check"), Some(Rule::Everybody));
        assert_eq!(rule("/pfs_v2.API/ListRepo"), Some(Rule::KnownCallers));
        assert_eq!(rule("/pfs_v2.API/listrepo"), None);
        assert_eq!(rule("pfs_v2.API/ListRepo"), None);
    }
}
