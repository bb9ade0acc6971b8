//! How long an object is as JSON, without the text. PURE.

use std::io;

use serde::Serialize;

/// Bytes of `value` as JSON; of what cannot be written, those before the fault.
pub(crate) fn json_length(value: &impl Serialize) -> usize {
    let mut length = Length(0);
    // To count does not fail, and what cannot be written cannot be sent: whoever sends it says so.
    let _ = serde_json::to_writer(&mut length, value);
    length.0
}

struct Length(usize);

impl io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.saturating_add(bytes.len());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn as_long_as_its_text() {
        for value in [
            json!(null),
            json!({"a": ["ä\n", 1.5, true], "b": {"c": "x".repeat(5_000)}}),
        ] {
            assert_eq!(json_length(&value), value.to_string().len());
        }
    }
}
