//! What the head of an answer means for what was asked. Pure.

use std::time::Duration;

use http::{HeaderMap, HeaderName, StatusCode, header};

use crate::{OutboundError, Place};

/// Longest wait that a server may ask for before the next try.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60 * 60);

/// How much of a file an answer brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// All of it, also if a part was asked for.
    Whole,
    /// All from the byte that was asked for.
    Part {
        /// That byte.
        from: u64,
    },
}

/// What was asked for, as far as an answer is judged by it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    /// First byte that is wanted.
    pub(crate) from: u64,
    /// Most bytes of the whole.
    pub(crate) bytes_max: u64,
}

/// What to do with an answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Read the body.
    Read(Shape),
    /// Go to what this `Location` says.
    Follow(Vec<u8>),
}

/// What the body will be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) extent: Extent,
    /// Bytes of this body, if the server says so.
    pub(crate) length: Option<u64>,
    /// Bytes of the whole, if the server says so.
    pub(crate) total: Option<u64>,
    /// Most bytes of this body that are taken.
    pub(crate) bytes_max: u64,
}

/// Judges an answer of `place`. `framed` is the length of the body by which the connection is read, if known.
pub(crate) fn judge(
    place: &Place,
    status: StatusCode,
    head: &HeaderMap,
    framed: Option<u64>,
    asked: Asked,
) -> Result<Verdict, OutboundError> {
    match status {
        StatusCode::OK => whole(place, head, framed, asked).map(Verdict::Read),
        StatusCode::PARTIAL_CONTENT => part(place, head, framed, asked).map(Verdict::Read),
        StatusCode::MOVED_PERMANENTLY
        | StatusCode::FOUND
        | StatusCode::SEE_OTHER
        | StatusCode::TEMPORARY_REDIRECT
        | StatusCode::PERMANENT_REDIRECT => {
            let why = "it has not exactly one Location";
            let location = only(head, &header::LOCATION)
                .ok_or_else(|| OutboundError::BadRedirect { place: place.clone(), why: why.to_owned() })?;
            Ok(Verdict::Follow(location.to_vec()))
        }
        _ => Err(refusal(place.clone(), status, head, asked.from)),
    }
}

fn whole(place: &Place, head: &HeaderMap, framed: Option<u64>, asked: Asked) -> Result<Shape, OutboundError> {
    as_it_is(place, head)?;
    fits(place, framed, asked.bytes_max)?;
    Ok(Shape { extent: Extent::Whole, length: framed, total: framed, bytes_max: asked.bytes_max })
}

fn part(place: &Place, head: &HeaderMap, framed: Option<u64>, asked: Asked) -> Result<Shape, OutboundError> {
    as_it_is(place, head)?;
    let wrong = |why: String| OutboundError::WrongPart { place: place.clone(), from: asked.from, why };
    if asked.from == 0 {
        return Err(wrong("no part was asked for".to_owned()));
    }
    let range = only(head, &header::CONTENT_RANGE)
        .and_then(ContentRange::parse)
        .ok_or_else(|| wrong("its Content-Range does not say which".to_owned()))?;
    let ContentRange { first, last, total } = range;
    if first != asked.from {
        return Err(wrong(format!("it begins with byte {first}")));
    }
    if last + 1 != total {
        return Err(wrong(format!("it ends with byte {last} of {total}, not with the last one")));
    }
    let length = total - first;
    if let Some(framed) = framed.filter(|framed| *framed != length) {
        return Err(wrong(format!("it says that it is {length} bytes and also that it is {framed}")));
    }
    fits(place, Some(total), asked.bytes_max)?;
    let extent = Extent::Part { from: first };
    Ok(Shape { extent, length: Some(length), total: Some(total), bytes_max: length })
}

/// `bytes FIRST-LAST/TOTAL` (RFC 9110, section 14.4). A total that is not known (`*`) says nothing about the end,
/// so it does not do.
struct ContentRange {
    first: u64,
    last: u64,
    /// Greater than `last`, which is not less than `first`.
    total: u64,
}

impl ContentRange {
    fn parse(value: &[u8]) -> Option<Self> {
        let (range, total) = bytes_unit(value)?.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let (first, last, total) = (number(first)?, number(last)?, number(total)?);
        (first <= last && last < total).then_some(Self { first, last, total })
    }
}

fn bytes_unit(value: &[u8]) -> Option<&str> {
    let (unit, rest) = str::from_utf8(value).ok()?.split_once(' ')?;
    unit.eq_ignore_ascii_case("bytes").then(|| rest.trim())
}

/// Digits only: `parse` would take a sign.
fn number(digits: &str) -> Option<u64> {
    digits.bytes().all(|digit| digit.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

/// Refuses a body that is not the file's bytes themselves: nothing here unpacks, so nothing can be blown up.
fn as_it_is(place: &Place, head: &HeaderMap) -> Result<(), OutboundError> {
    let only_says = |name: &HeaderName, word: &str| {
        let words = head.get_all(name).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
        words.map(<[u8]>::trim_ascii).all(|one| one.is_empty() || one.eq_ignore_ascii_case(word.as_bytes()))
    };
    for (name, word) in [(&header::CONTENT_ENCODING, "identity"), (&header::TRANSFER_ENCODING, "chunked")] {
        if !only_says(name, word) {
            let why = format!("it is packed (its {name} is not `{word}`), which was not asked for");
            return Err(OutboundError::BadAnswer { place: place.clone(), why });
        }
    }
    Ok(())
}

fn fits(place: &Place, bytes: Option<u64>, bytes_max: u64) -> Result<(), OutboundError> {
    match bytes {
        Some(bytes) if bytes > bytes_max => Err(OutboundError::TooLarge { place: place.clone(), bytes_max }),
        _ => Ok(()),
    }
}

/// What a status means that brings no file. The body that comes with it is not read.
fn refusal(place: Place, status: StatusCode, head: &HeaderMap, from: u64) -> OutboundError {
    let number = status.as_u16();
    match number {
        404 | 410 => OutboundError::NotFound { place, status: number },
        401 | 403 | 407 | 451 => OutboundError::NotAllowed { place, status: number },
        416 => OutboundError::PastTheEnd { place, from, total: total_of_416(head) },
        429 | 503 => OutboundError::Busy { place, status: number, retry_after: retry_after(head) },
        500..=599 => OutboundError::ServerFailed { place, status: number },
        _ => OutboundError::UnexpectedStatus { place, status: number },
    }
}

/// `bytes */TOTAL`.
fn total_of_416(head: &HeaderMap) -> Option<u64> {
    number(bytes_unit(only(head, &header::CONTENT_RANGE)?)?.strip_prefix("*/")?)
}

/// Seconds only: a date would need a clock that agrees with the server's.
fn retry_after(head: &HeaderMap) -> Option<Duration> {
    let seconds = number(str::from_utf8(only(head, &header::RETRY_AFTER)?).ok()?)?;
    Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX))
}

/// The value of a field that is there exactly once.
fn only<'h>(head: &'h HeaderMap, name: &HeaderName) -> Option<&'h [u8]> {
    let mut values = head.get_all(name).iter();
    let value = values.next()?;
    values.next().is_none().then(|| value.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `status`, fields as `name: value`, the length of the body.
    fn judged(
        status: u16,
        fields: &[&str],
        framed: Option<u64>,
        asked: Asked,
    ) -> Result<Verdict, OutboundError> {
        let mut head = HeaderMap::new();
        for field in fields {
            let (name, value) = field.split_once(": ").unwrap();
            head.append(HeaderName::try_from(name).unwrap(), value.parse().unwrap());
        }
        let place = Place::of(&"https://models.test/a".parse().unwrap());
        judge(&place, StatusCode::from_u16(status).unwrap(), &head, framed, asked)
    }

    const ALL: Asked = Asked { from: 0, bytes_max: 1000 };
    const FROM_TEN: Asked = Asked { from: 10, bytes_max: 1000 };

    #[test]
    fn a_whole_file_or_the_part_that_was_asked_for_is_read() {
        let whole =
            |length: Option<u64>| Shape { extent: Extent::Whole, length, total: length, bytes_max: 1000 };
        assert_eq!(judged(200, &[], Some(1000), ALL).unwrap(), Verdict::Read(whole(Some(1000))));
        assert_eq!(judged(200, &[], None, ALL).unwrap(), Verdict::Read(whole(None)));
        // A server that knows no ranges, or whose file changed, sends everything.
        assert_eq!(judged(200, &[], Some(50), FROM_TEN).unwrap(), Verdict::Read(whole(Some(50))));
        let plain = ["content-encoding: Identity", "transfer-encoding: chunked"];
        assert!(judged(200, &plain, None, ALL).is_ok());

        let part =
            Shape { extent: Extent::Part { from: 10 }, length: Some(40), total: Some(50), bytes_max: 40 };
        for framed in [Some(40), None] {
            let verdict = judged(206, &["content-range: bytes 10-49/50"], framed, FROM_TEN).unwrap();
            assert!(matches!(verdict, Verdict::Read(shape) if shape == part));
        }
    }

    #[test]
    fn another_part_is_refused() {
        let cases: [(&[&str], Option<u64>, &str); 12] = [
            (&[], Some(40), "does not say which"),
            (&["content-range: bytes 10-49/50", "content-range: bytes 10-49/50"], Some(40), "does not say"),
            (&["content-range: bytes 10-49/*"], Some(40), "does not say which"),
            (&["content-range: bytes 10-50/50"], Some(41), "does not say which"),
            (&["content-range: bytes 49-10/50"], Some(40), "does not say which"),
            (&["content-range: lines 10-49/50"], Some(40), "does not say which"),
            (&["content-range: bytes +10-49/50"], Some(40), "does not say which"),
            (
                &["content-range: bytes 10-18446744073709551615/18446744073709551616"],
                None,
                "does not say which",
            ),
            (&["content-range: bytes 9-49/50"], Some(41), "begins with byte 9"),
            (&["content-range: bytes 0-49/50"], Some(50), "begins with byte 0"),
            (&["content-range: bytes 10-40/50"], Some(31), "ends with byte 40 of 50"),
            (&["content-range: bytes 10-49/50"], Some(41), "is 40 bytes and also that it is 41"),
        ];
        for (fields, framed, says) in cases {
            let error = judged(206, fields, framed, FROM_TEN).unwrap_err();
            assert!(matches!(error, OutboundError::WrongPart { from: 10, .. }), "{error}");
            assert!(error.to_string().contains(says), "{fields:?}: {error}");
        }
        let unasked = judged(206, &["content-range: bytes 0-49/50"], Some(50), ALL).unwrap_err();
        assert!(unasked.to_string().contains("no part was asked for"), "{unasked}");
    }

    #[test]
    fn a_file_that_is_too_large_is_refused_before_its_first_byte() {
        let large = [
            judged(200, &[], Some(1001), ALL),
            judged(206, &["content-range: bytes 10-1000/1001"], Some(991), FROM_TEN),
        ];
        for verdict in large {
            assert!(matches!(verdict, Err(OutboundError::TooLarge { bytes_max: 1000, .. })), "{verdict:?}");
        }
    }

    #[test]
    fn packed_bodies_are_refused() {
        for field in
            ["content-encoding: gzip", "content-encoding: identity, br", "transfer-encoding: gzip, chunked"]
        {
            let error = judged(200, &[field], None, ALL).unwrap_err().to_string();
            assert!(error.contains("is packed"), "{field}: {error}");
        }
    }

    #[test]
    fn redirects_have_one_location() {
        for status in [301, 302, 303, 307, 308] {
            let verdict = judged(status, &["location: /b"], None, ALL).unwrap();
            assert_eq!(verdict, Verdict::Follow(b"/b".to_vec()));
            for fields in [&[][..], &["location: /b", "location: /c"]] {
                let error = judged(status, fields, None, ALL).unwrap_err();
                assert!(matches!(error, OutboundError::BadRedirect { .. }), "{error}");
            }
        }
    }

    #[test]
    fn every_other_status_has_a_kind() {
        let kind = |error: &OutboundError| format!("{error:?}").split(' ').next().unwrap().to_owned();
        let cases = [
            (101, "UnexpectedStatus", false),
            (204, "UnexpectedStatus", false),
            (300, "UnexpectedStatus", false),
            (304, "UnexpectedStatus", false),
            (400, "UnexpectedStatus", false),
            (401, "NotAllowed", false),
            (403, "NotAllowed", false),
            (404, "NotFound", false),
            (407, "NotAllowed", false),
            (410, "NotFound", false),
            (416, "PastTheEnd", false),
            (429, "Busy", true),
            (451, "NotAllowed", false),
            (500, "ServerFailed", true),
            (502, "ServerFailed", true),
            (503, "Busy", true),
            (999, "UnexpectedStatus", false),
        ];
        for (status, expected, may_pass) in cases {
            let error = judged(status, &["location: /b"], None, FROM_TEN).unwrap_err();
            assert_eq!((kind(&error).as_str(), error.may_pass()), (expected, may_pass), "{status}");
            assert!(status == 416 || error.to_string().contains(&status.to_string()), "{error}");
        }
    }

    #[test]
    fn what_helps_the_caller_is_read_and_bounded() {
        let total = |field: &str| match judged(416, &[field], None, FROM_TEN).unwrap_err() {
            OutboundError::PastTheEnd { total, .. } => total,
            other => panic!("{other}"),
        };
        assert_eq!(total("content-range: bytes */10"), Some(10));
        assert_eq!(total("content-range: bytes */*"), None);
        assert_eq!(total("x: y"), None);
        let wait = |field: &str| match judged(429, &[field], None, ALL).unwrap_err() {
            OutboundError::Busy { retry_after, .. } => retry_after,
            other => panic!("{other}"),
        };
        assert_eq!(wait("retry-after: 7"), Some(Duration::from_secs(7)));
        assert_eq!(wait("retry-after: 99999999999"), Some(RETRY_AFTER_MAX));
        assert_eq!(wait("retry-after: -7"), None);
        assert_eq!(wait("retry-after: Fri, 31 Dec 1999 23:59:59 GMT"), None);
    }
}
