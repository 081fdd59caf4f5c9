//! One after the other.
//!
//! Every worker starts at a random place: workers that all began at the first endpoint would send
//! it their first requests together, and a cluster with few requests would use no other.

use sluice_base::Rng;

use crate::load::UNSET;

/// The index, in `0..len`, of the endpoint whose turn it is; `len` is at least 1.
///
/// Passes over the excluded ones, unless all are. Without a cursor (the table has not grown for the
/// cluster yet) the choice is random, which distributes as well.
#[inline]
pub(crate) fn pick(
    len: usize,
    cursor: Option<&mut u32>,
    rng: &mut Rng,
    excluded: impl Fn(usize) -> bool,
) -> usize {
    let mut random = 0;
    let cursor = cursor.unwrap_or_else(|| {
        random = UNSET;
        &mut random
    });
    let start = if *cursor == UNSET { rng.below(len as u32) as usize } else { *cursor as usize };
    // The set may have shrunk since the cursor was written.
    let start = if start < len { start } else { start % len };
    let index = (start..len).chain(0..start).find(|index| !excluded(*index)).unwrap_or(start);
    *cursor = if index + 1 < len { index as u32 + 1 } else { 0 };
    index
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: fn(usize) -> bool = |_| false;

    #[test]
    fn everyone_has_the_same_number_of_turns() {
        let (mut cursor, mut rng) = (UNSET, Rng::new(1));
        let mut turns = [0; 7];
        for _ in 0..700 {
            turns[pick(7, Some(&mut cursor), &mut rng, NONE)] += 1;
        }
        assert_eq!(turns, [100; 7]);
    }

    /// With a fixed start the first endpoint would get the first request of every worker.
    #[test]
    fn workers_start_at_different_places() {
        let mut starts = [0; 4];
        for seed in 0..400 {
            starts[pick(4, Some(&mut UNSET.clone()), &mut Rng::new(seed), NONE)] += 1;
        }
        assert!(starts.iter().all(|count| (60..140).contains(count)), "{starts:?}");
    }

    #[test]
    fn passes_over_the_excluded_and_goes_on_behind_the_choice() {
        let (mut cursor, mut rng) = (1, Rng::new(1));
        assert_eq!(pick(4, Some(&mut cursor), &mut rng, |index| index == 1 || index == 2), 3);
        assert_eq!(cursor, 0);
        assert_eq!(pick(4, Some(&mut cursor), &mut rng, |index| index != 3), 3);
        assert_eq!(pick(4, Some(&mut cursor), &mut rng, |_| true), 0, "better than nobody");
    }

    #[test]
    fn a_set_that_shrank_is_walked_from_a_place_inside_it() {
        let (mut cursor, mut rng) = (9, Rng::new(1));
        assert_eq!(pick(4, Some(&mut cursor), &mut rng, NONE), 1);
        assert_eq!(pick(1, Some(&mut cursor), &mut rng, NONE), 0);
        assert_eq!(cursor, 0);
    }

    #[test]
    fn without_a_cursor_the_choice_is_random() {
        let (mut turns, mut rng) = ([0; 3], Rng::new(5));
        for _ in 0..300 {
            turns[pick(3, None, &mut rng, NONE)] += 1;
        }
        assert!(turns.iter().all(|count| (70..130).contains(count)), "{turns:?}");
    }
}
