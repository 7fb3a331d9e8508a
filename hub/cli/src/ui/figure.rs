//! Figures as inline SVG. Their colours are classes, which the style gives for light and for dark.

use std::collections::BTreeMap;

use maud::{Markup, html};

use crate::status::ClusterRow;

/// Width of a bar, in its own units; its height is 8.
const BAR: u64 = 100;
/// Side of a square of the map, and what is between two.
const SQUARE: usize = 12;
const GAP: usize = 3;
/// Squares of a row of the map.
const IN_A_ROW: usize = 75;

/// A bar of the GPUs that are held, of all; what is free is the rest.
pub(super) fn held(free: u32, total: u32) -> Markup {
    let held = total.saturating_sub(free);
    share(held, total, Some(&format!("{held} of {total} GPUs are held")))
}

/// A bar of a part of a whole. Without a label its numbers stand beside it.
pub(super) fn share(part: u32, whole: u32, label: Option<&str>) -> Markup {
    let width = (BAR * u64::from(part)).checked_div(u64::from(whole)).unwrap_or(0).min(BAR);
    let (role, is_hidden) = if label.is_some() { (Some("img"), None) } else { (None, Some("true")) };
    html! {
        svg.share viewBox="0 0 100 8" preserveAspectRatio="none" role=[role] aria-label=[label] aria-hidden=[is_hidden] {
            rect.free width=(BAR) height="8" rx="2" {}
            rect.held width=(width) height="8" rx="2" {}
        }
    }
}

/// A square for each cluster, filled from below as far as its GPUs are held.
pub(super) fn map(clusters: &[ClusterRow]) -> Markup {
    let rows = clusters.len().div_ceil(IN_A_ROW);
    let step = SQUARE + GAP;
    let box_of = format!("0 0 {} {}", IN_A_ROW * step, rows * step);
    let label = format!("{} clusters by the GPUs that are held", clusters.len());
    html! {
        svg.map viewBox=(box_of) role="img" aria-label=(label) {
            @for (index, row) in clusters.iter().enumerate() {
                @let (x, y) = ((index % IN_A_ROW) * step, (index / IN_A_ROW) * step);
                @let held = held_height(row);
                @let class = if row.ready != "True" { "bad" } else if row.taints.is_empty() { "open" } else { "kept" };
                g class=(class) {
                    title { (row.name) ": " (row.gpus.free) " of " (row.gpus.total) " GPUs free" }
                    rect.frame x=(x) y=(y) width=(SQUARE) height=(SQUARE) rx="2" {}
                    @if held > 0 {
                        rect.fill x=(x) y=(y + SQUARE - held) width=(SQUARE) height=(held) rx="2" {}
                    }
                }
            }
        }
    }
}

/// How much of a square is filled.
fn held_height(row: &ClusterRow) -> usize {
    let (free, total) = (row.gpus.free as usize, row.gpus.total as usize);
    (SQUARE * total.saturating_sub(free)).checked_div(total).unwrap_or(0)
}

/// How many nodes have so many free GPUs: a column for each number.
pub(super) fn histogram(free_per_node: &BTreeMap<String, i32>) -> Markup {
    const HEIGHT: i64 = 60;
    const COLUMN: usize = 28;
    let column =
        |(free, nodes): (&String, &i32)| Some((free.parse::<u32>().ok()?, i64::from((*nodes).max(0))));
    let mut free_per_node: Vec<(u32, i64)> = free_per_node.iter().filter_map(column).collect();
    free_per_node.sort_unstable();
    let most = free_per_node.iter().map(|(_, nodes)| *nodes).max().unwrap_or(1).max(1);
    let box_of = format!("0 0 {} {}", free_per_node.len() * COLUMN, HEIGHT + 34);
    let words: Vec<String> =
        free_per_node.iter().map(|(free, nodes)| format!("{nodes} with {free} free")).collect();
    html! {
        svg.histogram viewBox=(box_of) width=(free_per_node.len() * COLUMN) role="img" aria-label={"nodes by free GPUs: " (words.join(", "))} {
            @for (index, (free, nodes)) in free_per_node.iter().enumerate() {
                @let height = (HEIGHT * nodes / most).max(1);
                @let x = index * COLUMN;
                rect.held x=(x + 4) y=(HEIGHT + 14 - height) width=(COLUMN - 8) height=(height) rx="2" {}
                text x=(x + COLUMN / 2) y=(HEIGHT + 10 - height) { (nodes) }
                text.axis x=(x + COLUMN / 2) y=(HEIGHT + 30) { (free) }
            }
        }
    }
}
