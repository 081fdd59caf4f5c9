//! Where readers leave what they find wrong.

use std::ops::Range;

use crate::limits::PROBLEMS_MAX;
use crate::source::Lines;

/// A range of bytes of the source.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl From<Range<usize>> for Span {
    fn from(range: Range<usize>) -> Self {
        Self { start: range.start, end: range.end }
    }
}

/// A value and where it was written.
#[derive(Clone, Debug)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    pub(crate) span: Span,
}

/// One error or warning.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    pub(crate) span: Span,
    pub(crate) message: String,
    pub(crate) label: Option<String>,
    pub(crate) hint: Option<String>,
}

impl Problem {
    /// What stands under the place in the picture.
    pub(crate) fn label(&mut self, label: impl Into<String>) -> &mut Self {
        self.label = Some(label.into());
        self
    }

    /// What the operator can do.
    pub(crate) fn hint(&mut self, hint: impl Into<String>) -> &mut Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Everything found wrong so far.
pub(crate) struct Report<'t> {
    lines: Lines<'t>,
    errors: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl<'t> Report<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        Self { lines: Lines::new(text), errors: Vec::new(), warnings: Vec::new() }
    }

    /// Adds an error; the file will be refused.
    pub(crate) fn error(&mut self, span: Span, message: impl Into<String>) -> &mut Problem {
        push(&mut self.errors, span, message.into())
    }

    /// Adds a warning; the file stays valid.
    pub(crate) fn warning(&mut self, span: Span, message: impl Into<String>) -> &mut Problem {
        push(&mut self.warnings, span, message.into())
    }

    /// The number of the line that a span begins on, for messages that name a second place.
    pub(crate) fn line(&self, span: Span) -> usize {
        self.lines.position(span.start).0
    }

    /// Whether further errors are dropped, so that a costly hint is wasted.
    pub(crate) fn is_full(&self) -> bool {
        self.errors.len() >= PROBLEMS_MAX
    }

    /// Errors and warnings in the order of the file.
    pub(crate) fn finish(mut self) -> (Vec<Problem>, Vec<Problem>) {
        self.errors.sort_by_key(|problem| problem.span);
        self.warnings.sort_by_key(|problem| problem.span);
        (self.errors, self.warnings)
    }
}

/// Beyond the bound the last entry is overwritten: readers go on, memory does not grow.
fn push(problems: &mut Vec<Problem>, span: Span, message: String) -> &mut Problem {
    let problem = Problem { span, message, label: None, hint: None };
    if problems.len() >= PROBLEMS_MAX {
        problems.truncate(PROBLEMS_MAX - 1);
    }
    problems.push(problem);
    let last = problems.len() - 1;
    &mut problems[last]
}
