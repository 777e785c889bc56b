//! Redirects, and names that lead elsewhere the second time.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// `/4` leads to `/3` and so on to `/0`, the file; `/to?URL` leads to URL.
fn redirecting(request: &str) -> Vec<Act> {
    let resource = request.split(' ').nth(1).unwrap();
    let to = match resource.trim_start_matches('/').parse::<u32>() {
        Ok(0) => return honest(request),
        Ok(left) => format!("/{}", left - 1),
        Err(_) => resource.trim_start_matches("/to?").replace("%20", " "),
    };
    send(format!(
        "HTTP/1.1 302 Found\r\nX-Linked-Etag: \"{resource}\"\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n"
    ))
}

#[tokio::test]
async fn redirects_are_followed_three_times_and_not_once_more() {
    let server = Server::start(redirecting).await;
    let outbound = door_to(&server);
    let answer = outbound.get(&at(&server, "models.test", "/3"), &from_byte(7)).await.unwrap();
    assert_eq!(answer.extent, Extent::Part { from: 7 });
    assert_eq!(answer.field("x-linked-etag"), Some("\"/3\""), "the host that was asked goes first");
    assert_eq!(answer.field("etag"), Some("\"v1\""));
    assert_eq!(answer.field("x-none"), None);
    assert_eq!(answer.place, Place::of(&at(&server, "models.test", "/0")));
    assert_eq!(server.requests().len(), 1 + REDIRECTS_MAX);

    let host = format!("models.test:{}", server.address.port());
    let error = fails(&outbound, &at(&server, "models.test", "/4"), from_byte(0)).await;
    contains(&error, "followed 3 redirects, which is the most");
    contains(&error, &[host.as_str(); 5].join(" -> "));
    assert_eq!(server.requests().len(), 1 + REDIRECTS_MAX);
}

#[tokio::test]
async fn a_loop_of_hosts_ends_and_names_them() {
    let server = Server::start(|request| {
        let port = request.split("test:").nth(1).unwrap().split('\r').next().unwrap();
        let other = if request.contains("host: models") { "cdn" } else { "models" };
        send(format!("HTTP/1.1 307 No\r\nLocation: https://{other}.test:{port}/?signature={SECRET}\r\n\r\n"))
    })
    .await;
    let error = fails(&door_to(&server), &at(&server, "models.test", "/"), from_byte(0)).await;
    let (models, cdn) = ("models.test", "cdn.test");
    let port = server.address.port();
    let hosts = [models, cdn, models, cdn, models].map(|host| format!("{host}:{port}")).join(" -> ");
    contains(&error, &hosts);
}

#[tokio::test]
async fn only_listed_hosts_are_asked_also_by_redirects() {
    let server = Server::start(redirecting).await;
    let hosts = Some(["models.test", "*.cdn.test"].map(|host| host.parse().unwrap()).into());
    let outbound = Outbound { hosts, ..door_to(&server) };
    let port = server.address.port();
    let to = |host: &str| format!("https://models.test:{port}/to?https://{host}:{port}/0");
    for (url, asked) in [(at(&server, "a.cdn.test", "/0"), 1), (to("b.cdn.test").parse().unwrap(), 2)] {
        read(&outbound, &url, &from_byte(0)).await.unwrap();
        assert_eq!(server.requests().len(), asked, "{url}");
    }
    for (url, asked) in [
        (at(&server, "other.test", "/0"), 0),
        (to("other.test").parse().unwrap(), 1),
        (to("cdn.test").parse().unwrap(), 1),
    ] {
        let error = read(&outbound, &url, &from_byte(0)).await.unwrap_err();
        assert!(matches!(error, OutboundError::NotListed { .. }), "{error}");
        contains(&error.to_string(), "add it to `outbound.hosts`");
        assert_eq!(server.requests().len(), asked, "{url}");
    }
}

#[tokio::test]
async fn a_redirect_leads_to_nothing_that_a_first_request_may_not() {
    let server = Server::start(redirecting).await;
    let outbound = door_to(&server);
    let cases = [
        ("https://10.0.0.1/", "10.0.0.1, which is private"),
        ("https://169.254.169.254/latest/meta-data/", "link-local"),
        ("https://167772161/", "10.0.0.1, which is private"),
        ("https://012.0.0.1/", "10.0.0.1, which is private"),
        ("https://[::ffff:10.0.0.1]/", "which is private"),
        ("https://[64:ff9b::a00:1]/", "which is private"),
        ("https://[::1]/", "this machine"),
        ("//127.0.0.2/", "loopback"),
        ("http://models.test/", "only https"),
        ("file:///etc/passwd", "only https"),
        ("https://user:s3cr3t@models.test/", "user or a password"),
        ("https://[::1", "no address"),
    ];
    for (to, says) in cases {
        let mut url = at(&server, "models.test", "/to");
        url.set_query(Some(to));
        let error = read(&outbound, &url, &from_byte(0)).await.unwrap_err().to_string();
        contains(&error, says);
        assert!(!error.contains(SECRET), "{error}");
        assert_eq!(server.requests().len(), 1, "{to}");
    }
}

#[tokio::test]
async fn a_token_stays_with_the_host_that_it_is_for() {
    let server = Server::start(redirecting).await;
    let outbound = door_to(&server);
    let port = server.address.port();
    let back = format!("https://models.test:{port}/0");
    let cases = [
        (at(&server, "models.test", "/2"), vec![true, true, true]),
        (at(&server, "models.test", &format!("/to?https://cdn.test:{port}/0")), vec![true, false]),
        // Back to the first host, on a path that the second one chose.
        (
            at(&server, "models.test", &format!("/to?https://cdn.test:{port}/to?{back}")),
            vec![true, false, false],
        ),
    ];
    for (url, expected) in cases {
        let fetch = Fetch { token: Some(Secret::from(SECRET.to_owned())), ..from_byte(0) };
        read(&outbound, &url, &fetch).await.unwrap();
        let bearer = format!("\r\nauthorization: Bearer {SECRET}\r\n");
        let sent: Vec<bool> = server.requests().iter().map(|request| request.contains(&bearer)).collect();
        assert_eq!(sent, expected, "{url}");
    }
}

/// What DNS rebinding needs: a name that is harmless when it is checked and leads inside when it is used.
#[tokio::test]
async fn the_address_that_was_checked_is_the_one_that_is_connected_to() {
    let server = Server::start(redirecting).await;
    let lookups = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&lookups);
    let rebinding: Lookup = Arc::new(move |_, port| {
        let address = if count.fetch_add(1, Ordering::SeqCst) == 0 { [127, 0, 0, 1] } else { [10, 0, 0, 9] };
        Box::pin(async move { Ok(vec![SocketAddr::from((address, port))]) })
    });
    let outbound = Outbound { lookup: rebinding, ..door_to(&server) };
    read(&outbound, &at(&server, "models.test", "/0"), &from_byte(0)).await.unwrap();
    assert_eq!((lookups.load(Ordering::SeqCst), server.requests().len()), (1, 1));

    // A redirect is a new request: looked up anew, and checked anew, although the host is the same.
    lookups.store(0, Ordering::SeqCst);
    let error = fails(&outbound, &at(&server, "models.test", "/1"), from_byte(0)).await;
    contains(&error, "10.0.0.9, which is private");
    assert_eq!((lookups.load(Ordering::SeqCst), server.requests().len()), (2, 1));
}
