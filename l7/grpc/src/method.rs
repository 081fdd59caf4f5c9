//! What is called.

/// Service and method of a call: `/package.Service/Method`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Method<'a> {
    /// With its package.
    pub service: &'a [u8],
    /// The last part.
    pub method: &'a [u8],
}

impl<'a> Method<'a> {
    /// From a path without query. None: it is not of this form.
    #[must_use]
    pub fn of_path(path: &'a [u8]) -> Option<Self> {
        let mut parts = path.strip_prefix(b"/")?.split(|byte| *byte == b'/');
        let (service, method) = (parts.next()?, parts.next()?);
        let is_whole = parts.next().is_none() && !service.is_empty() && !method.is_empty();
        is_whole.then_some(Self { service, method })
    }
}

#[cfg(test)]
mod tests {
    use super::Method;

    #[test]
    fn two_parts_and_no_more() {
        let called = Method::of_path(b"/shop.Cart/Add").expect("a call");
        assert_eq!((called.service, called.method), (&b"shop.Cart"[..], &b"Add"[..]));
        for path in ["", "/", "/a", "/a/", "//b", "a/b", "/a/b/c", "/a/b/"] {
            assert_eq!(Method::of_path(path.as_bytes()), None, "{path}");
        }
    }
}
