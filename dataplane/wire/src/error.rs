//! The shape that every error of this crate has.

/// Declares a `Copy` error enum whose variants carry the kebab-case name of the drop counter.
macro_rules! wire_error {
    (
        $(#[$meta:meta])*
        pub enum $name:ident {
            $( $(#[$doc:meta])* $variant:ident $( { $($field:ident : $type:ty),+ } )? = $reason:literal, )+
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        pub enum $name {
            $( $(#[$doc])* $variant $( {
                $(
                    #[doc = "What the bytes said."]
                    $field: $type
                ),+
            } )? , )+
        }

        impl $name {
            /// Every reason this error can give, for tables of counters.
            pub const REASONS: &'static [&'static str] = &[$($reason),+];

            /// The stable name under which a drop for this reason is counted.
            #[must_use]
            pub const fn reason(self) -> &'static str {
                match self {
                    $( Self::$variant $( { $($field: _),+ } )? => $reason, )+
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.reason())
            }
        }

        impl std::error::Error for $name {}
    };
}

pub(crate) use wire_error;
