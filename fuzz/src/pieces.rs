//! An input of bytes of any kind as several.

/// Pieces of an input, each behind a byte that says how long it is. The last may be shorter.
pub fn pieces(input: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = input;
    std::iter::from_fn(move || {
        let (length, behind) = rest.split_first()?;
        let (piece, after) = behind.split_at(behind.len().min(usize::from(*length)));
        rest = after;
        Some(piece)
    })
}
