//! The header fields of a message.

/// Header fields in order, their names in lower case. One piece of text holds them all: there are
/// many, and most of them nobody asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    text: String,
    /// For each field where its name ends, and where its value, which follows directly.
    ends: Vec<(usize, usize)>,
}

/// What the fields of most heads take up, in bytes.
const USUAL_BYTES: usize = 512;

impl<N: AsRef<str>, V: AsRef<str>> FromIterator<(N, V)> for Headers {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(fields: I) -> Self {
        let fields = fields.into_iter();
        let mut headers = Self {
            text: String::with_capacity(USUAL_BYTES),
            ends: Vec::with_capacity(fields.size_hint().0),
        };
        for (name, value) in fields {
            headers.push(name.as_ref(), value.as_ref());
        }
        headers
    }
}

impl Headers {
    /// Adds a field behind the others.
    pub(super) fn push(&mut self, name: &str, value: &str) {
        if self.text.capacity() == 0 {
            self.text.reserve(USUAL_BYTES);
        }
        let begin = self.text.len();
        self.text.push_str(name);
        self.text[begin..].make_ascii_lowercase();
        let end = self.text.len();
        self.text.push_str(value);
        self.ends.push((end, self.text.len()));
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let begins = std::iter::once(0).chain(self.ends.iter().map(|(_, end)| *end));
        let fields = begins.zip(&self.ends);
        fields.map(|(begin, (name, value))| (&self.text[begin..*name], &self.text[*name..*value]))
    }

    /// The values of a name, which is in lower case.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let of_name = move |(found, value)| (found == name).then_some(value);
        self.iter().filter_map(of_name)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Roughly the memory that they take up, in bytes.
    pub(super) fn size(&self) -> usize {
        self.text.len() + size_of_val(self.ends.as_slice())
    }
}

#[cfg(test)]
mod tests {
    use super::Headers;

    #[test]
    fn fields_come_back_as_they_were_put_in() {
        let fields = [("X-A", "1"), ("b", ""), ("x-a", "Ä")];
        let headers: Headers = fields.into_iter().collect();
        let fields: Vec<_> = headers.iter().collect();
        assert_eq!(fields, [("x-a", "1"), ("b", ""), ("x-a", "Ä")]);
        let values: Vec<_> = headers.values("x-a").collect();
        assert_eq!(values, ["1", "Ä"]);
        assert_eq!(headers.values("c").next(), None);
        assert_eq!(headers.len(), 3);
    }
}
