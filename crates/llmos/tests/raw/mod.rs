//! Requests byte by byte, and answers as they came.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use crate::harness::{PATIENCE, Server};

/// All that comes back for these very bytes, until the server closes.
pub(crate) fn exchange(server: &Server<'_>, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    // A connection that is reset has ended, too.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// Sends one request; status, head in lower case, and body.
pub(crate) fn send(server: &Server<'_>, request: &str) -> (u16, String, String) {
    parsed(&exchange(server, request.as_bytes()))
}

/// The same of one answer.
pub(crate) fn parsed(answer: &str) -> (u16, String, String) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, head.to_lowercase(), body.to_owned())
}

/// A request without a body, after whose answer the server closes; each header with its line end.
pub(crate) fn line(method: &str, target: &str, headers: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nconnection: close\r\n{headers}\r\n")
}

/// The value of a field that is there once in a head of lower case.
pub(crate) fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut values = head.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let value = values.next()?;
    assert!(values.next().is_none(), "{name} is there twice in {head}");
    Some(value)
}
