//! `draw pipeline`: repos and pipelines as boxes, sources above, results below.

use std::collections::{BTreeMap, BTreeSet};

use howdah_api::{convert, pfs_v2, pps_v2};

use crate::args::pipelines::DrawPipeline;
use crate::context::Ctx;
use crate::error::CliResult;

/// `draw pipeline`.
pub(super) async fn run(ctx: &Ctx, arguments: &DrawPipeline) -> CliResult {
    let project = ctx.project(&arguments.project)?;
    let request = pps_v2::ListPipelineRequest {
        projects: vec![convert::project(project)],
        commit_set: arguments.commit.as_ref().map(|id| pfs_v2::CommitSet { id: id.clone() }),
        ..Default::default()
    };
    let mut stream = ctx.client().await?.pps().list_pipeline(request).await?.into_inner();
    let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    while let Some(info) = stream.message().await? {
        let sources = edges
            .entry(info.pipeline.map(|pipeline| pipeline.name).unwrap_or_default())
            .or_default();
        if let Some(input) = info.details.and_then(|details| details.input) {
            collect(&input, sources);
        }
    }
    Ok(ctx
        .printer
        .text(draw(&edges, arguments.box_width.max(3), arguments.edge_height.max(2)))?)
}

/// Collects the names of all repos and cron inputs that an input reads.
fn collect(input: &pps_v2::Input, names: &mut BTreeSet<String>) {
    if let Some(pfs) = &input.pfs {
        names.insert(pfs.repo.clone());
    }
    if let Some(cron) = &input.cron {
        names.insert(if cron.repo.is_empty() {
            cron.name.clone()
        } else {
            cron.repo.clone()
        });
    }
    for part in input
        .cross
        .iter()
        .chain(&input.union)
        .chain(&input.join)
        .chain(&input.group)
    {
        collect(part, names);
    }
}

/// One place in a row: a box, or an edge that passes through the row.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Cell {
    Box(String),
    Pass { from: String, to: String },
}

/// Draws a graph given as the sources of each pipeline.
fn draw(edges: &BTreeMap<String, BTreeSet<String>>, box_width: usize, edge_height: usize) -> String {
    let depths = depths(edges);
    let rows = rows(edges, &depths);
    let column = box_width + 6;
    let center = |index: usize| index * column + (box_width + 4) / 2;
    let mut text = String::new();
    for (depth, row) in rows.iter().enumerate() {
        text.push_str(&boxes(row, box_width, column));
        if let Some(below) = rows.get(depth + 1) {
            let links = links(row, below, edges);
            text.push_str(&lines(&links, edge_height, center, row.len().max(below.len()) * column));
        }
    }
    text
}

/// Returns the row of every name: sources first, each pipeline below everything it reads.
fn depths(edges: &BTreeMap<String, BTreeSet<String>>) -> BTreeMap<String, usize> {
    let mut depths: BTreeMap<String, usize> = BTreeMap::new();
    for (name, sources) in edges {
        depths.entry(name.clone()).or_insert(0);
        for source in sources {
            depths.entry(source.clone()).or_insert(0);
        }
    }
    // Pipelines have no cycles. The bound ends the loop even if a server returns one.
    for _ in 0..depths.len() {
        let mut changed = false;
        for (name, sources) in edges {
            let below = sources
                .iter()
                .filter_map(|source| depths.get(source))
                .max()
                .map_or(0, |depth| depth + 1);
            if depths.get(name).is_some_and(|depth| *depth < below) {
                depths.insert(name.clone(), below);
                changed = true;
            }
        }
        if !changed {
            break;
        }
    }
    depths
}

fn rows(edges: &BTreeMap<String, BTreeSet<String>>, depths: &BTreeMap<String, usize>) -> Vec<Vec<Cell>> {
    let count = depths.values().max().map_or(0, |depth| depth + 1);
    let mut rows = vec![Vec::new(); count];
    for (name, depth) in depths {
        rows[*depth].push(Cell::Box(name.clone()));
    }
    for (to, sources) in edges {
        for from in sources {
            for row in rows.iter_mut().take(depths[to]).skip(depths[from] + 1) {
                row.push(Cell::Pass {
                    from: from.clone(),
                    to: to.clone(),
                });
            }
        }
    }
    for depth in 1..count {
        let (above, below) = rows.split_at_mut(depth);
        sort_below(&above[depth - 1], &mut below[0], edges);
    }
    rows
}

/// Puts each cell of a row below the middle of its sources, so that few edges cross.
fn sort_below(above: &[Cell], row: &mut Vec<Cell>, edges: &BTreeMap<String, BTreeSet<String>>) {
    let links = links(above, row, edges);
    let middle = |index: usize| {
        let places: Vec<_> = links
            .iter()
            .filter(|(_, lower)| *lower == index)
            .map(|(upper, _)| *upper)
            .collect();
        // Scaled before the division, so that halves and thirds of a place still differ.
        places.iter().sum::<usize>() * 1000 / places.len().max(1)
    };
    let mut placed: Vec<_> = row
        .drain(..)
        .enumerate()
        .map(|(index, cell)| (middle(index), cell))
        .collect();
    placed.sort_by_key(|(place, _)| *place);
    row.extend(placed.into_iter().map(|(_, cell)| cell));
}

fn boxes(row: &[Cell], width: usize, column: usize) -> String {
    let edge = format!("+{}+", "-".repeat(width + 2));
    let mut lines = [String::new(), String::new(), String::new()];
    for cell in row {
        let parts = match cell {
            Cell::Box(name) => {
                let short: String = name.chars().take(width).collect();
                [edge.clone(), format!("| {short:^width$} |"), edge.clone()]
            }
            Cell::Pass { .. } => {
                let bar = format!("{}|", " ".repeat((width + 4) / 2));
                [bar.clone(), bar.clone(), bar]
            }
        };
        for (line, part) in lines.iter_mut().zip(parts) {
            line.push_str(&format!("{part:column$}"));
        }
    }
    lines.iter().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// Returns the edges between two rows, as pairs of places.
fn links(row: &[Cell], below: &[Cell], edges: &BTreeMap<String, BTreeSet<String>>) -> Vec<(usize, usize)> {
    let mut links = Vec::new();
    for (lower, target) in below.iter().enumerate() {
        for (upper, source) in row.iter().enumerate() {
            let linked = match (source, target) {
                (Cell::Box(from), Cell::Box(to)) => edges.get(to).is_some_and(|sources| sources.contains(from)),
                (Cell::Box(name), Cell::Pass { from, .. }) => name == from,
                (Cell::Pass { to, .. }, Cell::Box(name)) => name == to,
                (a, b) => a == b,
            };
            if linked {
                links.push((upper, lower));
            }
        }
    }
    links
}

/// Draws the edges: down, across on a line of its own if there are enough lines, down again.
fn lines(links: &[(usize, usize)], height: usize, center: impl Fn(usize) -> usize, width: usize) -> String {
    let mut canvas = vec![vec![' '; width + 1]; height];
    let tracks = height.saturating_sub(2).max(1);
    let mut next_track = 0;
    for &(upper, lower) in links {
        let (from, to) = (center(upper), center(lower));
        let mut track = 0;
        if from != to {
            track = (1 + next_track).min(height - 1);
            next_track = (next_track + 1) % tracks;
        }
        for (y, line) in canvas.iter_mut().enumerate() {
            let x = if y < track { from } else { to };
            if y == track && from != to {
                let (left, right) = (from.min(to), from.max(to));
                for (place, mark) in line.iter_mut().enumerate().take(right + 1).skip(left) {
                    let joint = place == left || place == right || *mark == '|';
                    *mark = if joint { '+' } else { '-' };
                }
            } else if line[x] == ' ' {
                line[x] = '|';
            } else if line[x] == '-' {
                line[x] = '+';
            }
        }
    }
    canvas
        .iter()
        .map(|line| format!("{}\n", line.iter().collect::<String>().trim_end()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_graph_is_drawn() {
        let sources = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        let edges = BTreeMap::from([
            ("model".to_owned(), sources(&["training"])),
            ("prediction".to_owned(), sources(&["attributes", "model"])),
        ]);
        insta::assert_snapshot!(draw(&edges, 11, 3), @r"
        +-------------+  +-------------+
        | attributes  |  |  training   |
        +-------------+  +-------------+
               |                |
               |                |
               |                |
               |         +-------------+
               |         |    model    |
               |         +-------------+
               |                |
               +----------------+
               |
        +-------------+
        | prediction  |
        +-------------+
        ");
    }

    #[test]
    fn nothing_draws_nothing() {
        assert_eq!(draw(&BTreeMap::new(), 11, 5), "");
    }
}
