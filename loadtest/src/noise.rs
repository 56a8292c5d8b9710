//! Pseudo-random bytes that are the same in every run.

/// A stream of noise that depends only on its seed: SplitMix64.
#[derive(Debug, Clone)]
pub(crate) struct Noise {
    state: u64,
}

impl Noise {
    /// Starts a stream.
    pub(crate) fn new(seed: u64) -> Self {
        let mut noise = Self {
            state: seed ^ 0x5851_f42d_4c95_7f2d,
        };
        // Neighbouring seeds must not give overlapping streams.
        noise.state = noise.next().wrapping_mul(0x2545_f491_4f6c_dd1d);
        noise
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// Returns a number below `end`, or 0 if `end` is 0.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(end)) >> 64) as u64
    }

    /// Fills a buffer.
    pub(crate) fn fill(&mut self, buffer: &mut [u8]) {
        for part in buffer.chunks_mut(8) {
            let word = self.next().to_le_bytes();
            part.copy_from_slice(&word[..part.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_depends_only_on_the_seed_and_does_not_repeat() {
        let bytes = |seed| {
            let mut bytes = [0; 1001];
            Noise::new(seed).fill(&mut bytes);
            bytes
        };
        assert_eq!(bytes(1), bytes(1));
        assert_ne!(bytes(1), bytes(2));
        let (first, second) = (bytes(3), bytes(4));
        assert!(!second.windows(8).any(|window| first[..8] == *window));
    }
}
