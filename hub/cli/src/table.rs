//! Tables as kubectl prints them, ages as it words them, and the few colours that mean something.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use jiff::Timestamp;

/// What kubectl prints where there is nothing.
const NONE: &str = "<none>";
/// Spaces between two columns.
const GAP: usize = 3;

/// What a word means to whoever looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Tone {
    #[default]
    Plain,
    /// A heading.
    Heading,
    Good,
    Warning,
    Bad,
    /// Of less weight than the rest.
    Faint,
}

impl Tone {
    fn style(self) -> Style {
        match self {
            Self::Plain => Style::new(),
            Self::Heading => Style::new().bold(),
            Self::Good => AnsiColor::Green.on_default(),
            Self::Warning => AnsiColor::Yellow.on_default(),
            Self::Bad => AnsiColor::Red.on_default(),
            Self::Faint => Style::new().dimmed(),
        }
    }

    /// The tone of a condition's status, of which True is the good one.
    pub(crate) fn of_truth(status: &str) -> Self {
        match status {
            "True" => Self::Good,
            "False" => Self::Bad,
            _ => Self::Warning,
        }
    }
}

/// The text in its colour. What is not printed on a terminal loses the colours on its way.
pub(crate) fn paint(text: &str, tone: Tone) -> String {
    if tone == Tone::Plain {
        return text.to_owned();
    }
    let style = tone.style();
    format!("{style}{text}{style:#}")
}

/// One field of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// A field in a colour.
    pub(crate) fn of(text: impl Into<String>, tone: Tone) -> Self {
        Self { text: text.into(), tone }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::of(text, Tone::Plain)
    }
}

/// Rows under headings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    pub(crate) fn new(headings: &[&'static str]) -> Self {
        Self { headings: headings.to_vec(), rows: Vec::new() }
    }

    pub(crate) fn row<const N: usize>(&mut self, cells: [Cell; N]) {
        self.rows.push(cells.into());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The lines of the table, each with its line break, behind `indent` spaces. The last column is as wide as it needs to be.
    pub(crate) fn render(&self, indent: usize) -> String {
        let headings: Vec<Cell> = self.headings.iter().map(|text| Cell::of(*text, Tone::Heading)).collect();
        let lines: Vec<&Vec<Cell>> = std::iter::once(&headings).chain(&self.rows).collect();
        let width = |column: usize| {
            lines.iter().filter_map(|line| line.get(column)).map(|cell| shown(cell).chars().count()).max()
        };
        let widths: Vec<usize> = (0..self.headings.len()).map(|column| width(column).unwrap_or(0)).collect();
        let mut out = String::new();
        for line in lines {
            let _ = write!(out, "{:indent$}", "");
            for (column, cell) in line.iter().enumerate() {
                let text = shown(cell);
                let _ = write!(out, "{}", paint(text, cell.tone));
                if column + 1 < line.len() {
                    let padding = widths[column].saturating_sub(text.chars().count()) + GAP;
                    let _ = write!(out, "{:padding$}", "");
                }
            }
            out.push('\n');
        }
        out
    }
}

fn shown(cell: &Cell) -> &str {
    if cell.text.is_empty() { NONE } else { &cell.text }
}

/// How long ago something was, as kubectl words it: `45s`, `3m20s`, `5h12m`, `12d`.
pub(crate) fn age(since: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(since).as_secs().max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 if seconds % 60 > 0 => format!("{minutes}m{}s", seconds % 60),
        120..10_800 => format!("{minutes}m"),
        10_800..28_800 if minutes % 60 > 0 => format!("{hours}h{}m", minutes % 60),
        10_800..172_800 => format!("{hours}h"),
        172_800..691_200 if hours % 24 > 0 => format!("{days}d{}h", hours % 24),
        172_800..63_072_000 => format!("{days}d"),
        _ => format!("{}y", days / 365),
    }
}

/// The same of a time that may be unknown.
pub(crate) fn age_of(since: Option<Timestamp>, now: Timestamp) -> String {
    since.map_or_else(|| "<unknown>".to_owned(), |since| age(since, now))
}

/// `1 cluster`, `2 clusters`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_whatever_their_colours() {
        let mut table = Table::new(&["NAME", "READY", "MESSAGE"]);
        table.row(["east".into(), Cell::of("True", Tone::Good), "fine".into()]);
        table.row(["frankfurt".into(), Cell::of("Unknown", Tone::Warning), "".into()]);
        let plain = anstream::adapter::strip_str(&table.render(2)).to_string();
        assert_eq!(
            plain,
            "  NAME        READY     MESSAGE\n  east        True      fine\n  frankfurt   Unknown   <none>\n"
        );
        assert!(table.render(0).contains("\u{1b}[32mTrue\u{1b}[0m"));
    }

    #[test]
    fn ages_are_worded_as_kubectl_words_them() {
        for (seconds, words) in [
            (-5, "0s"),
            (119, "119s"),
            (120, "2m"),
            (200, "3m20s"),
            (600, "10m"),
            (10_860, "3h1m"),
            (100_000, "27h"),
            (180_000, "2d2h"),
            (800_000, "9d"),
            (70_000_000, "2y"),
        ] {
            let now = Timestamp::from_second(100_000_000).unwrap();
            assert_eq!(age(Timestamp::from_second(100_000_000 - seconds).unwrap(), now), words, "{seconds}");
        }
    }
}
