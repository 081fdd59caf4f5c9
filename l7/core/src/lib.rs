//! What the protocols share: Head, Event, the Codec trait, errors.
