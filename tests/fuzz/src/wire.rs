//! Frames and messages. The decoders are strict, so what one accepts must encode to the very bytes it was read from.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::{BufMut, BytesMut};
use postern::wire::copy::{CopyError, Row, Rows};
use postern::wire::frame;
use postern::wire::message::{self, Bind, Format, Formats, MessageError, Parse, Target, put, put_count, put_text, put_value};
use postern::wire::startup::{self, FirstPacket};
use postern::wire::talk::Talk;
use postern::wire::upstream::readers;
use postern_rewriter::leading_token as take_token;
use postern_rewriter::plan::{Form, Header, Layout, Marks};
use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};

/// The body of the one frame that `encode` wrote, whose head must be the frame reader's too.
fn body(encode: impl FnOnce(&mut BytesMut) -> Result<(), MessageError>) -> Vec<u8> {
    let mut out = BytesMut::new();
    encode(&mut out).expect("what was decoded can be encoded");
    let (head, body) = frame::first(&out, frame::MAX_UPSTREAM_FRAME)
        .expect("a good head")
        .expect("a whole frame");
    assert_eq!(head.total, out.len());
    body.to_vec()
}

/// Two ways of finding frames agree, a cut frame is none, and no frame is longer than its limit.
pub fn frames(data: &[u8]) {
    let Some((limit, stream)) = data.split_first_chunk::<2>() else {
        return;
    };
    let limit = usize::from(u16::from_be_bytes(*limit));
    let mut rest = stream;
    let mut talk = Talk::new(tokio::io::join(stream, tokio::io::sink()), limit);
    loop {
        let found = frame::first(rest, limit);
        let told = {
            let next = pin!(talk.frame());
            match next.poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(told) => told,
                Poll::Pending => panic!("reading from memory never waits"),
            }
        };
        match found {
            Ok(Some((head, body))) => {
                assert!(head.total <= limit + 1 && head.total == body.len() + frame::HEADER);
                let (kind, same) = told.expect("both find the frame");
                assert_eq!((kind, &same[..]), (head.kind, body));
                for cut in 0..head.total {
                    assert_eq!(frame::first(&rest[..cut], limit), Ok(None));
                }
                rest = &rest[head.total..];
            }
            Ok(None) => return assert!(told.is_err(), "a frame that is not whole"),
            Err(wrong) => {
                assert_eq!(frame::head(rest, limit), Err(wrong));
                return assert!(told.is_err(), "a length that cannot be");
            }
        }
    }
}

/// What leaves the startup packet is on the list, whole, and reads the same when it is sent again in its plain form.
pub fn startup(data: &[u8]) {
    if let Some((word, _)) = data.split_first_chunk::<4>()
        && let Ok(length) = startup::body_length(*word)
    {
        assert!(length + 4 <= startup::MAX_STARTUP_BYTES);
    }
    let Ok(FirstPacket::Startup(found)) = startup::decode(data) else {
        return;
    };
    assert!(!found.user.is_empty() && !found.database.is_empty());
    let mut plain = BytesMut::new();
    plain.put_u16(3);
    plain.put_u16(found.minor);
    let mut say = |name: &str, value: &str| {
        assert!(!name.contains('\0') && !value.contains('\0'));
        put_text(&mut plain, name);
        put_text(&mut plain, value);
    };
    say("user", &found.user);
    say("database", &found.database);
    let mut count = 2;
    for (name, value) in &found.settings {
        assert!(startup::ALLOWED.contains(name), "{name} is not on the list");
        say(name, value);
        count += 1;
    }
    for (name, value) in [
        ("search_path", &found.search_path),
        ("postern.token", &found.token.as_ref().map(|t| t.to_string())),
    ] {
        if let Some(value) = value {
            say(name, value);
            count += 1;
        }
    }
    for name in &found.unknown_options {
        say(name, "");
        count += 1;
    }
    plain.put_u8(0);
    // `options` may hold as many settings again as the packet; plain, they may be too many for one packet.
    if count > 64 {
        return;
    }
    let Ok(FirstPacket::Startup(again)) = startup::decode(&plain) else {
        panic!("what was accepted is refused when it is said plainly");
    };
    assert_eq!(
        (&again.user, &again.database, again.minor),
        (&found.user, &found.database, found.minor)
    );
    assert_eq!((&again.settings, &again.search_path), (&found.settings, &found.search_path));
    assert_eq!((again.token, again.unknown_options), (found.token, found.unknown_options));
}

fn put_formats(out: &mut BytesMut, formats: &Formats) -> Result<(), MessageError> {
    put_count(out, formats.given().len())?;
    formats.given().iter().for_each(|f| out.put_i16(f.code()));
    Ok(())
}

/// Messages of a client; the first byte says which.
pub fn client_messages(data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else { return };
    let again = match kind {
        b'Q' => message::query(bytes).map(|sql| {
            body(|out| {
                put(out, b'Q', |out| {
                    put_text(out, sql);
                    Ok(())
                })
            })
        }),
        b'P' => Parse::decode(bytes).map(|p| {
            body(|out| {
                put(out, b'P', |out| {
                    put_text(out, p.name);
                    put_text(out, p.sql);
                    put_count(out, p.types.len())?;
                    p.types.iter().for_each(|oid| out.put_u32(*oid));
                    Ok(())
                })
            })
        }),
        b'B' => Bind::decode(bytes).map(|b| {
            assert_eq!(
                Bind::names(bytes),
                Ok((b.portal, b.statement)),
                "the short reading is the long one's"
            );
            assert!(b.formats.fit(b.values.len()));
            for i in 0..b.values.len() {
                let _: Format = b.formats.of(i);
            }
            body(|out| {
                put(out, b'B', |out| {
                    put_text(out, b.portal);
                    put_text(out, b.statement);
                    put_formats(out, &b.formats)?;
                    put_count(out, b.values.len())?;
                    for value in &b.values {
                        put_value(out, *value)?;
                    }
                    put_formats(out, &b.results)
                })
            })
        }),
        b'D' | b'C' => Target::decode(bytes).map(|t| body(|out| message::put_target(out, *kind, t))),
        b'E' => message::execute(bytes).map(|(portal, rows)| body(|out| message::put_execute(out, portal, rows))),
        _ => return,
    };
    if let Ok(again) = again {
        assert_eq!(again, bytes);
    }
}

/// Messages of a server; the first byte says which.
pub fn server_messages(data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else { return };
    let again = match kind {
        b'T' => message::row_description(bytes).map(|columns| body(|out| message::put_row_description(out, &columns))),
        b't' => message::parameter_description(bytes).map(|types| body(|out| message::put_parameter_description(out, &types))),
        b'D' => {
            // Left over from the row before: must not show in this one.
            let mut fields = vec![Some(&b"before"[..]), None];
            message::data_row(bytes, &mut fields).map(|()| {
                body(|out| {
                    put(out, b'D', |out| {
                        put_count(out, fields.len())?;
                        fields.iter().try_for_each(|field| put_value(out, *field))
                    })
                })
            })
        }
        b'C' => message::command_complete(bytes).map(|tag| body(|out| message::put_command_complete(out, tag))),
        b'S' => message::parameter_status(bytes).map(|(name, value)| {
            body(|out| {
                put(out, b'S', |out| {
                    put_text(out, name);
                    put_text(out, value);
                    Ok(())
                })
            })
        }),
        b'Z' => message::ready_for_query(bytes).map(|status| {
            let mut out = BytesMut::new();
            message::put_ready(&mut out, status);
            out[frame::HEADER..].to_vec()
        }),
        b'E' | b'N' => message::error_fields(bytes).map(|fields| body(|out| message::put_fields(out, *kind, fields))),
        _ => return,
    };
    if let Ok(again) = again {
        assert_eq!(again, bytes);
    }
}

/// The comment and what stands behind it are the text; a token is of a token's letters alone.
pub fn leading_token(data: &[u8]) {
    let Ok(sql) = std::str::from_utf8(data) else { return };
    match take_token(sql) {
        Ok(None) => assert!(!sql.starts_with("/*postern:")),
        Ok(Some((token, rest))) => {
            let comment = format!("/*postern:{token}*/");
            let start = sql.len() - rest.len() - comment.len();
            assert!(sql[..start].trim_matches([' ', '\t', '\n', '\r', '\x0c']).is_empty());
            assert_eq!(&sql[start..], format!("{comment}{rest}"));
            assert!(token.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b)) && !token.is_empty());
        }
        Err(refusal) => assert!(matches!(refusal.sqlstate, "42601" | "28000")),
    }
}

/// What a server says while we log in; the first byte says what of it is read.
pub fn upstream_login(data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else { return };
    match kind {
        // The count that is looked at is the count that would be paid for.
        b'I' => {
            if readers::check_iterations(bytes).is_err() {
                return;
            }
            let mut scram = ScramSha256::new(b"password", ChannelBinding::unsupported());
            let nonce = String::from_utf8_lossy(scram.message());
            let nonce = nonce.split("r=").nth(1).expect("our own message").to_owned();
            // A challenge repeats our nonce, which the input cannot know.
            let text = std::str::from_utf8(bytes).expect("it was read as text");
            let challenge = text.replacen("r=", &format!("r={nonce}"), 1);
            if scram.update(challenge.as_bytes()).is_ok() {
                let count = challenge.rsplit(",i=").next().and_then(|n| n.parse::<u32>().ok());
                assert!(
                    count.is_some_and(|n| (4096..=100_000).contains(&n)),
                    "another count was paid for"
                );
            }
        }
        b'E' => {
            let found = readers::sqlstate(bytes);
            assert!(found.is_none_or(|s| s.len() == 5 && s.bytes().all(|b| b.is_ascii_alphanumeric())));
            if let Ok(fields) = message::error_fields(bytes) {
                let strict = fields.iter().find(|(code, _)| *code == b'C').map(|(_, text)| *text);
                assert_eq!(
                    found,
                    strict.filter(|s| s.len() == 5 && s.bytes().all(|b| b.is_ascii_alphanumeric()))
                );
            }
        }
        b'D' => {
            if let Some(number) = readers::single_int8(bytes) {
                let mut fields = Vec::new();
                message::data_row(bytes, &mut fields).expect("a row with one field is a row");
                let text = fields[0].and_then(|f| std::str::from_utf8(f).ok()).expect("a number is text");
                assert!(fields.len() == 1 && text.parse() == Ok(number));
            }
        }
        _ => {}
    }
}

/// How the rows of `copy_rows` may be written; an input's first byte chooses. Only appended to.
fn layouts() -> Vec<Layout> {
    let marks = |delimiter, null: &str, header| Marks {
        delimiter,
        null: null.into(),
        header,
    };
    let csv = |quote, escape, header| Form::Csv {
        marks: marks(b',', "", header),
        quote,
        escape,
        not_null: [true, false].into(),
        null_if: [false, true].into(),
    };
    let forms = [
        Form::Text(marks(b'\t', "\\N", Header::None)),
        Form::Text(marks(b'|', "", Header::Matched)),
        csv(b'"', b'"', Header::None),
        csv(b'\'', b'\\', Header::Skipped),
        csv(b'\\', b'"', Header::None),
        Form::Binary,
    ];
    let columns = || ["a".into(), "b".into()].into();
    forms
        .map(|form| Layout {
            columns: columns(),
            form,
        })
        .into()
}

type Copied = Vec<Vec<Option<Vec<u8>>>>;

/// The rows of data in pieces of that size, and what ended them.
fn copied(layout: &Layout, data: &[u8], size: usize) -> (Copied, Option<CopyError>) {
    let (mut rows, mut row, mut all) = (Rows::new(layout.clone(), 256), Row::default(), Vec::new());
    let mut take = |rows: &mut Rows| -> Result<(), CopyError> {
        while rows.next(&mut row)? {
            all.push(row.fields().map(|f| f.map(<[u8]>::to_vec)).collect::<Vec<_>>());
        }
        Ok(())
    };
    let mut fed = || -> Result<(), CopyError> {
        for piece in data.chunks(size) {
            rows.feed(piece);
            take(&mut rows)?;
        }
        rows.finish();
        take(&mut rows)
    };
    let end = fed().err();
    (all, end)
}

/// A row has its fields, text is UTF-8, and how the data is cut changes nothing; rows written again in COPY's text are the same rows.
pub fn copy_rows(data: &[u8]) {
    let Some((choice, data)) = data.split_first() else { return };
    let layouts = layouts();
    let layout = &layouts[usize::from(*choice) % layouts.len()];
    let whole = copied(layout, data, data.len().max(1));
    for size in [1, 2, 7] {
        assert_eq!(copied(layout, data, size), whole, "in pieces of {size}");
    }
    let (rows, _) = whole;
    let mut again = Vec::new();
    for row in &rows {
        assert_eq!(row.len(), 2);
        for (at, field) in row.iter().enumerate() {
            again.extend(if at > 0 { &b"\t"[..] } else { b"" });
            match field {
                None => again.extend(b"\\N"),
                Some(bytes) => {
                    assert!(layout.form == Form::Binary || std::str::from_utf8(bytes).is_ok());
                    for byte in bytes {
                        again.extend(match byte {
                            b'\t' => b"\\t".to_vec(),
                            b'\n' => b"\\n".to_vec(),
                            b'\r' => b"\\r".to_vec(),
                            b'\\' => b"\\\\".to_vec(),
                            other => vec![*other],
                        });
                    }
                }
            }
        }
        again.push(b'\n');
    }
    if layout.form != Form::Binary && again.len() < 250 {
        assert_eq!(copied(&layouts[0], &again, again.len().max(1)), (rows, None));
    }
}
