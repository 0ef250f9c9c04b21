//! The launch data: strings and records that the boot information points into.

use spore_abi::boot::Span;
use spore_abi::layout::{BLOB_END, BLOB_GPA};

use crate::memory::{GuestMemory, OutOfRange, Plain};

/// Launch data under construction.
#[derive(Default)]
pub struct Blob {
    bytes: Vec<u8>,
}

/// The launch data does not fit, or a string holds a NUL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlobError {
    /// More than the space between `BLOB_GPA` and `BLOB_END`.
    TooLarge,
    /// A NUL inside a string that ends with one.
    Nul,
}

impl From<OutOfRange> for BlobError {
    fn from(_: OutOfRange) -> Self {
        Self::TooLarge
    }
}

impl Blob {
    /// Adds bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<Span, BlobError> {
        self.reserve(bytes.len())?;
        let span = self.span(bytes.len());
        self.bytes.extend_from_slice(bytes);
        Ok(span)
    }

    /// Adds strings, each ended by NUL, one after another.
    pub fn strings(&mut self, strings: &[String]) -> Result<Span, BlobError> {
        let len = strings.iter().map(|string| string.len() + 1).sum();
        self.reserve(len)?;
        let span = self.span(len);
        for string in strings {
            if string.contains('\0') {
                return Err(BlobError::Nul);
            }
            self.bytes.extend_from_slice(string.as_bytes());
            self.bytes.push(0);
        }
        Ok(span)
    }

    /// Adds records; the span counts records.
    pub fn records<T: Plain>(&mut self, records: &[T]) -> Result<Span, BlobError> {
        let len = size_of_val(records);
        self.reserve(len + 8)?;
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        let span = self.span(records.len());
        // SAFETY: `Plain` types here are records without padding, and the slice
        // covers exactly their bytes.
        let bytes = unsafe { std::slice::from_raw_parts(records.as_ptr().cast::<u8>(), len) };
        self.bytes.extend_from_slice(bytes);
        Ok(span)
    }

    /// Puts everything in its place.
    pub fn write(&self, memory: &GuestMemory) -> Result<(), BlobError> {
        Ok(memory.write_bytes(BLOB_GPA, &self.bytes)?)
    }

    fn span(&self, len: usize) -> Span {
        // Both fit: the space is 1 MiB, and `reserve` came first.
        Span {
            offset: self.bytes.len() as u32,
            len: len as u32,
        }
    }

    fn reserve(&self, len: usize) -> Result<(), BlobError> {
        let free = (BLOB_END - BLOB_GPA) as usize - self.bytes.len();
        if len > free {
            return Err(BlobError::TooLarge);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_end_with_nul_and_records_are_aligned() {
        let mut blob = Blob::default();
        let strings = blob.strings(&["a".into(), String::new()]).unwrap();
        assert_eq!(strings, Span { offset: 0, len: 3 });
        let records = blob.records(&[5_u64, 6]).unwrap();
        assert_eq!(records, Span { offset: 8, len: 2 });
        assert_eq!(&blob.bytes[..4], b"a\0\0\0");
        assert_eq!(blob.bytes[8], 5);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut blob = Blob::default();
        assert_eq!(blob.bytes(&[0; 2 << 20]), Err(BlobError::TooLarge));
        assert_eq!(blob.strings(&["a\0b".into()]), Err(BlobError::Nul));
    }
}
