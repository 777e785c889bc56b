//! What a protocol sends and reads: [`Outbound::call`].

use http::StatusCode;

use super::*;
use crate::{Call, Reply};

/// What the tests take of an answer at the most.
const REPLY_BYTES_MAX: u64 = 1_024;

fn form() -> Call {
    let code = Secret::from(format!("{SECRET}&x=ä"));
    let client = Secret::from("a client".to_owned());
    let authorization = Some(Secret::from(format!("Basic {SECRET}")));
    Call::form(&[("code", &code), ("client_id", &client)], authorization, REPLY_BYTES_MAX)
}

async fn call(outbound: &Outbound, url: &Url) -> Result<Reply, OutboundError> {
    timeout(PATIENCE, outbound.call(url, &form())).await.unwrap()
}

/// The text of the error that a call ends with, which tells nothing of what was sent.
async fn fails_to_call(outbound: &Outbound, url: &Url) -> String {
    let error = call(outbound, url).await.err().unwrap();
    let text = error.to_string();
    assert!(!text.contains(SECRET) && !format!("{error:?}").contains(SECRET), "{error:?}");
    text
}

/// Answers each path by what stands here for it.
async fn answering(cases: &[(&'static str, Vec<Act>, &str)]) -> Server {
    let answers: Vec<_> = cases.iter().map(|(path, acts, _)| (*path, acts.clone())).collect();
    Server::start(move |request| {
        let path = request.split(['?', ' ']).nth(1).unwrap();
        answers.iter().find(|(known, _)| *known == path).unwrap().1.clone()
    })
    .await
}

#[tokio::test]
async fn a_form_is_sent_once_and_what_refuses_it_is_read_too() {
    let cases = [
        ("/token", send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"), "200 {}"),
        ("/refused", send("HTTP/1.1 400 No\r\nContent-Length: 5\r\n\r\nwrong"), "400 wrong"),
        (
            "/busy",
            send("HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n"),
            "503 no",
        ),
        ("/later", send("HTTP/1.1 429 No\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n"), "429 , after 7 s"),
        (
            "/some-day",
            send(
                "HTTP/1.1 429 No\r\nRetry-After: Mon, 30 Nov 2026 10:00:00 GMT\r\nContent-Length: 0\r\n\r\n",
            ),
            "429 ",
        ),
        ("/empty", send("HTTP/1.1 204 None\r\n\r\n"), "204 "),
    ];
    let server = answering(&cases).await;
    let outbound = door_to(&server);
    for (path, _, expected) in &cases {
        let Reply { status, retry_after, body } =
            call(&outbound, &at(&server, "models.test", path)).await.unwrap();
        let after = retry_after.map_or(String::new(), |after| format!(", after {} s", after.as_secs()));
        assert_eq!(format!("{} {}{after}", status.as_u16(), String::from_utf8_lossy(&body)), *expected);
        let [request] = &server.requests()[..] else { panic!("one request for one call") };
        assert!(request.starts_with(&format!("POST {path} HTTP/1.1\r\n")), "{request}");
        for field in [
            &format!("host: models.test:{}", server.address.port())[..],
            "accept: application/json",
            "accept-encoding: identity",
            "connection: close",
            "content-type: application/x-www-form-urlencoded",
            &format!("authorization: Basic {SECRET}"),
        ] {
            contains(request, &format!("\r\n{field}\r\n"));
        }
        assert!(
            request.ends_with(&format!("\r\n\r\ncode={SECRET}%26x%3D%C3%A4&client_id=a+client")),
            "{request}"
        );
    }
}

/// Somebody else would get what was sent.
#[tokio::test]
async fn a_redirect_of_a_call_is_not_followed() {
    let server = Server::start(|request| {
        let status = request.split(['/', ' ']).nth(2).unwrap();
        let place = "Location: https://cdn.test/\r\nContent-Length: 0";
        send(format!("HTTP/1.1 {status} Elsewhere\r\n{place}\r\n\r\n"))
    })
    .await;
    let outbound = door_to(&server);
    for status in [300, 301, 302, 303, 307, 308] {
        let error = fails_to_call(&outbound, &at(&server, "models.test", &format!("/{status}"))).await;
        contains(&error, "what was sent is not sent on");
        assert_eq!(server.requests().len(), 1, "{status}");
    }
}

#[tokio::test]
async fn replies_that_are_too_much_too_little_or_none() {
    let chunks = |bytes: usize| {
        let mut text = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned();
        text.extend(std::iter::repeat_n("1\r\n.\r\n", bytes));
        send(text + "0\r\n\r\n")
    };
    let cases = [
        ("/large", send("HTTP/1.1 200 OK\r\nContent-Length: 1025\r\n\r\n"), "larger than 1024 bytes"),
        ("/large-refusal", send("HTTP/1.1 400 No\r\nContent-Length: 1025\r\n\r\n"), "larger than 1024 bytes"),
        ("/endless", chunks(1_025), "larger than 1024 bytes"),
        ("/fits", chunks(1_024), ""),
        ("/short", send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"), "stopped after 3 bytes of 10"),
        ("/long", send("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcdef"), "sent at least 6"),
        (
            "/chunk-missing",
            send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"),
            "stopped after 3 bytes",
        ),
        (
            "/cut",
            vec![Act::Send(b"HTTP/1.1 200 OK\r\n\r\nabc".to_vec()), Act::Break],
            "stopped after 3 bytes",
        ),
        ("/half", vec![Act::Send(b"HTTP/1.1 200".to_vec()), Act::Break], "broke before an answer"),
        ("/nothing", vec![], "broke before an answer"),
        ("/other", send("SSH-2.0-OpenSSH_9.9\r\n\r\n"), "answer that cannot be used"),
    ];
    let server = answering(&cases).await;
    let outbound = door_to(&server);
    for (path, _, says) in &cases {
        let url = at(&server, "models.test", path);
        if says.is_empty() {
            let reply = call(&outbound, &url).await.unwrap();
            assert_eq!((reply.status, reply.body.len() as u64), (StatusCode::OK, REPLY_BYTES_MAX), "{path}");
        } else {
            contains(&fails_to_call(&outbound, &url).await, says);
        }
    }
}

#[tokio::test]
async fn every_wait_of_a_call_ends() {
    let cases = [
        ("/silent", vec![Act::Wait], "no answer began within"),
        (
            "/stalls",
            [send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"), vec![Act::Wait]].concat(),
            "sent 3 bytes",
        ),
    ];
    let server = answering(&cases).await;
    let waits = Waits { head: SHORT, stall: SHORT, ..WAITS };
    let outbound = Outbound { waits, ..door_to(&server) };
    for (path, _, says) in &cases {
        contains(&fails_to_call(&outbound, &at(&server, "models.test", path)).await, says);
    }
}

/// Nothing is sent to whom it is not for: a name that leads inside, or leads there only when it is used; a certificate of an authority
/// that is not believed, or of another name; and what is no `https`.
#[tokio::test]
async fn a_call_reaches_only_whom_it_is_for() {
    let server = Server::start(|_| send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")).await;
    let door = door_to(&server);
    let inside = everybody_at(&["127.0.0.1", "169.254.169.254"]);
    let strict = Outbound { private: Vec::new(), ..door.clone() };
    let stranger = door_to(&Server::start(|_| Vec::new()).await);
    let here = at(&server, "models.test", "/");
    for (outbound, url, says) in [
        (Outbound { lookup: inside, ..door.clone() }, here.clone(), "169.254.169.254"),
        (strict, here.clone(), "127.0.0.1, which is"),
        (stranger, here.clone(), "no secure connection"),
        (door.clone(), at(&server, "other.test", "/"), "no secure connection"),
        (door.clone(), Url::parse(&here.as_str().replace("https:", "http:")).unwrap(), "only https"),
    ] {
        contains(&fails_to_call(&outbound, &url).await, says);
        assert!(server.requests().is_empty(), "{says}");
    }

    let lookups = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = Arc::clone(&lookups);
    let rebinding: Lookup = Arc::new(move |_, port| {
        let earlier = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let address = if earlier == 0 { [127, 0, 0, 1] } else { [10, 0, 0, 9] };
        Box::pin(async move { Ok(vec![SocketAddr::from((address, port))]) })
    });
    let outbound = Outbound { lookup: rebinding, ..door };
    assert!(call(&outbound, &here).await.is_ok());
    assert_eq!(lookups.load(std::sync::atomic::Ordering::SeqCst), 1, "it is looked up once");
    contains(&fails_to_call(&outbound, &here).await, "10.0.0.9, which is private");
}

#[tokio::test]
async fn what_cannot_be_a_field_of_a_call_is_refused_before_anybody_is_asked() {
    let server = Server::start(|_| send("HTTP/1.1 200 OK\r\n\r\n")).await;
    let authorization = Some(Secret::from(format!("Basic x\r\nx: {SECRET}")));
    let call = Call { authorization, ..form() };
    let error = door_to(&server).call(&at(&server, "models.test", "/"), &call).await.err().unwrap();
    assert!(
        matches!(error, OutboundError::BadField { .. }) && !error.to_string().contains(SECRET),
        "{error}"
    );
    assert!(server.requests().is_empty());
}

/// What is made while it is sent may come as slowly as it likes, as long as something comes.
#[tokio::test]
async fn an_answer_may_be_read_as_it_comes() {
    let server = Server::start(|request| match request.split(['?', ' ']).nth(1).unwrap() {
        "/drips" => [send("HTTP/1.1 200 OK\r\nRetry-After: 3\r\n\r\n"), vec![Act::Repeat(b".")]].concat(),
        _ => [send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"), vec![Act::Wait]].concat(),
    })
    .await;
    let door = door_to(&server);
    let door = Outbound { waits: Waits { head: SHORT, stall: SHORT, ..WAITS }, ..door };
    let url = at(&server, "models.test", "/drips");
    assert!(fails_to_call(&door, &url).await.contains("then fewer than 4096 in 0.1 s"));
    let mut streamed = door.stream(&url, &form()).await.ok().unwrap();
    assert_eq!((streamed.status, streamed.retry_after), (StatusCode::OK, Some(Duration::from_secs(3))));
    let begun = tokio::time::Instant::now();
    while begun.elapsed() < 3 * SHORT {
        assert!(streamed.body.chunk().await.unwrap().is_some());
    }
    // Nothing at all is not something.
    let silent = at(&server, "models.test", "/silent");
    let mut streamed = door.stream(&silent, &form()).await.ok().unwrap();
    assert_eq!(streamed.body.chunk().await.unwrap().unwrap(), "abc");
    let error = timeout(PATIENCE, streamed.body.chunk()).await.unwrap().unwrap_err();
    assert!(error.to_string().contains("then fewer than 1 in 0.1 s"), "{error}");
}
