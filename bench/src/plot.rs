//! Operations per second and 99th percentiles over callers, as SVG.

use std::fmt::Write;

/// The line of a contender.
pub struct Line {
    /// Its name.
    pub name: &'static str,
    /// Callers and value.
    pub points: Vec<(f64, f64)>,
}

/// One of the diagrams, both axes logarithmic.
pub struct Diagram {
    /// Its title.
    pub title: &'static str,
    /// Its lines, the first one drawn thicker.
    pub lines: Vec<Line>,
}

const COLOURS: [&str; 9] =
    ["#c6302b", "#1f77b4", "#4c9ed9", "#93c6ea", "#2ca02c", "#9467bd", "#8c564b", "#e0a010", "#777777"];
const WIDTH: f64 = 430.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 62.0;
const TOP: f64 = 34.0;

/// Draws the diagrams beside each other, with one legend below.
#[must_use]
pub fn svg(diagrams: &[Diagram]) -> String {
    let names: Vec<_> = diagrams.first().map(|d| d.lines.iter().map(|line| line.name).collect()).unwrap_or_default();
    let width = (WIDTH + LEFT + 20.0) * diagrams.len() as f64;
    let height = TOP + HEIGHT + 52.0 + 20.0 * names.len().div_ceil(4) as f64;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n"
    );
    for (n, diagram) in diagrams.iter().enumerate() {
        draw(&mut out, diagram, LEFT + n as f64 * (WIDTH + LEFT + 20.0));
    }
    for (n, (name, colour)) in names.into_iter().zip(COLOURS).enumerate() {
        let (x, y) = (LEFT + (n % 4) as f64 * 220.0, TOP + HEIGHT + 60.0 + (n / 4) as f64 * 20.0);
        put(&mut out, format_args!("<rect x=\"{x}\" y=\"{}\" width=\"14\" height=\"4\" fill=\"{colour}\"/>", y - 6.0));
        put(&mut out, format_args!("<text x=\"{}\" y=\"{y}\">{name}</text>", x + 20.0));
    }
    out.push_str("</svg>\n");
    out
}

fn draw(out: &mut String, diagram: &Diagram, left: f64) {
    let points = || diagram.lines.iter().flat_map(|line| &line.points).filter(|(_, y)| *y > 0.0);
    let (Some(across), Some(up)) = (Axis::over(points().map(|(x, _)| *x)), Axis::over(points().map(|(_, y)| *y)))
    else {
        return;
    };
    let x = |value: f64| left + across.part(value) * WIDTH;
    let y = |value: f64| TOP + (1.0 - up.part(value)) * HEIGHT;
    put(out, format_args!("<text x=\"{left}\" y=\"20\" font-weight=\"bold\">{}</text>", diagram.title));
    let (right, bottom) = (left + WIDTH, TOP + HEIGHT);
    for tick in up.ticks() {
        let at = y(tick);
        put(out, format_args!("<path d=\"M{left} {at:.1}H{right}\" stroke=\"#ddd\"/>"));
        put(
            out,
            format_args!("<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>", left - 6.0, at + 4.0, short(tick)),
        );
    }
    let mut callers: Vec<f64> = points().map(|(x, _)| *x).collect();
    callers.sort_by(f64::total_cmp);
    callers.dedup();
    for tick in callers {
        put(out, format_args!("<path d=\"M{:.1} {TOP}V{bottom}\" stroke=\"#ddd\"/>", x(tick)));
        put(
            out,
            format_args!("<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{tick}</text>", x(tick), bottom + 16.0),
        );
    }
    put(
        out,
        format_args!(
            "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">callers</text>",
            left + WIDTH / 2.0,
            bottom + 34.0
        ),
    );
    // The first one last, on top of the others.
    for (n, (line, colour)) in diagram.lines.iter().zip(COLOURS).enumerate().rev() {
        let points = line.points.iter().filter(|(_, y)| *y > 0.0).map(|(a, b)| format!("{:.1},{:.1}", x(*a), y(*b)));
        let points = points.collect::<Vec<_>>().join(" ");
        let thick = if n == 0 { 3.0 } else { 1.5 };
        put(
            out,
            format_args!("<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{thick}\"/>"),
        );
    }
}

/// A logarithmic axis.
struct Axis {
    least: f64,
    most: f64,
}

impl Axis {
    fn over(values: impl Iterator<Item = f64> + Clone) -> Option<Self> {
        let (least, most) = (values.clone().reduce(f64::min)?, values.reduce(f64::max)?);
        Some(Self { least: least.ln(), most: most.max(least * 1.1).ln() })
    }

    /// The position of a value on the axis, from 0 to 1.
    fn part(&self, value: f64) -> f64 {
        (value.ln() - self.least) / (self.most - self.least)
    }

    /// 1, 2 and 5 of every decade.
    fn ticks(&self) -> impl Iterator<Item = f64> + '_ {
        let within = |tick: &f64| (-0.001..=1.001).contains(&self.part(*tick));
        (0..12).flat_map(|decade| [1.0, 2.0, 5.0].map(|digit| digit * 10_f64.powi(decade))).filter(within)
    }
}

fn short(value: f64) -> String {
    match value {
        1_000_000.0.. => format!("{}M", value / 1e6),
        1_000.0.. => format!("{}k", value / 1e3),
        _ => format!("{value}"),
    }
}

fn put(out: &mut String, element: std::fmt::Arguments<'_>) {
    // Writing to a String does not fail.
    let _ = writeln!(out, "{element}");
}
