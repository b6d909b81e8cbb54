//! Plots as inline SVG: lines, areas and bars over two axes. Knows nothing of reports. Colours come from the page's style sheet
//! by class, so that a plot follows the reader's light or dark setting. Pure; called by `plots`.

use std::fmt::Write as _;

/// The drawing, in its own units.
const WIDTH: f64 = 540.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 18.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 40.0;
/// Ticks that an axis has about, standing and lying.
const TICKS: f64 = 5.0;
const TICKS_OF_TIME: f64 = 8.0;
/// Colours that the style sheet has.
pub const COLOURS: usize = 6;

/// How numbers on an axis are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Count,
    Seconds,
    Millis,
    Bytes,
    Percent,
    Cores,
    /// Written as they are.
    Plain,
}

/// From number to place.
#[derive(Debug, Clone)]
pub struct Axis {
    pub name: String,
    pub unit: Unit,
    low: f64,
    high: f64,
    log: bool,
    ticks: Vec<(f64, String)>,
}

impl Axis {
    /// From zero to a round number above `high`.
    pub fn linear(name: &str, unit: Unit, high: f64) -> Axis {
        Axis::ticked(name, unit, high, TICKS)
    }

    fn ticked(name: &str, unit: Unit, high: f64, ticks: f64) -> Axis {
        let high = if high > 0.0 { high } else { 1.0 };
        let step = nice(high / ticks, unit);
        let top = (high / step).ceil() * step;
        let count = (top / step).round() as usize;
        let ticks = (0..=count).map(|n| n as f64 * step).map(|at| (at, write(at, unit))).collect();
        Axis { name: name.to_owned(), unit, low: 0.0, high: top, log: false, ticks }
    }

    /// From zero to `high` itself: a time axis ends where the run does.
    pub fn until(name: &str, unit: Unit, high: f64) -> Axis {
        let mut axis = Axis::ticked(name, unit, high, TICKS_OF_TIME);
        axis.high = if high > 0.0 { high } else { 1.0 };
        axis.ticks.retain(|(at, _)| *at <= axis.high * 1.001);
        axis
    }

    /// Powers of ten around what there is.
    pub fn log(name: &str, unit: Unit, low: f64, high: f64) -> Axis {
        let low = 10_f64.powf(low.max(1e-6).log10().floor());
        let high = 10_f64.powf(high.max(low * 10.0).log10().ceil());
        let decades = (high / low).log10().round() as i32;
        let ticks = (0..=decades).map(|n| low * 10_f64.powi(n)).map(|at| (at, write(at, unit))).collect();
        Axis { name: name.to_owned(), unit, low, high, log: true, ticks }
    }

    /// Marks of the caller's choice.
    pub fn marked(name: &str, low: f64, high: f64, ticks: Vec<(f64, String)>) -> Axis {
        Axis { name: name.to_owned(), unit: Unit::Plain, low, high, log: false, ticks }
    }

    /// Where a number stands, 0 to 1.
    fn share(&self, at: f64) -> f64 {
        let share = if self.log {
            (at.max(self.low) / self.low).log10() / (self.high / self.low).log10()
        } else {
            (at - self.low) / (self.high - self.low)
        };
        share.clamp(0.0, 1.0)
    }

    fn x(&self, at: f64) -> f64 {
        LEFT + self.share(at) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, at: f64) -> f64 {
        HEIGHT - BOTTOM - self.share(at) * (HEIGHT - TOP - BOTTOM)
    }
}

/// 1, 2 or 5 times a power of ten (of two for bytes), and a whole number for what is counted.
fn nice(step: f64, unit: Unit) -> f64 {
    if unit == Unit::Bytes {
        return 2_f64.powf(step.max(1.0).log2().ceil());
    }
    let power = 10_f64.powf(step.log10().floor());
    let step =
        [1.0, 2.0, 5.0, 10.0].map(|n| n * power).into_iter().find(|n| *n >= step * 0.999).unwrap_or(step);
    if unit == Unit::Count { step.max(1.0) } else { step }
}

/// A number as people read it.
pub fn write(number: f64, unit: Unit) -> String {
    match unit {
        Unit::Bytes => {
            let (size, name) = match number {
                n if n >= f64::from(1 << 30) => (n / f64::from(1 << 30), "GiB"),
                n if n >= f64::from(1 << 20) => (n / f64::from(1 << 20), "MiB"),
                n if n >= 1024.0 => (n / 1024.0, "KiB"),
                n => (n, "B"),
            };
            format!("{} {name}", short(size))
        }
        Unit::Percent => format!("{}%", short(number)),
        Unit::Seconds => format!("{} s", short(number)),
        Unit::Millis if number >= 1_000.0 => format!("{} s", short(number / 1e3)),
        Unit::Millis => format!("{} ms", short(number)),
        Unit::Count if number >= 1e6 => format!("{}M", short(number / 1e6)),
        Unit::Count if number >= 1e4 => format!("{}K", short(number / 1e3)),
        Unit::Count | Unit::Cores | Unit::Plain => short(number),
    }
}

/// Three figures, no trailing zeros.
fn short(number: f64) -> String {
    let digits = match number.abs() {
        n if n >= 100.0 || n == 0.0 => 0,
        n if n >= 10.0 => 1,
        n if n >= 1.0 => 2,
        n if n >= 0.1 => 3,
        _ => 4,
    };
    let text = format!("{number:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// One line of a plot.
#[derive(Debug, Clone)]
pub struct Line {
    pub name: String,
    /// `None` interrupts it.
    pub points: Vec<(f64, Option<f64>)>,
    /// Filled down to the axis.
    pub area: bool,
}

impl Line {
    pub fn new(name: &str, points: impl IntoIterator<Item = (f64, f64)>) -> Line {
        let points = points.into_iter().map(|(x, y)| (x, Some(y))).collect();
        Line { name: name.to_owned(), points, area: false }
    }

    pub fn filled(self) -> Line {
        Line { area: true, ..self }
    }

    pub fn highest(&self) -> f64 {
        self.points.iter().filter_map(|(_, y)| *y).fold(0.0, f64::max)
    }
}

/// Something that happened at a moment.
#[derive(Debug, Clone)]
pub struct Mark {
    pub x: f64,
    pub name: String,
}

/// A plot, ready to be written.
#[derive(Debug, Clone)]
pub struct Plot {
    pub title: String,
    /// One sentence under it: what to see, or how it was measured.
    pub note: String,
    pub x: Axis,
    pub y: Axis,
    pub lines: Vec<Line>,
    /// (place, height, name) of bars, one unit of the x axis wide.
    pub bars: Vec<(f64, f64)>,
    pub marks: Vec<Mark>,
}

impl Plot {
    /// The whole figure: title, note, legend, drawing.
    pub fn figure(&self) -> String {
        let mut out = String::new();
        // Writing to a String never fails.
        let _infallible = self.write_figure(&mut out);
        out
    }

    fn write_figure(&self, out: &mut String) -> std::fmt::Result {
        let bars = if self.bars.is_empty() { "" } else { " bars" };
        write!(out, "<figure class=\"plot{bars}\"><figcaption><h3>{}</h3>", escape(&self.title))?;
        if !self.note.is_empty() {
            write!(out, "<p>{}</p>", escape(&self.note))?;
        }
        if self.lines.len() > 1 || (self.lines.len() == 1 && !self.bars.is_empty()) {
            out.push_str("<div class=\"legend\">");
            for (at, line) in self.lines.iter().enumerate() {
                write!(out, "<span><i class=\"c{}\"></i>{}</span>", at % COLOURS, escape(&line.name))?;
            }
            out.push_str("</div>");
        }
        out.push_str("</figcaption>");
        write!(
            out,
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
            escape(&self.title)
        )?;
        self.write_axes(out)?;
        for (x, y) in &self.bars {
            self.write_bar(out, *x, *y)?;
        }
        for (at, line) in self.lines.iter().enumerate() {
            self.write_line(out, line, at % COLOURS)?;
        }
        for mark in &self.marks {
            let x = self.x.x(mark.x);
            let (anchor, dx) = if x > WIDTH * 0.8 { ("end", -5.0) } else { ("start", 5.0) };
            write!(
                out,
                "<line class=\"mark\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{:.1}\"/><text class=\"mark\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>",
                HEIGHT - BOTTOM,
                x + dx,
                TOP + 9.0,
                escape(&mark.name)
            )?;
        }
        out.push_str("</svg></figure>\n");
        Ok(())
    }

    fn write_axes(&self, out: &mut String) -> std::fmt::Result {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for (at, text) in &self.y.ticks {
            let y = self.y.y(*at);
            write!(
                out,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 8.0,
                y + 4.0,
                escape(text)
            )?;
        }
        for (at, text) in &self.x.ticks {
            let x = self.x.x(*at);
            write!(
                out,
                "<line class=\"tick\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{bottom}\" y2=\"{:.1}\"/><text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                bottom + 4.0,
                bottom + 17.0,
                escape(text)
            )?;
        }
        write!(
            out,
            "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{bottom}\" y2=\"{bottom}\"/><text class=\"name\" x=\"{right}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            HEIGHT - 6.0,
            escape(&self.x.name)
        )?;
        if !self.y.name.is_empty() {
            write!(
                out,
                "<text class=\"name\" x=\"{LEFT}\" y=\"{:.1}\">{}</text>",
                HEIGHT - 6.0,
                escape(&self.y.name)
            )?;
        }
        Ok(())
    }

    fn write_bar(&self, out: &mut String, at: f64, high: f64) -> std::fmt::Result {
        const GAP: f64 = 0.12;
        let (left, right) = (self.x.x(at - 0.5 + GAP), self.x.x(at + 0.5 - GAP));
        let (top, bottom) = (self.y.y(high), HEIGHT - BOTTOM);
        write!(
            out,
            "<rect class=\"bar\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"1.5\"><title>{}: {}</title></rect>",
            right - left,
            bottom - top,
            write(at, self.x.unit),
            write(high, self.y.unit)
        )
    }

    fn write_line(&self, out: &mut String, line: &Line, colour: usize) -> std::fmt::Result {
        for part in line.points.split(|(_, y)| y.is_none()) {
            let places = thinned(part.iter().filter_map(|(x, y)| Some((self.x.x(*x), self.y.y((*y)?)))));
            let Some((first, last)) = places.first().zip(places.last()) else { continue };
            let path: String = places.iter().fold(String::new(), |mut path, (x, y)| {
                let _infallible = write!(path, "{x:.1},{y:.1} ");
                path
            });
            if line.area {
                let bottom = HEIGHT - BOTTOM;
                write!(
                    out,
                    "<polygon class=\"area c{colour}\" points=\"{:.1},{bottom} {path}{:.1},{bottom}\"/>",
                    first.0, last.0
                )?;
            }
            if places.len() == 1 {
                write!(
                    out,
                    "<circle class=\"dot c{colour}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"2.5\"/>",
                    first.0, first.1
                )?;
            } else {
                write!(out, "<polyline class=\"line c{colour}\" points=\"{}\"/>", path.trim_end())?;
            }
        }
        Ok(())
    }
}

/// Points that nobody could tell apart are left out.
fn thinned(places: impl Iterator<Item = (f64, f64)>) -> Vec<(f64, f64)> {
    const APART: f64 = 0.4;
    let mut kept: Vec<(f64, f64)> = Vec::new();
    let mut skipped = None;
    for (x, y) in places {
        match kept.last() {
            Some((last_x, last_y)) if (x - last_x).abs() < APART && (y - last_y).abs() < APART => {
                skipped = Some((x, y));
            }
            _ => {
                skipped = None;
                kept.push((x, y));
            }
        }
    }
    kept.extend(skipped);
    kept
}

/// Text that stands in HTML or in an attribute.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_on_round_numbers_above_what_there_is() {
        let axis = Axis::linear("", Unit::Count, 47_300.0);
        assert_eq!(axis.ticks.last().map(|(at, text)| (*at, text.as_str())), Some((50_000.0, "50K")));
        assert!((axis.share(47_300.0) - 0.946).abs() < 1e-9);
        let bytes = Axis::linear("", Unit::Bytes, 300.0 * 1024.0 * 1024.0);
        assert_eq!(bytes.ticks[1].1, "64 MiB");
        let few = Axis::linear("", Unit::Count, 2.0);
        assert_eq!(few.ticks.len(), 3, "clients are whole: {:?}", few.ticks);
        assert!(Axis::linear("", Unit::Count, 0.0).high > 0.9);
    }

    #[test]
    fn a_log_axis_holds_everything_between_powers_of_ten() {
        let axis = Axis::log("", Unit::Millis, 0.3, 4_200.0);
        assert_eq!((axis.low, axis.high), (0.1, 10_000.0));
        assert_eq!(axis.ticks.last().map(|(_, text)| text.as_str()), Some("10 s"));
        assert!((axis.share(31.622_776_6) - 0.5).abs() < 1e-6);
    }

    #[test]
    fn what_is_not_there_interrupts_a_line() {
        let mut line = Line::new("x", [(0.0, 1.0), (1.0, 2.0)]);
        line.points.extend([(2.0, None), (3.0, Some(1.0)), (4.0, Some(1.5))]);
        let axis = || Axis::until("", Unit::Seconds, 4.0);
        let plot = Plot {
            title: "<t>".to_owned(),
            note: String::new(),
            x: axis(),
            y: Axis::linear("", Unit::Count, 2.0),
            lines: vec![line],
            bars: Vec::new(),
            marks: vec![Mark { x: 1.0, name: "cut".to_owned() }],
        };
        let svg = plot.figure();
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert!(svg.contains("&lt;t&gt;") && !svg.contains("NaN"), "{svg}");
    }

    #[test]
    fn numbers_are_short() {
        for (number, unit, text) in [
            (0.0, Unit::Count, "0"),
            (999.0, Unit::Count, "999"),
            (12_345.0, Unit::Count, "12.3K"),
            (1_500_000.0, Unit::Count, "1.5M"),
            (0.25, Unit::Millis, "0.25 ms"),
            (35_000.0, Unit::Millis, "35 s"),
            (99.9, Unit::Percent, "99.9%"),
            (1_610_612_736.0, Unit::Bytes, "1.5 GiB"),
        ] {
            assert_eq!(write(number, unit), text);
        }
    }
}
