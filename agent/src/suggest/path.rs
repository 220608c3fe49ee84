//! Paths into the form that they share.

/// A segment that is longer is no name.
const LONGEST_NAME: usize = 32;

/// Longer paths become a pattern of their beginning.
const LONGEST_PATH: usize = 256;

/// A path with `*` for what names one thing among many: numbers, ids, tokens; and for what cannot
/// stand in a rule.
pub(super) fn form(path: &str) -> String {
    let segments = path.split('/').map(|segment| {
        if is_id(segment) {
            "*".to_owned()
        } else {
            let shown = |letter: char| {
                if letter.is_ascii_graphic() {
                    letter
                } else {
                    '*'
                }
            };
            segment.chars().map(shown).collect()
        }
    });
    let form = segments.collect::<Vec<String>>().join("/");
    match form.len() {
        0..=LONGEST_PATH => form,
        _ => format!("{}*", &form[..LONGEST_PATH]),
    }
}

fn is_id(segment: &str) -> bool {
    let digits = segment.bytes().filter(u8::is_ascii_digit).count();
    let is_hexadecimal = segment.len() >= 8
        && digits > 0
        && segment
            .bytes()
            .all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    let is_number = digits > 0 && digits == segment.len();
    is_number || is_hexadecimal || segment.len() > LONGEST_NAME || digits * 2 > segment.len()
}
