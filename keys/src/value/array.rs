//! One-dimensional arrays, as `= ANY($1)` sends them.

use postern_config::ColumnType;

use super::{Canonical, SessionFormat, ValueError, from_binary, from_text};

const NESTED: ValueError = ValueError::Unsupported {
    what: "an array of more than one dimension or with explicit bounds",
    hint: "Send a one-dimensional array, as in '{a,b}'.",
};

/// Reads an array literal: `{a,"b c",NULL}`.
pub fn array_from_text(ty: &ColumnType, text: &str, s: &SessionFormat) -> Result<Vec<Option<Canonical>>, ValueError> {
    let text = super::trim(text);
    if text.starts_with('[') {
        return Err(NESTED);
    }
    let body = text.strip_prefix('{').ok_or(ValueError::Array)?;
    let mut items = Items { rest: body };
    if items.empty()? {
        return Ok(Vec::new());
    }
    let mut values = Vec::new();
    loop {
        let (item, last) = items.next()?;
        values.push(item.map(|item| from_text(ty, &item, s)).transpose()?);
        if last {
            return Ok(values);
        }
    }
}

/// Reads a binary array: dimensions, flags, element type, bounds, then each element with its length.
pub fn array_from_binary(ty: &ColumnType, bytes: &[u8]) -> Result<Vec<Option<Canonical>>, ValueError> {
    const WRONG: ValueError = ValueError::Binary { ty: "array" };
    let mut words = Words { rest: bytes };
    let dimensions = words.next().ok_or(WRONG)?;
    let _has_nulls = words.next().ok_or(WRONG)?;
    let element = words.next().ok_or(WRONG)?.cast_unsigned();
    // text and varchar share their bytes, so a driver may send either for the other.
    let textual = |oid| matches!(oid, 25 | 1043);
    let own = ty.oid().ok_or(super::NOT_BY_VALUE)?;
    if element != own && !(textual(element) && textual(own)) {
        return Err(ValueError::ElementType);
    }
    match dimensions {
        0 if words.rest.is_empty() => return Ok(Vec::new()),
        1 => {}
        0 => return Err(WRONG),
        _ => return Err(NESTED),
    }
    let count = usize::try_from(words.next().ok_or(WRONG)?).map_err(|_| WRONG)?;
    let _lower_bound = words.next().ok_or(WRONG)?;
    // Every element has a length word: the count is bounded by what was sent before anything is allocated for it.
    if words.rest.len() / 4 < count {
        return Err(WRONG);
    }
    let mut values = Vec::with_capacity(count);
    for _ in 0..count {
        let length = words.next().ok_or(WRONG)?;
        if length == -1 {
            values.push(None);
            continue;
        }
        let length = usize::try_from(length).map_err(|_| WRONG)?;
        let (item, rest) = words.rest.split_at_checked(length).ok_or(WRONG)?;
        words.rest = rest;
        values.push(Some(from_binary(ty, item)?));
    }
    if words.rest.is_empty() { Ok(values) } else { Err(WRONG) }
}

struct Words<'a> {
    rest: &'a [u8],
}

impl Words<'_> {
    fn next(&mut self) -> Option<i32> {
        let (word, rest) = self.rest.split_first_chunk::<4>()?;
        self.rest = rest;
        Some(i32::from_be_bytes(*word))
    }
}

struct Items<'a> {
    rest: &'a str,
}

impl Items<'_> {
    /// Whether the array ends at once.
    fn empty(&self) -> Result<bool, ValueError> {
        match super::trim(self.rest).strip_prefix('}') {
            Some("") => Ok(true),
            Some(_) => Err(ValueError::Array),
            None => Ok(false),
        }
    }

    /// The next element (`None` is NULL) and whether it was the last.
    fn next(&mut self) -> Result<(Option<zeroize::Zeroizing<String>>, bool), ValueError> {
        let mut item = zeroize::Zeroizing::new(String::new());
        // Length up to which white space at the end belongs to the value.
        let mut kept = 0;
        let (mut quoted, mut literal, mut inside) = (false, false, false);
        let mut chars = self.rest.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => {
                    let (_, next) = chars.next().ok_or(ValueError::Array)?;
                    // Nothing but white space may follow a closing quote.
                    if quoted && !inside {
                        return Err(ValueError::Array);
                    }
                    item.push(next);
                    kept = item.len();
                    literal = true;
                }
                '"' if inside => inside = false,
                '"' => {
                    if quoted || kept > 0 {
                        return Err(ValueError::Array);
                    }
                    item.clear();
                    (quoted, inside, literal) = (true, true, true);
                }
                _ if inside => {
                    item.push(c);
                    kept = item.len();
                }
                '{' => return Err(if kept == 0 && !quoted { NESTED } else { ValueError::Array }),
                ',' | '}' => {
                    self.rest = &self.rest[at + 1..];
                    if c == '}' && !super::trim(self.rest).is_empty() {
                        return Err(ValueError::Array);
                    }
                    item.truncate(kept);
                    if item.is_empty() && !literal {
                        return Err(ValueError::Array);
                    }
                    let null = !literal && item.eq_ignore_ascii_case("null");
                    return Ok(((!null).then_some(item), c == '}'));
                }
                ' ' | '\t' | '\n' | '\u{b}' | '\u{c}' | '\r' => {
                    if kept > 0 && !quoted {
                        item.push(c);
                    }
                }
                _ if quoted => return Err(ValueError::Array),
                _ => {
                    item.push(c);
                    kept = item.len();
                }
            }
        }
        Err(ValueError::Array)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(literal: &str) -> Result<Vec<Option<String>>, ValueError> {
        let values = array_from_text(&ColumnType::Text, literal, &SessionFormat::default())?;
        Ok(values
            .into_iter()
            .map(|v| v.map(|v| String::from_utf8(v.expose().to_vec()).unwrap()))
            .collect())
    }

    fn some(items: &[&str]) -> Vec<Option<String>> {
        items.iter().map(|i| Some((*i).to_owned())).collect()
    }

    #[test]
    fn literals() {
        assert_eq!(texts("{}").unwrap(), some(&[]));
        assert_eq!(texts(" { } ").unwrap(), some(&[]));
        assert_eq!(texts("{a,b c , d}").unwrap(), some(&["a", "b c", "d"]));
        assert_eq!(
            texts(r#"{"a,b","c\"d\\","NULL",""}"#).unwrap(),
            some(&["a,b", "c\"d\\", "NULL", ""])
        );
        assert_eq!(texts("{NULL,null,x}").unwrap(), vec![None, None, Some("x".to_owned())]);
        assert_eq!(texts(r#"{ "a b " , \NULL }"#).unwrap(), some(&["a b ", "NULL"]));
        assert_eq!(texts(r"{a\ }").unwrap(), some(&["a "]));
    }

    #[test]
    fn malformed_literals_are_refused() {
        for literal in [
            "",
            "a",
            "{",
            "{a",
            "{a,}",
            "{,a}",
            "{a}b",
            "{\"a\"b}",
            "{a\"b\"}",
            "{\"a",
            "{a\\",
            "{}}",
            "{a}}",
            "{\"a\"\\b}",
        ] {
            assert_eq!(texts(literal).unwrap_err(), ValueError::Array, "{literal}");
        }
        for literal in ["{{a}}", "[1:1]={a}"] {
            assert_eq!(texts(literal).unwrap_err().sqlstate(), "0A000", "{literal}");
        }
    }

    fn binary(element: u32, items: &[Option<&[u8]>]) -> Vec<u8> {
        let mut out = Vec::new();
        for word in [1, 0, element, u32::try_from(items.len()).unwrap(), 1] {
            out.extend(word.to_be_bytes());
        }
        for item in items {
            match item {
                None => out.extend((-1i32).to_be_bytes()),
                Some(bytes) => {
                    out.extend(u32::try_from(bytes.len()).unwrap().to_be_bytes());
                    out.extend_from_slice(bytes);
                }
            }
        }
        out
    }

    #[test]
    fn binary_arrays() {
        let sent = binary(23, &[Some(&7i32.to_be_bytes()), None]);
        let values = array_from_binary(&ColumnType::Int4, &sent).unwrap();
        assert_eq!(values[0].as_ref().unwrap().expose(), 7i32.to_be_bytes());
        assert!(values[1].is_none());
        assert_eq!(
            array_from_binary(&ColumnType::Int8, &sent).unwrap_err(),
            ValueError::ElementType
        );
        for length in 0..sent.len() {
            assert!(array_from_binary(&ColumnType::Int4, &sent[..length]).is_err(), "{length}");
        }
        let mut claims_more = sent.clone();
        claims_more[12..16].copy_from_slice(&u32::MAX.to_be_bytes());
        assert!(array_from_binary(&ColumnType::Int4, &claims_more).is_err());
        claims_more[12..16].copy_from_slice(&0x7fff_ffffu32.to_be_bytes());
        assert!(array_from_binary(&ColumnType::Int4, &claims_more).is_err());
        assert!(array_from_binary(&ColumnType::Varchar(None), &binary(25, &[Some(b"x")])).is_ok());
        assert!(array_from_binary(&ColumnType::Text, &[0; 8]).is_err());
    }
}
