mod calls;
mod redirects;
mod server;

use tokio::{io::AsyncWriteExt, net::TcpListener};

use self::server::{Act, Server, send};
use super::*;

/// Bytes that no error may show, wherever they stood.
const SECRET: &str = "s3cr3t";
/// What the tests take at the most.
const BYTES_MAX: u64 = 1 << 20;
/// No test waits longer than this.
const PATIENCE: Duration = Duration::from_secs(20);
/// For a wait that is certain to end without what is waited for.
const SHORT: Duration = Duration::from_millis(100);

/// All names are at these addresses, and the system is not asked.
fn everybody_at(addresses: &'static [&'static str]) -> Lookup {
    Arc::new(move |_, port| {
        let all = addresses.iter().map(|one| SocketAddr::new(one.parse().unwrap(), port)).collect();
        Box::pin(async move { Ok(all) })
    })
}

/// A door that may reach `server`, where all names are.
fn door_to(server: &Server) -> Outbound {
    let private = vec!["127.0.0.1".parse().unwrap()];
    let ca_file = Some(server.authority().to_owned());
    let outbound = Outbound::new(Rules { private, ca_file, hosts: None }).unwrap();
    Outbound { lookup: everybody_at(&["127.0.0.1"]), ..outbound }
}

fn at(server: &Server, host: &str, path: &str) -> Url {
    Url::parse(&format!("https://{host}:{}{path}", server.address.port())).unwrap()
}

fn from_byte(from_byte: u64) -> Fetch {
    Fetch { from_byte, ..Fetch::new(BYTES_MAX) }
}

async fn read(outbound: &Outbound, url: &Url, fetch: &Fetch) -> Result<(Extent, Bytes), OutboundError> {
    let reading = async {
        let answer = outbound.get(url, fetch).await?;
        let (extent, length) = (answer.extent, answer.length);
        let bytes = answer.body.collect().await?;
        assert!(length.is_none_or(|length| length == bytes.len() as u64));
        Ok((extent, bytes))
    };
    timeout(PATIENCE, reading).await.unwrap()
}

/// The text of the error that a request ends with. Whatever it is, it tells no secret.
async fn fails(outbound: &Outbound, url: &Url, mut fetch: Fetch) -> String {
    let mut url = url.clone();
    url.set_query(Some(&format!("signature={SECRET}")));
    url.set_fragment(Some(SECRET));
    fetch.token = Some(Secret::from(SECRET.to_owned()));
    let error = read(outbound, &url, &fetch).await.unwrap_err();
    let text = error.to_string();
    assert!(!text.contains(SECRET) && !format!("{error:?}").contains(SECRET), "{error:?}");
    text
}

fn contains(text: &str, part: &str) {
    assert!(text.contains(part), "`{part}` is not in: {text}");
}

/// The file of a server that does everything right: larger than any buffer on the way.
fn file() -> Vec<u8> {
    (0..300_000_u32).map(|index| (index / 7) as u8).collect()
}

/// Serves [`file`], whose `ETag` is `"v1"`, with ranges.
fn honest(request: &str) -> Vec<Act> {
    let file = file();
    let field = |name: &str| {
        let lines = request.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(is, _)| *is == name).map(|(_, value)| value.to_owned()).next()
    };
    let from = field("range").map(|range| range["bytes=".len()..].trim_end_matches('-').parse().unwrap());
    let same = field("if-range").is_none_or(|etag| etag == "\"v1\"");
    let fields = "ETag: \"v1\"\r\nContent-Type: application/octet-stream\r\n";
    let total = file.len();
    let (head, rest): (_, &[u8]) = match from {
        Some(from) if same && from >= total => {
            (format!("416 No\r\nContent-Range: bytes */{total}\r\nContent-Length: 0"), &[])
        }
        Some(from) if same => (
            format!(
                "206 Part\r\n{fields}Content-Range: bytes {from}-{}/{total}\r\nContent-Length: {}",
                total - 1,
                total - from
            ),
            &file[from..],
        ),
        _ => (format!("200 OK\r\n{fields}Content-Length: {total}"), &file),
    };
    send([format!("HTTP/1.1 {head}\r\n\r\n").as_bytes(), rest].concat())
}

#[tokio::test]
async fn a_file_comes_whole_or_from_a_byte_on() {
    let server = Server::start(honest).await;
    let outbound = door_to(&server);
    let url = at(&server, "models.test", "/a/b?c=d#e");

    let answer = outbound.get(&url, &Fetch::new(BYTES_MAX)).await.unwrap();
    assert_eq!((answer.extent, answer.length, answer.total), (Extent::Whole, Some(300_000), Some(300_000)));
    assert_eq!(answer.etag.as_deref(), Some("\"v1\""));
    assert_eq!(answer.content_type.as_deref(), Some("application/octet-stream"));
    assert_eq!(answer.place, Place::of(&at(&server, "models.test", "/a/b")));
    assert_eq!(answer.body.collect().await.unwrap(), file());
    let request = server.requests().concat();
    contains(&request, "GET /a/b?c=d HTTP/1.1\r\n");
    contains(&request, &format!("host: models.test:{}\r\n", server.address.port()));
    contains(&request, concat!("user-agent: llmos/", env!("CARGO_PKG_VERSION"), "\r\n"));
    for field in ["accept: */*", "accept-encoding: identity", "connection: close"] {
        contains(&request, &format!("\r\n{field}\r\n"));
    }
    for name in ["range", "authorization", "cookie"] {
        assert!(!request.contains(&format!("\r\n{name}")), "{request}");
    }

    let part = read(&outbound, &url, &from_byte(299_990)).await.unwrap();
    assert_eq!(part, (Extent::Part { from: 299_990 }, file()[299_990..].to_vec().into()));
    for (etag, extent) in [("\"v1\"", Extent::Part { from: 7 }), ("\"v0\"", Extent::Whole)] {
        let fetch = Fetch { if_range: Some(etag.to_owned()), ..from_byte(7) };
        assert_eq!(read(&outbound, &url, &fetch).await.unwrap().0, extent);
    }
    contains(&fails(&outbound, &url, from_byte(300_000)).await, "has no byte 300000 of 300000");
}

#[tokio::test]
async fn by_its_address_and_by_the_name_that_the_system_knows() {
    let server = Server::start(honest).await;
    let outbound = Outbound { lookup: Arc::new(system_lookup), ..door_to(&server) };
    for host in ["localhost", "127.0.0.1", "0x7f.1", "2130706433"] {
        let url = at(&server, host, "/");
        let outcome = read(&outbound, &url, &Fetch::new(BYTES_MAX)).await;
        // A system that knows `localhost` by IPv6 too is refused as a whole: that address was not allowed.
        match outcome {
            Ok((extent, _)) => assert_eq!(extent, Extent::Whole),
            Err(error) => contains(&error.to_string(), "is at ::1"),
        }
    }
    let strict = Outbound { private: Vec::new(), ..outbound };
    for host in
        ["localhost", "127.0.0.1", "0x7f.1", "2130706433", "[::1]", "[::ffff:127.0.0.1]", "127.0.0.1."]
    {
        contains(&fails(&strict, &at(&server, host, "/"), from_byte(0)).await, "not a public address");
    }
}

/// Everything after `HTTP/1.1 200 OK`, and what the caller gets for it.
#[tokio::test]
async fn answers_that_lie() {
    let cases: Vec<(&str, Vec<Act>, &str)> = vec![
        ("/short", send("Content-Length: 10\r\n\r\nabc"), "stopped after 3 bytes of 10"),
        ("/long", send("Content-Length: 3\r\n\r\nabcdef"), "promised 3 bytes and sent at least 6"),
        (
            "/behind-the-last-chunk",
            send("Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nmore"),
            "promised 3 bytes and sent at least 7",
        ),
        ("/chunk-missing", send("Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"), "stopped after 3 bytes"),
        ("/no-chunk", send("Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n"), "stopped after 3 bytes"),
        // Without a length only TLS says that the end is the end.
        ("/cut", vec![Act::Send(b"\r\nabc".to_vec()), Act::Break], "stopped after 3 bytes"),
        ("/too-large", send("Content-Length: 1048577\r\n\r\n"), "larger than 1048576 bytes"),
        ("/endless", vec![Act::Send(b"\r\n".to_vec()), Act::Send(vec![0; 2 << 20])], "larger than 1048576"),
        ("/packed", send("Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc"), "is packed"),
        (
            "/two-lengths",
            send("Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"),
            "answer that cannot be used",
        ),
        ("/no-length", send("Content-Length: -1\r\n\r\nabcd"), "answer that cannot be used"),
        ("/large-head", send(format!("A: {}\r\n\r\n", "a".repeat(HEAD_BYTES_MAX))), "more than 65536 bytes"),
        ("/many-fields", send("A: b\r\n".repeat(FIELDS_MAX + 1) + "\r\n"), "or 100 fields"),
        ("/no-fields", send("what is this\r\n\r\n"), "answer that cannot be used"),
    ];
    let answers = cases.clone();
    let server = Server::start(move |request| {
        let path = request.split(['?', ' ']).nth(1).unwrap();
        let (_, acts, _) = answers.iter().find(|case| case.0 == path).unwrap();
        [send("HTTP/1.1 200 OK\r\n"), acts.clone()].concat()
    })
    .await;
    let outbound = door_to(&server);
    for (path, _, says) in cases {
        contains(&fails(&outbound, &at(&server, "models.test", path), from_byte(0)).await, says);
    }
}

#[tokio::test]
async fn answers_that_are_no_answer_or_no_file() {
    let cases: Vec<(&str, Vec<Act>, &str)> = vec![
        ("/nothing", vec![], "broke before an answer"),
        ("/half", vec![Act::Send(b"HTTP/1.1 200".to_vec()), Act::Break], "broke before an answer"),
        ("/other", send("SSH-2.0-OpenSSH_9.9\r\n\r\n"), "answer that cannot be used"),
        ("/gone", send(format!("HTTP/1.1 404 {SECRET}\r\nA: {SECRET}\r\n\r\n{SECRET}")), "status 404"),
        ("/closed", send(format!("HTTP/1.1 403 No\r\nContent-Length: 9\r\n\r\n{SECRET}")), "status 403"),
        ("/busy", send("HTTP/1.1 429 No\r\nRetry-After: 7\r\n\r\n"), "try again in 7 s"),
        ("/switch", send("HTTP/1.1 101 No\r\nUpgrade: other\r\nConnection: upgrade\r\n\r\n"), "status 101"),
        (
            "/part-short",
            send("HTTP/1.1 206 Part\r\nContent-Range: bytes 5-9/10\r\nContent-Length: 5\r\n\r\nabc"),
            "stopped after 3 bytes of 5",
        ),
        (
            "/part-chunked-short",
            send(
                "HTTP/1.1 206 Part\r\nContent-Range: bytes 5-9/10\r\nTransfer-Encoding: chunked\r\n\r\n\
                 3\r\nabc\r\n0\r\n\r\n",
            ),
            "stopped after 3 bytes of 5",
        ),
        (
            "/part-chunked-long",
            send(
                "HTTP/1.1 206 Part\r\nContent-Range: bytes 5-9/10\r\nTransfer-Encoding: chunked\r\n\r\n\
                 6\r\nabcdef\r\n0\r\n\r\n",
            ),
            "promised 5 bytes and sent at least 6",
        ),
        (
            "/part-other",
            send("HTTP/1.1 206 Part\r\nContent-Range: bytes 0-9/10\r\nContent-Length: 10\r\n\r\n0123456789"),
            "it begins with byte 0",
        ),
    ];
    let answers = cases.clone();
    let server = Server::start(move |request| {
        let path = request.split(['?', ' ']).nth(1).unwrap();
        answers.iter().find(|case| case.0 == path).unwrap().1.clone()
    })
    .await;
    let outbound = door_to(&server);
    for (path, _, says) in cases {
        contains(&fails(&outbound, &at(&server, "models.test", path), from_byte(5)).await, says);
    }
}

#[tokio::test]
async fn one_bad_address_among_good_ones_refuses_the_host() {
    let server = Server::start(honest).await;
    let outbound = Outbound { lookup: everybody_at(&["127.0.0.1", "192.168.0.1"]), ..door_to(&server) };
    contains(&fails(&outbound, &at(&server, "models.test", "/"), from_byte(0)).await, "192.168.0.1");
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn the_next_address_is_tried_when_one_does_not_answer() {
    let server = Server::start(honest).await;
    // Nobody listens at the first.
    let private = vec!["127.0.0.0/8".parse().unwrap()];
    let lookup = everybody_at(&["127.0.0.2", "127.0.0.1"]);
    let outbound = Outbound { private, lookup, ..door_to(&server) };
    assert!(read(&outbound, &at(&server, "models.test", "/"), &from_byte(0)).await.is_ok());
}

#[tokio::test]
async fn without_a_network_it_says_so() {
    let server = Server::start(honest).await;
    let hangs_up = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let door = door_to(&server);
    let failing: Lookup =
        Arc::new(|_, _| Box::pin(async { Err(io::Error::other("Temporary failure in name resolution")) }));
    let cases = [
        (Outbound { lookup: failing, ..door.clone() }, 443, "cannot be looked up (Temporary failure"),
        (Outbound { lookup: everybody_at(&[]), ..door.clone() }, 443, "has no address"),
        (door.clone(), nobody.port(), "127.0.0.1:"),
        (door, hangs_up.local_addr().unwrap().port(), "broke before it was secure"),
    ];
    tokio::spawn(async move { while hangs_up.accept().await.is_ok() {} });
    for (outbound, port, says) in cases {
        let url = Url::parse(&format!("https://models.test:{port}/")).unwrap();
        let error = fails(&outbound, &url, from_byte(0)).await;
        for part in [says, "cannot reach `https://models.test", "has a network", "mirror"] {
            contains(&error, part);
        }
        assert!(outbound.get(&url, &from_byte(0)).await.err().unwrap().may_pass());
    }
}

/// Every wait, on something that never comes.
#[tokio::test]
async fn every_wait_ends() {
    let server = Server::start(|request| match request.split(['?', ' ']).nth(1).unwrap() {
        "/silent" => vec![Act::Wait],
        "/continue" => vec![Act::Repeat(b"HTTP/1.1 100 Continue\r\n\r\n")],
        "/stalls" => [send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"), vec![Act::Wait]].concat(),
        _ => [send("HTTP/1.1 200 OK\r\n\r\n"), vec![Act::Repeat(b".")]].concat(),
    })
    .await;
    // It accepts connections, and says nothing.
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (mute, port) = (mute.local_addr().unwrap().port(), server.address.port());
    let door = door_to(&server);
    let never: Lookup = Arc::new(|_, _| Box::pin(std::future::pending()));
    let cases = [
        (
            Outbound { lookup: never, waits: Waits { lookup: SHORT, ..WAITS }, ..door.clone() },
            port,
            "/",
            "name was not found within",
        ),
        (
            Outbound { waits: Waits { handshake: SHORT, ..WAITS }, ..door.clone() },
            mute,
            "/",
            "was not secure within",
        ),
        (
            Outbound { waits: Waits { head: SHORT, ..WAITS }, ..door.clone() },
            port,
            "/silent",
            "no answer began within",
        ),
        (
            Outbound { waits: Waits { head: SHORT, ..WAITS }, ..door.clone() },
            port,
            "/continue",
            "no answer began within",
        ),
        (
            Outbound { waits: Waits { stall: SHORT, ..WAITS }, ..door.clone() },
            port,
            "/stalls",
            "sent 3 bytes, then fewer than",
        ),
        (
            Outbound { waits: Waits { stall: SHORT, ..WAITS }, ..door },
            port,
            "/trickles",
            "then fewer than 4096 in 0.1 s",
        ),
    ];
    for (outbound, port, path, says) in cases {
        let url = Url::parse(&format!("https://models.test:{port}{path}")).unwrap();
        contains(&fails(&outbound, &url, from_byte(0)).await, says);
    }
}

/// Linux leaves connections unanswered for which a listener has no room; other systems refuse them.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn an_address_that_does_not_answer_is_given_up() {
    let server = Server::start(honest).await;
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let full = socket.listen(0).unwrap();
    let address = full.local_addr().unwrap();
    let _only_one = TcpStream::connect(address).await.unwrap();
    let outbound = Outbound { waits: Waits { connect: SHORT, ..WAITS }, ..door_to(&server) };
    let url = Url::parse(&format!("https://models.test:{}/", address.port())).unwrap();
    contains(&fails(&outbound, &url, from_byte(0)).await, &format!("{address}: no answer in 0.1 s"));
}

#[tokio::test]
async fn whoever_cannot_prove_who_he_is_gets_no_request() {
    let server = Server::start(honest).await;
    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let plain_port = plain.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = plain.accept().await {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let door = door_to(&server);
    // Of another authority than the one that vouches for the server.
    let stranger = door_to(&Server::start(honest).await);
    let cases = [
        (&stranger, at(&server, "models.test", "/"), "invalid peer certificate"),
        (&door, at(&server, "other.test", "/"), "not valid for name \"other.test\""),
        (&door, Url::parse(&format!("https://models.test:{plain_port}/")).unwrap(), "no secure connection"),
    ];
    for (outbound, url, says) in cases {
        let error = fails(outbound, &url, from_byte(0)).await;
        contains(&error, "no secure connection");
        contains(&error, says);
    }
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn what_cannot_be_a_field_is_refused_before_anybody_is_asked() {
    let server = Server::start(honest).await;
    let outbound = door_to(&server);
    let url = at(&server, "models.test", "/");
    let bad = || Some("a\r\nX-Injected: b".to_owned());
    let cases = [
        (Fetch { accept: bad(), ..from_byte(0) }, "`accept`"),
        (Fetch { if_range: bad(), ..from_byte(1) }, "`if_range`"),
        (Fetch { token: bad().map(Secret::from), ..from_byte(0) }, "the token"),
    ];
    for (fetch, says) in cases {
        let error = outbound.get(&url, &fetch).await.err().unwrap().to_string();
        contains(&error, says);
        assert!(!error.contains("Injected"), "{error}");
    }
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn dropping_an_answer_closes_its_connection() {
    let mut server = Server::start(|_| {
        [send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"), vec![Act::Wait]].concat()
    })
    .await;
    let outbound = door_to(&server);
    let url = at(&server, "models.test", "/");
    let reading = async move {
        let mut answer = outbound.get(&url, &from_byte(0)).await.unwrap();
        assert_eq!(answer.body.chunk().await.unwrap().unwrap(), "abc");
    };
    // On a task of its own: a request may move between threads.
    tokio::spawn(reading).await.unwrap();
    server.closed().await;
}

#[tokio::test]
async fn after_an_error_a_body_has_no_end() {
    let server = Server::start(|_| send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")).await;
    let outbound = door_to(&server);
    let mut answer = outbound.get(&at(&server, "models.test", "/"), &from_byte(0)).await.unwrap();
    assert_eq!(answer.body.chunk().await.unwrap().unwrap(), "abc");
    for _ in 0..3 {
        contains(&answer.body.chunk().await.unwrap_err().to_string(), "stopped after 3 bytes of 10");
    }
}
