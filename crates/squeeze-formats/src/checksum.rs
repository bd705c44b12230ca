//! CRC-64 with the ECMA-182 polynomial, reflected, as in XZ files: finds every flipped bit and
//! every burst of up to 64.

use crc64fast::Digest;

/// A checksum in the making.
pub(crate) struct Crc64(Digest);

impl Crc64 {
    pub(crate) fn new() -> Self {
        Self(Digest::new())
    }

    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }

    /// Sixteen hexadecimal digits.
    pub(crate) fn text(self) -> String {
        format!("{:016x}", self.0.sum64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The check value of CRC-64/XZ in the catalogue of parametrised CRC algorithms.
    #[test]
    fn check_value() {
        let mut crc = Crc64::new();
        crc.add(b"1234");
        crc.add(b"56789");
        assert_eq!(crc.text(), "995dc9bbdf1939fa");
    }
}
