//! Jobs, pipelines, commits and files as the command line prints them, as values.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::client::{CommandOutput, TestClient};
use crate::tools::wait_for;

/// A job as `inspect job --raw` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobSummary {
    /// The global id.
    pub id: String,
    /// Its pipeline.
    pub pipeline: String,
    /// State without the prefix, in lower case: `success`.
    pub state: String,
    /// The reason of this state.
    pub reason: String,
    /// Datums processed.
    pub processed: u64,
    /// Datums skipped.
    pub skipped: u64,
    /// Datums failed.
    pub failed: u64,
    /// Datums recovered.
    pub recovered: u64,
    /// All datums.
    pub total: u64,
}

impl JobSummary {
    fn from_json(job: &Value) -> Self {
        // 64-bit numbers are strings in protobuf JSON, and zero is left out.
        let number = |name: &str| match &job[name] {
            Value::String(text) => text
                .parse()
                .unwrap_or_else(|_| panic!("{name} is not a number in {job}")),
            Value::Number(number) => number
                .as_u64()
                .unwrap_or_else(|| panic!("{name} is not a count in {job}")),
            _ => 0,
        };
        let state = job["state"].as_str().unwrap_or("JOB_STATE_UNKNOWN");
        Self {
            id: text(&job["job"]["id"]),
            pipeline: text(&job["job"]["pipeline"]["name"]),
            state: state.strip_prefix("JOB_").unwrap_or(state).to_lowercase(),
            reason: text(&job["reason"]),
            processed: number("dataProcessed"),
            skipped: number("dataSkipped"),
            failed: number("dataFailed"),
            recovered: number("dataRecovered"),
            total: number("dataTotal"),
        }
    }

    /// Returns whether the job has ended.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.state.as_str(), "success" | "failure" | "killed" | "unrunnable")
    }

    /// Returns processed, skipped, failed, recovered.
    #[must_use]
    pub fn counts(&self) -> [u64; 4] {
        [self.processed, self.skipped, self.failed, self.recovered]
    }

    /// Returns itself if it succeeded.
    ///
    /// # Panics
    /// When it did not.
    pub fn expect_success(self) -> Self {
        assert_eq!(self.state, "success", "{self:#?}");
        self
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

impl TestClient {
    /// Puts content into a file, `repo@branch:path`. It makes a commit unless the head of the branch is open.
    pub fn put(&self, target: &str, content: &str) {
        let _ = self
            .run_with(["put", "file", target, "-f", "-"], content.as_bytes())
            .expect_ok();
    }

    /// Puts several files in one commit.
    pub fn put_all(&self, repo: &str, files: &[(&str, &str)]) {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        for (path, content) in files {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a file lies in a folder")).expect("a folder can be made");
            std::fs::write(path, content).expect("a file can be written");
        }
        self.ok(&format!("put file {repo}@master:/ -r -f {}", folder.path().display()));
    }

    /// Creates a pipeline.
    pub fn create(&self, spec: &Value) {
        let _ = self.try_create(spec).expect_ok();
    }

    /// Tries to create a pipeline.
    pub fn try_create(&self, spec: &Value) -> CommandOutput {
        self.run_with(["create", "pipeline", "-f", "-"], spec.to_string().as_bytes())
    }

    /// Updates a pipeline.
    pub fn update(&self, spec: &Value) -> CommandOutput {
        self.run_with(["update", "pipeline", "-f", "-"], spec.to_string().as_bytes())
            .expect_ok()
    }

    /// Updates a pipeline and reprocesses all datums.
    pub fn update_and_reprocess(&self, spec: &Value) -> CommandOutput {
        self.run_with(
            ["update", "pipeline", "--reprocess", "-f", "-"],
            spec.to_string().as_bytes(),
        )
        .expect_ok()
    }

    /// Returns the id of a commit given by branch.
    pub fn commit_id(&self, commit: &str) -> String {
        let commits = self.raw(&format!("inspect commit {commit}"));
        text(&commits[0]["commit"]["id"])
    }

    /// Returns the jobs of a pipeline, newest first.
    pub fn jobs(&self, pipeline: &str) -> Vec<JobSummary> {
        self.raw(&format!("list job -p {pipeline} --no-pager"))
            .iter()
            .map(JobSummary::from_json)
            .collect()
    }

    /// Returns a job of a pipeline.
    pub fn job(&self, pipeline: &str, id: &str) -> JobSummary {
        JobSummary::from_json(&self.raw(&format!("inspect job {pipeline}@{id}"))[0])
    }

    /// Waits until the newest job of a pipeline has ended and returns it.
    pub fn last_job(&self, pipeline: &str) -> JobSummary {
        wait_for(&format!("the newest job of {pipeline} to end"), || {
            let output = self.run(&format!("list job -p {pipeline} --no-pager --raw"));
            if output.code != 0 {
                return Err(format!("{output:?}"));
            }
            let newest = serde_json::Deserializer::from_str(&output.stdout)
                .into_iter::<Value>()
                .next();
            match newest.map(|job| job.map(|job| JobSummary::from_json(&job))) {
                Some(Ok(job)) if job.is_over() => Ok(job),
                other => Err(format!("{other:?}")),
            }
        })
    }

    /// Waits until the job in the commit set of a branch's head has ended and returns it.
    pub fn job_of(&self, pipeline: &str, commit: &str) -> JobSummary {
        let id = self.commit_id(commit);
        self.wait_for_job(pipeline, &id, JobSummary::is_over)
    }

    /// Waits until a job satisfies a condition. Also waits while the server does not answer.
    pub fn wait_for_job(&self, pipeline: &str, id: &str, condition: impl Fn(&JobSummary) -> bool) -> JobSummary {
        wait_for(&format!("the job {pipeline}@{id}"), || {
            let output = self.run(&format!("inspect job {pipeline}@{id} --raw"));
            if output.code != 0 {
                return Err(output.stderr);
            }
            let job =
                serde_json::from_str::<Value>(&output.stdout).map_err(|error| format!("{error} in {output:?}"))?;
            let job = JobSummary::from_json(&job);
            if condition(&job) {
                Ok(job)
            } else {
                Err(format!("{job:?}"))
            }
        })
    }

    /// Waits until a pipeline is in a state (without the prefix, in lower case) and returns the reason.
    pub fn wait_for_pipeline(&self, pipeline: &str, state: &str) -> String {
        wait_for(&format!("the pipeline {pipeline} to be {state}"), || {
            let info = &self.raw(&format!("inspect pipeline {pipeline}"))[0];
            let found = info["state"]
                .as_str()
                .unwrap_or_default()
                .trim_start_matches("PIPELINE_")
                .to_lowercase();
            if found == state {
                Ok(text(&info["reason"]))
            } else {
                Err(info.to_string())
            }
        })
    }

    /// Returns the content of a file, `repo@commit:path`.
    pub fn content(&self, file: &str) -> String {
        self.run_with(["get", "file", file], b"").expect_ok().stdout
    }

    /// Returns every file of a commit with its content.
    pub fn files(&self, commit: &str) -> BTreeMap<String, String> {
        let listed = self.raw(&format!("glob file {commit}:/**"));
        if listed.is_empty() {
            return BTreeMap::new();
        }
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let target = folder.path().join("all");
        self.ok(&format!("get file {commit}:/ -r -o {}", target.display()));
        let mut files = BTreeMap::new();
        read_tree(&target, &target, &mut files);
        files
    }

    /// Returns the paths of every file of a commit.
    pub fn paths(&self, commit: &str) -> Vec<String> {
        let listed = self.raw(&format!("glob file {commit}:/**"));
        let files = listed.iter().filter(|file| file["fileType"] == "FILE");
        files.map(|file| text(&file["file"]["path"])).collect()
    }

    /// Returns the lines that user code printed in a job.
    pub fn logs(&self, pipeline: &str, job: &str) -> Vec<String> {
        self.ok(&format!("logs -j {pipeline}@{job}"))
            .lines()
            .map(str::to_owned)
            .collect()
    }
}

fn read_tree(root: &Path, folder: &Path, files: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(folder).expect("a folder can be listed") {
        let path = entry.expect("a folder can be listed").path();
        if path.is_dir() {
            read_tree(root, &path, files);
        } else {
            let name = path
                .strip_prefix(root)
                .expect("the entry is below the root")
                .display()
                .to_string();
            files.insert(
                format!("/{name}"),
                std::fs::read_to_string(&path).expect("a file can be read"),
            );
        }
    }
}
