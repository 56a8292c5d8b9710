//! The origin of an output file: pipeline, job, image, command and inputs.

use howdah_api::{pfs_v2, pps_v2};

use crate::context::Ctx;
use crate::error::CliError;
use crate::output::fields::Fields;
use crate::wire;

/// The datum and the job that made a file.
#[derive(Debug)]
pub(super) struct FileOrigin {
    datum: pps_v2::DatumInfo,
    job: pps_v2::JobInfo,
}

/// Returns the origin of a file.
pub(super) async fn find(ctx: &Ctx, file: &pfs_v2::File) -> Result<FileOrigin, CliError> {
    let commit = file.commit.clone().unwrap_or_default();
    let repo = wire::commit_repo(&commit).cloned().unwrap_or_default();
    let job = pps_v2::Job {
        pipeline: Some(pps_v2::Pipeline {
            name: repo.name,
            project: repo.project,
        }),
        id: commit.id,
    };
    let mut pps = ctx.client().await?.pps();
    let datum = pps_v2::Datum {
        job: Some(job.clone()),
        id: file.datum.clone(),
    };
    let datum = pps
        .inspect_datum(pps_v2::InspectDatumRequest { datum: Some(datum) })
        .await?
        .into_inner();
    // A skipped datum names the earlier job that processed it.
    let job = datum.datum.as_ref().and_then(|datum| datum.job.clone()).unwrap_or(job);
    let request = pps_v2::InspectJobRequest {
        job: Some(job),
        wait: false,
        details: true,
    };
    let job = pps.inspect_job(request).await?.into_inner();
    Ok(FileOrigin { datum, job })
}

impl FileOrigin {
    /// Adds the lines about the origin.
    pub(super) fn describe(&self, fields: &mut Fields) {
        let job = self.job.job.clone().unwrap_or_default();
        let name = wire::pipeline_name(job.pipeline.as_ref());
        fields.line("Pipeline", format!("{name} (version {})", self.job.pipeline_version));
        fields.line("Job", &job.id);
        let transform = self.job.details.as_ref().and_then(|details| details.transform.as_ref());
        if let Some(transform) = transform {
            fields.maybe("Image", &transform.image);
        }
        fields.maybe("Image Digest", &self.datum.image_id);
        if let Some(transform) = transform {
            fields.maybe("Command", command(&transform.cmd));
            for line in &transform.stdin {
                fields.line("Stdin", line);
            }
        }
        let inputs: Vec<_> = self
            .datum
            .data
            .iter()
            .filter_map(|info| info.file.as_ref())
            .map(wire::file_name)
            .collect();
        if !inputs.is_empty() {
            fields.block(
                "Inputs",
                inputs.iter().map(|input| format!("  {input}\n")).collect::<String>(),
            );
        }
    }
}

/// Returns a command with quotes where a shell needs them.
fn command(words: &[String]) -> String {
    let plain = |word: &str| {
        !word.is_empty()
            && word
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"_-./:=@%+,".contains(&byte))
    };
    let quoted = words.iter().map(|word| {
        if plain(word) {
            word.clone()
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use howdah_api::convert;

    #[test]
    fn commands_can_be_pasted() {
        let words = |text: &[&str]| text.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            command(&words(&["/bin/train", "--in", "/pfs/a b", "it's"])),
            r"/bin/train --in '/pfs/a b' 'it'\''s'"
        );
    }

    #[test]
    fn the_origin_of_a_file_is_described() {
        let file = |repo: &str, path: &str| pfs_v2::FileInfo {
            file: Some(convert::file(
                convert::commit(convert::repo("default", repo), "c1"),
                path,
            )),
            ..Default::default()
        };
        let origin = FileOrigin {
            datum: pps_v2::DatumInfo {
                image_id: "predict@sha256:12ab".to_owned(),
                data: vec![file("attributes", "/first.csv"), file("model", "/model.json")],
                ..Default::default()
            },
            job: pps_v2::JobInfo {
                job: Some(convert::job(convert::pipeline("default", "prediction"), "j1")),
                pipeline_version: 2,
                details: Some(pps_v2::job_info::Details {
                    transform: Some(pps_v2::Transform {
                        image: "predict:1".to_owned(),
                        cmd: vec!["/predict".to_owned()],
                        ..Default::default()
                    }),
                    ..Default::default()
                }),
                ..Default::default()
            },
        };
        let mut fields = Fields::new();
        origin.describe(&mut fields);
        insta::assert_snapshot!(fields.text(), @r"
        Pipeline: prediction (version 2)
        Job: j1
        Image: predict:1
        Image Digest: predict@sha256:12ab
        Command: /predict
        Inputs:
          attributes@c1:/first.csv
          model@c1:/model.json
        ");
    }
}
