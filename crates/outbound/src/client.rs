//! Acts: looks up, connects, asks, and follows what was checked.

use std::{
    error::Error,
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, Uri, header};
use http_body_util::Full;
use hyper::{
    body::{Body as _, Incoming},
    client::conn::http1,
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{self, pki_types::ServerName},
};
use types::Secret;
use url::{Host, Url};

use crate::{
    Body, Extent, Listed, Network, OutboundError, Place,
    address::{self, Checked},
    body::{Line, Pace},
    head::{self, Asked, Verdict},
    location::Target,
    trust,
};

/// Most redirects that are followed for one request.
pub const REDIRECTS_MAX: usize = 3;
/// Most addresses of one host that are tried.
const ADDRESSES_TRIED_MAX: usize = 4;
/// Largest head of an answer, in bytes.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Most fields in it.
const FIELDS_MAX: usize = 100;
/// Longest time to look up a name.
const LOOKUP_WAIT_MAX: Duration = Duration::from_secs(10);
/// Longest time until one address accepts a connection.
const CONNECT_WAIT_MAX: Duration = Duration::from_secs(10);
/// Longest time until the connection is secure.
const HANDSHAKE_WAIT_MAX: Duration = Duration::from_secs(10);
/// Longest time from the request to the head of the answer.
const HEAD_WAIT_MAX: Duration = Duration::from_secs(30);
/// The same, of an answer that may stand in a queue.
const QUEUE_WAIT_MAX: Duration = Duration::from_mins(15);
/// Longest time in which a body makes no progress worth the name.
const STALL_WAIT_MAX: Duration = Duration::from_secs(30);
/// How servers know us.
const USER_AGENT: &str = concat!("llmos/", env!("CARGO_PKG_VERSION"));

/// What the operator allows.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// Networks that may be reached although they are not public: where the mirror of one's own is.
    pub private: Vec<Network>,
    /// Certificates (PEM) of one's own authority, believed as the system's are.
    pub ca_file: Option<PathBuf>,
    /// The only hosts that may be asked, redirects included; none: all.
    pub hosts: Option<Vec<Listed>>,
}

impl Rules {
    /// Whether a host may be asked, as far as there is a list.
    pub fn lists(&self, host: &Host) -> bool {
        is_listed(self.hosts.as_deref(), host)
    }
}

fn is_listed(hosts: Option<&[Listed]>, host: &Host) -> bool {
    hosts.is_none_or(|hosts| hosts.iter().any(|listed| listed.has(host)))
}

/// What is asked for.
pub struct Fetch {
    /// First byte that is wanted; 0 for the whole. A server may send the whole all the same: see [`Extent`].
    pub from_byte: u64,
    /// The `etag` of an earlier answer: if the file is another one by now, the whole is sent.
    pub if_range: Option<String>,
    /// Media types that are wanted; all if there is none.
    pub accept: Option<String>,
    /// Sent to the host that is asked, and to no other one that it redirects to.
    pub token: Option<Secret>,
    /// Most bytes of the whole file, whatever part of it is asked for.
    pub bytes_max: u64,
}

impl Fetch {
    /// The whole file, if it has no more bytes than these.
    pub fn new(bytes_max: u64) -> Self {
        Self { from_byte: 0, if_range: None, accept: None, token: None, bytes_max }
    }
}

/// An answer whose head is read and checked.
pub struct Answer {
    /// What the body is of the file.
    pub extent: Extent,
    /// Bytes of the body, if the server says so. The body is then exactly that long, or an error.
    pub length: Option<u64>,
    /// Bytes of the whole file, if the server says so.
    pub total: Option<u64>,
    /// What names this version of the file, for [`Fetch::if_range`].
    pub etag: Option<String>,
    /// What the server says that it is.
    pub content_type: Option<String>,
    /// Where it comes from at last. For people; a URL with a signature would not be worth keeping.
    pub place: Place,
    /// The bytes.
    pub body: Body,
    /// Of this answer, and of the redirects before it: the first one first.
    heads: Vec<HeaderMap>,
}

impl Answer {
    /// A field of the first answer that has it, in the order in which they came: the host that was asked goes before
    /// those to which it redirects. None if the value is not plain ASCII.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.heads.iter().find_map(|head| head.get(name))?.to_str().ok()
    }
}

/// Looks up the addresses of a host. Tests bring their own.
type Lookup =
    Arc<dyn Fn(&str, u16) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>> + Send + Sync>;

/// How long what may take.
#[derive(Debug, Clone, Copy)]
struct Waits {
    lookup: Duration,
    connect: Duration,
    handshake: Duration,
    head: Duration,
    stall: Duration,
}

const WAITS: Waits = Waits {
    lookup: LOOKUP_WAIT_MAX,
    connect: CONNECT_WAIT_MAX,
    handshake: HANDSHAKE_WAIT_MAX,
    head: HEAD_WAIT_MAX,
    stall: STALL_WAIT_MAX,
};

/// The door. Holds no connection: each request has its own.
#[derive(Clone)]
pub struct Outbound {
    private: Vec<Network>,
    hosts: Option<Vec<Listed>>,
    tls: TlsConnector,
    lookup: Lookup,
    waits: Waits,
}

impl Outbound {
    /// Reads the certificates, which blocks for some milliseconds. Connects to nobody.
    pub fn new(rules: Rules) -> Result<Self, OutboundError> {
        let tls = trust::connector(rules.ca_file.as_deref())?;
        let Rules { private, hosts, .. } = rules;
        Ok(Self { private, hosts, tls, lookup: Arc::new(system_lookup), waits: WAITS })
    }

    /// Asks for what is at `url`, an `https` address, and returns when the answer begins. Redirects are followed up to
    /// [`REDIRECTS_MAX`], each as a new request that is checked like the first. Dropping the future ends it.
    pub async fn get(&self, url: &Url, fetch: &Fetch) -> Result<Answer, OutboundError> {
        let mut target = Target::new(url)?;
        let mut token = fetch.token.as_ref();
        let mut hosts = Vec::new();
        let mut heads = Vec::new();
        for _ in 0..=REDIRECTS_MAX {
            hosts.push(target.authority().to_owned());
            let request = request(&target, fetch, token)?;
            let (response, line) = self.ask(&target, request, Pace::Steady).await?;
            let (head, incoming) = response.into_parts();
            let place = target.place();
            let asked = Asked { from: fetch.from_byte, bytes_max: fetch.bytes_max };
            let framed = incoming.size_hint().exact();
            let verdict = head::judge(&place, head.status, &head.headers, framed, asked)?;
            let text = |name| head.headers.get(name)?.to_str().ok().map(str::to_owned);
            let (etag, content_type) = (text(header::ETAG), text(header::CONTENT_TYPE));
            heads.push(head.headers);
            match verdict {
                Verdict::Read(shape) => {
                    return Ok(Answer {
                        extent: shape.extent,
                        length: shape.length,
                        total: shape.total,
                        etag,
                        content_type,
                        body: Body::new(incoming, line, place.clone(), &shape, self.waits.stall),
                        place,
                        heads,
                    });
                }
                Verdict::Follow(location) => {
                    let next = target.redirected(&location)?;
                    // Once it is gone it stays gone, also if the way leads back: whoever sent us there chose the path.
                    token = token.filter(|_| next.has_same_host(&target));
                    target = next;
                }
            }
        }
        hosts.push(target.authority().to_owned());
        Err(OutboundError::Redirects { hosts })
    }

    /// Longest time in which a body makes no progress.
    pub(crate) fn stall(&self) -> Duration {
        self.waits.stall
    }

    /// One request on a connection of its own, to an address that was checked.
    pub(crate) async fn ask(
        &self,
        target: &Target,
        request: Request<Full<Bytes>>,
        coming: Pace,
    ) -> Result<(Response<Incoming>, Line), OutboundError> {
        let addresses = self.resolve(target).await?;
        let stream = self.connect(target, &addresses).await?;
        let stream = self.secure(target, stream).await?;
        let place = || target.place();
        let mut settings = http1::Builder::new();
        settings.max_headers(FIELDS_MAX).max_header_size(HEAD_BYTES_MAX).max_buf_size(HEAD_BYTES_MAX);
        let (mut sender, connection) =
            settings.handshake(TokioIo::new(stream)).await.map_err(|error| of_head(place(), &error))?;
        let mut line = Line::new(connection);
        let mut answer = pin!(sender.send_request(request));
        let head_wait = if coming == Pace::AsItComes { QUEUE_WAIT_MAX } else { self.waits.head };
        match timeout(head_wait, line.wait(|cx| answer.as_mut().poll(cx))).await {
            Ok(Ok(response)) => Ok((response, line)),
            Ok(Err(error)) => Err(of_head(place(), &error)),
            Err(_) => Err(late(place(), "no answer began", head_wait)),
        }
    }

    /// The addresses of a host, all of which may be connected to. The name is looked up this one time.
    async fn resolve(&self, target: &Target) -> Result<Vec<Checked>, OutboundError> {
        let (place, port) = (target.place(), target.port());
        if !is_listed(self.hosts.as_deref(), target.host()) {
            return Err(OutboundError::NotListed { place });
        }
        let addresses = match target.host() {
            Host::Ipv4(v4) => vec![SocketAddr::new(IpAddr::V4(*v4), port)],
            Host::Ipv6(v6) => vec![SocketAddr::new(IpAddr::V6(*v6), port)],
            Host::Domain(name) => match timeout(self.waits.lookup, (self.lookup)(name, port)).await {
                Ok(Ok(addresses)) => addresses,
                Ok(Err(error)) => {
                    let why = format!("its name cannot be looked up ({error})");
                    return Err(OutboundError::Unreachable { place, why });
                }
                Err(_) => return Err(late(place, "its name was not found", self.waits.lookup)),
            },
        };
        if addresses.is_empty() {
            return Err(OutboundError::Unreachable { place, why: "its name has no address".to_owned() });
        }
        address::check(&place, &addresses, &self.private)
    }

    /// A connection to the first address that accepts one.
    async fn connect(&self, target: &Target, addresses: &[Checked]) -> Result<TcpStream, OutboundError> {
        let mut tried = Vec::new();
        for address in addresses.iter().take(ADDRESSES_TRIED_MAX).map(|checked| checked.address()) {
            match timeout(self.waits.connect, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    // Without it a request may wait for an acknowledgement; it works either way.
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Ok(Err(error)) => tried.push(format!("{address}: {error}")),
                Err(_) => {
                    tried.push(format!("{address}: no answer in {} s", self.waits.connect.as_secs_f32()));
                }
            }
        }
        Err(OutboundError::Unreachable { place: target.place(), why: tried.join(", ") })
    }

    async fn secure(
        &self,
        target: &Target,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, OutboundError> {
        let place = target.place();
        let name = match target.host() {
            Host::Domain(name) => ServerName::try_from(name.clone()).map_err(|_| OutboundError::BadUrl {
                place: place.clone(),
                why: "its host is no name for DNS",
            })?,
            Host::Ipv4(v4) => ServerName::from(IpAddr::V4(*v4)),
            Host::Ipv6(v6) => ServerName::from(IpAddr::V6(*v6)),
        };
        match timeout(self.waits.handshake, self.tls.connect(name, stream)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) if is_tls(&error) => {
                Err(OutboundError::Insecure { place, why: error.to_string() })
            }
            Ok(Err(error)) => {
                let why = format!("the connection broke before it was secure ({error})");
                Err(OutboundError::Unreachable { place, why })
            }
            Err(_) => Err(late(place, "the connection was not secure", self.waits.handshake)),
        }
    }
}

/// What the operating system knows: its hosts file, then DNS.
fn system_lookup(host: &str, port: u16) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>> {
    let host = host.to_owned();
    Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
}

fn request(
    target: &Target,
    fetch: &Fetch,
    token: Option<&Secret>,
) -> Result<Request<Full<Bytes>>, OutboundError> {
    let mut fields = common(target, fetch.accept.as_deref().unwrap_or("*/*"))?;
    if fetch.from_byte > 0 {
        fields.insert(header::RANGE, value(format!("bytes={}-", fetch.from_byte).as_bytes(), "the range")?);
        if let Some(etag) = &fetch.if_range {
            fields.insert(header::IF_RANGE, value(etag.as_bytes(), "`if_range`")?);
        }
    }
    if let Some(token) = token {
        let mut bearer = value(&[b"Bearer ", token.expose()].concat(), "the token")?;
        bearer.set_sensitive(true);
        fields.insert(header::AUTHORIZATION, bearer);
    }
    let mut request = Request::new(Full::default());
    *request.uri_mut() = resource(target)?;
    *request.headers_mut() = fields;
    Ok(request)
}

/// What every request says.
pub(crate) fn common(target: &Target, accept: &str) -> Result<HeaderMap, OutboundError> {
    let mut fields = HeaderMap::new();
    fields.insert(header::HOST, value(target.authority().as_bytes(), "the host")?);
    fields.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    fields.insert(header::ACCEPT, value(accept.as_bytes(), "`accept`")?);
    fields.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    fields.insert(header::CONNECTION, HeaderValue::from_static("close"));
    Ok(fields)
}

pub(crate) fn value(text: &[u8], what: &'static str) -> Result<HeaderValue, OutboundError> {
    HeaderValue::from_bytes(text).map_err(|_| OutboundError::BadField { what })
}

/// Where a request goes to at its host.
pub(crate) fn resource(target: &Target) -> Result<Uri, OutboundError> {
    let why = "its path contains characters that HTTP does not allow";
    target.resource().parse().map_err(|_| OutboundError::BadUrl { place: target.place(), why })
}

fn late(place: Place, what: &str, wait: Duration) -> OutboundError {
    OutboundError::Unreachable { place, why: format!("{what} within {} s", wait.as_secs_f32()) }
}

fn is_tls(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.downcast_ref::<rustls::Error>().is_some())
}

/// What kept the head of an answer from being read.
fn of_head(place: Place, error: &hyper::Error) -> OutboundError {
    let why = match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    if error.is_parse_too_large() {
        let why = format!("its head has more than {HEAD_BYTES_MAX} bytes or {FIELDS_MAX} fields");
        OutboundError::BadAnswer { place, why }
    } else if error.is_parse() {
        OutboundError::BadAnswer { place, why }
    } else {
        OutboundError::Unreachable { place, why: format!("the connection broke before an answer ({why})") }
    }
}

#[cfg(test)]
mod tests;
