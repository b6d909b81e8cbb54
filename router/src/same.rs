//! Whether two secrets are the same, in a time that does not tell where they differ. Pure.

pub fn same(one: &[u8], two: &[u8]) -> bool {
    one.len() == two.len() && one.iter().zip(two).fold(0, |differs, (one, two)| differs | (one ^ two)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_and_the_length_count() {
        let secret = *b"0123456789abcdef";
        assert!(same(&secret, &secret) && same(b"", b""));
        for at in 0..secret.len() {
            let mut other = secret;
            other[at] ^= 0x80;
            assert!(!same(&secret, &other), "byte {at}");
        }
        assert!(!same(&secret, &secret[..15]) && !same(&secret[..15], &secret));
    }
}
