//! Chains of no, one and many slices beside a plain vector of bytes.

use sluice_base::Rng;

use super::*;

/// How many operations; Miri takes its time over each.
const STEPS: u32 = if cfg!(miri) { 300 } else { 20_000 };

struct Pair {
    chain: Chain,
    model: Vec<u8>,
}

impl Pair {
    fn new() -> Self {
        Self { chain: Chain::new(), model: Vec::new() }
    }

    fn check(&self) {
        assert_eq!(self.chain.to_vec(), self.model);
        assert_eq!(self.chain.len(), self.model.len());
        assert_eq!(self.chain.buffers(), self.chain.pieces().count());
        assert_eq!(self.chain.front().first(), self.model.first());
        assert_eq!(self.chain.is_empty(), self.chain.front().is_empty());
    }
}

fn slice(rng: &mut Rng, pool: &Pool) -> (Slice, Vec<u8>) {
    let bytes: Vec<u8> = (0..=rng.below(5)).map(|_| rng.next_u32() as u8).collect();
    let mut chain = Chain::copy_from(&bytes, pool).expect("room");
    (chain.pop_front().expect("one slice"), bytes)
}

#[test]
fn a_chain_is_a_vector_of_bytes() {
    let pool = Pool::heap(4_096);
    let mut rng = Rng::new(5);
    let (mut one, mut other) = (Pair::new(), Pair::new());
    for _ in 0..STEPS {
        let at = rng.below(one.model.len() as u32 + 2) as usize;
        let cut = at.min(one.model.len());
        match rng.below(12) {
            0 | 1 => {
                let (slice, bytes) = slice(&mut rng, &pool);
                one.chain.push(slice);
                one.model.extend(bytes);
            }
            2 => {
                let (slice, bytes) = slice(&mut rng, &pool);
                one.chain.push_front(slice);
                one.model.splice(0..0, bytes);
            }
            3 => {
                one.chain.append(&mut other.chain);
                one.model.append(&mut other.model);
            }
            4 => {
                let (chain, model) = (one.chain.split_to(at), one.model.drain(..cut).collect());
                other = Pair { chain, model };
            }
            9 => {
                let (skip, count) = (at / 3, rng.below(20) as usize);
                let chain = one.chain.split_behind(skip, count);
                one.model.drain(..skip.min(one.model.len()));
                let model = one.model.drain(..count.min(one.model.len())).collect();
                other = Pair { chain, model };
            }
            10 if one.model.len() < 64 => {
                one.chain.append_framed(b"frame", &mut other.chain, &pool).expect("room");
                one.model.extend(b"frame");
                one.model.append(&mut other.model);
            }
            5 => {
                one.chain.advance(at);
                one.model.drain(..cut);
            }
            6 => {
                let popped = one.chain.pop_front().map(|slice| slice.to_vec()).unwrap_or_default();
                assert_eq!(one.model.drain(..popped.len()).collect::<Vec<_>>(), popped);
            }
            7 if one.model.len() < 64 => {
                let len = rng.below(20) as usize;
                let mut again = one.chain.clone_range(at, len);
                let end = cut.saturating_add(len).min(one.model.len());
                let bytes = one.model[cut..end].to_vec();
                one.chain.append(&mut again);
                one.model.extend(bytes);
            }
            8 => {
                one.chain.append_copy(b"xy", &pool).expect("room");
                one.model.extend(b"xy");
            }
            _ => std::mem::swap(&mut one, &mut other),
        }
        if one.model.len() > 200 {
            one.chain.truncate(3);
            one.model.truncate(3);
        }
        one.check();
        other.check();
    }
    drop((one, other));
    assert_eq!((pool.in_use(), chain_nodes_in_use()), (0, 0));
}

#[test]
fn one_slice_needs_no_node() {
    let pool = Pool::heap(2);
    let mut chain = Chain::copy_from(b"one slice", &pool).expect("room");
    let front = chain.split_to(4);
    assert_eq!((chain_nodes_in_use(), pool.in_use()), (0, 1));
    chain.append_copy(b" and another", &pool).expect("room");
    assert_eq!((chain.buffers(), chain_nodes_in_use(), pool.in_use()), (2, 2, 2));
    drop((front, chain));
    assert_eq!((chain_nodes_in_use(), pool.in_use()), (0, 0));
}
