//! What the operator gets to see.

use std::fmt::{self, Write as _};

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode,
};

use crate::limits::{PICTURE_LINE_BYTES_MAX, PROBLEMS_MAX};
use crate::report::Problem;
use crate::source::Lines;

/// How a picture is drawn.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Style {
    /// Without colour: for files, logs and pipes; what `Display` uses.
    #[default]
    Plain,
    /// With ANSI colours: for a terminal.
    Colored,
}

/// One thing that is wrong with a file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConfigError {
    /// The file, as it was named by whoever asked.
    pub source_name: String,
    /// Line and column, both from 1; `None` if the file could not be read at all.
    pub position: Option<(usize, usize)>,
    /// What is wrong, in one line.
    pub message: String,
    /// What can be done about it.
    pub hint: Option<String>,
    /// The place, marked in its lines; empty if there is none to show.
    picture: [String; 2],
}

/// One thing in a valid file that most likely is not what was meant.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Warning(ConfigError);

/// Everything that is wrong with a file; at least one error.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConfigErrors {
    errors: Vec<ConfigError>,
}

impl ConfigErrors {
    pub(crate) fn new(source_name: &str, text: &str, problems: Vec<Problem>) -> Self {
        let lines = Lines::new(text);
        let source = NamedSource::new(source_name, text.to_owned());
        let draw = |problem| ConfigError::new(source_name, &source, &lines, problem);
        Self { errors: problems.into_iter().map(draw).collect() }
    }

    /// An error about the file as a whole.
    pub(crate) fn without_position(name: &str, message: String, hint: Option<String>) -> Self {
        let error = ConfigError {
            source_name: name.to_owned(),
            position: None,
            message,
            hint,
            picture: <[String; 2]>::default(),
        };
        Self { errors: vec![error] }
    }

    /// An error at a place that cannot be shown.
    pub(crate) fn at(
        name: &str,
        line: usize,
        column: usize,
        message: String,
        hint: Option<String>,
    ) -> Self {
        let mut errors = Self::without_position(name, message, hint);
        for error in &mut errors.errors {
            error.position = Some((line, column));
        }
        errors
    }

    /// The errors in the order of the file.
    #[must_use]
    pub fn errors(&self) -> &[ConfigError] {
        &self.errors
    }

    /// All errors as text, each beginning with `file:line:column: message`.
    #[must_use]
    pub fn render(&self, style: Style) -> String {
        let mut text = String::new();
        for (position, error) in self.errors.iter().enumerate() {
            if position > 0 {
                text.push('\n');
            }
            text.push_str(&error.render(style));
        }
        if self.errors.len() >= PROBLEMS_MAX {
            text.push_str("\ntoo many errors; the rest is not shown\n");
        }
        text
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.render(Style::Plain).trim_end())
    }
}

impl std::error::Error for ConfigErrors {}

impl ConfigError {
    fn new(
        source_name: &str,
        source: &NamedSource<String>,
        lines: &Lines<'_>,
        problem: Problem,
    ) -> Self {
        let picture = if lines.line_len(problem.span.start) > PICTURE_LINE_BYTES_MAX {
            <[String; 2]>::default()
        } else {
            let draw = |theme| draw(theme, source, &problem);
            [draw(GraphicalTheme::unicode_nocolor()), draw(GraphicalTheme::unicode())]
        };
        Self {
            source_name: source_name.to_owned(),
            position: Some(lines.position(problem.span.start)),
            message: problem.message,
            hint: problem.hint,
            picture,
        }
    }

    /// `file:line:column: message`, the picture and the hint, ending in a newline.
    #[must_use]
    pub fn render(&self, style: Style) -> String {
        self.render_as("", style)
    }

    fn render_as(&self, kind: &str, style: Style) -> String {
        let mut text = self.source_name.clone();
        if let Some((line, column)) = self.position {
            let _ = write!(text, ":{line}:{column}");
        }
        let picture = match style {
            Style::Plain => &self.picture[0],
            Style::Colored => &self.picture[1],
        };
        let _ = writeln!(text, ": {kind}{}", self.message);
        text.push_str(picture);
        if let Some(hint) = &self.hint {
            let _ = writeln!(text, "  help: {hint}");
        }
        text
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.render(Style::Plain).trim_end())
    }
}

impl std::error::Error for ConfigError {}

impl Warning {
    /// What the warning is about.
    #[must_use]
    pub const fn problem(&self) -> &ConfigError {
        &self.0
    }

    /// `file:line:column: warning: message`, the picture and the hint, ending in a newline.
    #[must_use]
    pub fn render(&self, style: Style) -> String {
        self.0.render_as("warning: ", style)
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.render(Style::Plain).trim_end())
    }
}

/// Warnings as the operator sees them.
pub(crate) fn warnings(source_name: &str, text: &str, problems: Vec<Problem>) -> Vec<Warning> {
    ConfigErrors::new(source_name, text, problems).errors.into_iter().map(Warning).collect()
}

/// The marked lines alone: miette's header is left out, since `file:line:column: message` on one
/// line is what editors and scripts look for.
fn draw(theme: GraphicalTheme, source: &NamedSource<String>, problem: &Problem) -> String {
    let picture = Picture { source, problem };
    let mut text = String::new();
    let handler = GraphicalReportHandler::new_themed(theme)
        .with_width(100)
        .with_links(false)
        .without_syntax_highlighting();
    // A picture that cannot be drawn is left out; the message stands without it.
    if handler.render_report(&mut text, &picture).is_err() {
        return String::new();
    }
    let mut marked = String::new();
    for line in text.lines().skip_while(|line| !line.contains('╭')) {
        marked.push_str(line.trim_end());
        marked.push('\n');
    }
    marked
}

struct Picture<'a> {
    source: &'a NamedSource<String>,
    problem: &'a Problem,
}

impl Diagnostic for Picture<'_> {
    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let span = self.problem.span;
        let len = span.end.saturating_sub(span.start);
        let label = LabeledSpan::new(self.problem.label.clone(), span.start, len);
        Some(Box::new(std::iter::once(label)))
    }
}

impl fmt::Debug for Picture<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Picture")
    }
}

impl fmt::Display for Picture<'_> {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}

impl std::error::Error for Picture<'_> {}
