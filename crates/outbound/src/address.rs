//! Which addresses may be reached: the public ones, and those in networks that the operator named.
//!
//! Pure. What is not public is a table here and not `std`'s `is_global`, which is not stable; its rows are IANA's
//! special-purpose registries for IPv4 and IPv6 (RFC 6890 and its updates), and a few addresses that look public
//! and are not.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

use crate::{OutboundError, Place};

/// Shortest prefix of an IPv4 network that may be named: wide enough for `10.0.0.0/8`, too narrow for "everything".
const PREFIX_MIN_V4: u8 = 8;
/// The same for IPv6: wide enough for `fc00::/7`.
const PREFIX_MIN_V6: u8 = 7;

/// A network in CIDR notation, such as `10.20.0.0/16`, `fd12:3456::/32`, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    base: IpAddr,
    prefix: u8,
}

impl Network {
    const fn v4(base: [u8; 4], prefix: u8) -> Self {
        let [first, second, third, fourth] = base;
        Self { base: IpAddr::V4(Ipv4Addr::new(first, second, third, fourth)), prefix }
    }

    const fn v6(front: [u16; 6], prefix: u8) -> Self {
        let [first, second, third, fourth, fifth, sixth] = front;
        let base = Ipv6Addr::new(first, second, third, fourth, fifth, sixth, 0, 0);
        Self { base: IpAddr::V6(base), prefix }
    }

    /// Whether `address` is in it. IPv4 that is written as IPv6 (`::ffff:10.0.0.1`) is in no network of IPv4 here.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.base, address) {
            (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => {
                (bits(self.base) ^ bits(address)) & mask(address, self.prefix) == 0
            }
            _ => false,
        }
    }
}

/// Bits of an address; those of IPv4 are the lowest 32.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// Ones where the prefix is.
fn mask(address: IpAddr, prefix: u8) -> u128 {
    let host_bits = u32::from(width(address).saturating_sub(prefix));
    u128::MAX.checked_shl(host_bits).unwrap_or(0)
}

impl FromStr for Network {
    type Err = OutboundError;

    /// Strict: a network whose address has bits behind the prefix is a typing error, not a wish.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = |why: String| OutboundError::BadNetwork { text: text.to_owned(), why };
        let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
        let base: IpAddr =
            address.parse().map_err(|_| refuse("it does not begin with an address".to_owned()))?;
        if canonical(base) != base {
            return Err(refuse(format!("it is IPv4 in IPv6's notation; write {}", canonical(base))));
        }
        let prefix = match prefix {
            None => width(base),
            Some(digits) => digits
                .parse()
                .ok()
                .filter(|prefix| *prefix <= width(base) && digits.bytes().all(|digit| digit.is_ascii_digit()))
                .ok_or_else(|| refuse(format!("behind the slash belongs a number up to {}", width(base))))?,
        };
        let least = if base.is_ipv4() { PREFIX_MIN_V4 } else { PREFIX_MIN_V6 };
        if prefix < least {
            return Err(refuse(format!("it is too wide; the widest that may be named is /{least}")));
        }
        let inside = bits(base) & mask(base, prefix);
        if inside != bits(base) {
            let first = match base {
                IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from_bits(inside as u32)),
                IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from_bits(inside)),
            };
            return Err(refuse(format!("{base} is inside that network; the network is {first}/{prefix}")));
        }
        Ok(Self { base, prefix })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

/// IPv4 that nobody on the internet is at, and what it is instead.
const NOT_PUBLIC_V4: [(Network, &str); 18] = [
    (Network::v4([0, 0, 0, 0], 8), "an address of this machine"),
    (Network::v4([10, 0, 0, 0], 8), "private"),
    (Network::v4([100, 64, 0, 0], 10), "shared by a provider's customers (carrier-grade NAT)"),
    (Network::v4([127, 0, 0, 0], 8), "this machine itself (loopback)"),
    // Also where clouds serve the machine's own credentials: 169.254.169.254.
    (Network::v4([169, 254, 0, 0], 16), "link-local"),
    // Not reserved by anybody, but on Azure's machines it is the platform itself.
    (Network::v4([168, 63, 129, 16], 32), "a cloud's service for its own machines"),
    (Network::v4([172, 16, 0, 0], 12), "private"),
    (Network::v4([192, 0, 0, 0], 24), "reserved for protocols"),
    (Network::v4([192, 0, 2, 0], 24), "for documentation"),
    (Network::v4([192, 31, 196, 0], 24), "a sink for queries about private addresses"),
    (Network::v4([192, 88, 99, 0], 24), "a retired relay (6to4)"),
    (Network::v4([192, 168, 0, 0], 16), "private"),
    (Network::v4([198, 18, 0, 0], 15), "for benchmarks"),
    (Network::v4([198, 51, 100, 0], 24), "for documentation"),
    (Network::v4([203, 0, 113, 0], 24), "for documentation"),
    (Network::v4([224, 0, 0, 0], 4), "multicast"),
    // Before the wider 240.0.0.0/4, so that the text is exact.
    (Network::v4([255, 255, 255, 255], 32), "broadcast"),
    (Network::v4([240, 0, 0, 0], 4), "reserved"),
];

/// The same for IPv6, as far as it needs a name: all that is outside [`GLOBAL_V6`] is refused.
const NOT_PUBLIC_V6: [(Network, &str); 15] = [
    (Network::v6([0, 0, 0, 0, 0, 0], 96), "an address of this machine, or IPv4 in a retired notation"),
    // RFC 8215: where in it the IPv4 address stands is the operator's choice, so that it cannot be judged.
    (Network::v6([0x64, 0xff9b, 1, 0, 0, 0], 48), "a translator to IPv4 for local use (NAT64)"),
    (Network::v6([0x100, 0, 0, 0, 0, 0], 64), "for discarding"),
    (Network::v6([0x2001, 0, 0, 0, 0, 0], 32), "a tunnel (Teredo)"),
    (Network::v6([0x2001, 2, 0, 0, 0, 0], 48), "for benchmarks"),
    (Network::v6([0x2001, 0xdb8, 0, 0, 0, 0], 32), "for documentation"),
    (Network::v6([0x2001, 0, 0, 0, 0, 0], 23), "reserved for protocols"),
    (Network::v6([0x3fff, 0, 0, 0, 0, 0], 20), "for documentation"),
    (Network::v6([0x5f00, 0, 0, 0, 0, 0], 16), "for segment routing"),
    (Network::v6([0xfc00, 0, 0, 0, 0, 0], 7), "private (unique local)"),
    (Network::v6([0xfe80, 0, 0, 0, 0, 0], 10), "link-local"),
    (Network::v6([0xfec0, 0, 0, 0, 0, 0], 10), "private (site-local)"),
    (Network::v6([0xff00, 0, 0, 0, 0, 0], 8), "multicast"),
    (Network::v6([0x2620, 0x4f, 0x8000, 0, 0, 0], 48), "a sink for queries about private addresses"),
    (Network::v6([0, 0, 0, 0, 0xffff, 0], 96), "IPv4 in a translator's notation"),
];

/// All IPv6 that is given out to the internet so far.
const GLOBAL_V6: Network = Network::v6([0x2000, 0, 0, 0, 0, 0], 3);
/// NAT64 (RFC 6052): the last 32 bits are the IPv4 address that it leads to.
const NAT64: Network = Network::v6([0x64, 0xff9b, 0, 0, 0, 0], 96);
/// 6to4 (RFC 3056): the 32 bits behind the prefix are the IPv4 address that it leads to.
const SIX_TO_FOUR: Network = Network::v6([0x2002, 0, 0, 0, 0, 0], 16);

/// IPv4 that is written as IPv6 (`::ffff:10.0.0.1`) is IPv4: the system connects to just that.
fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// The IPv4 address that packets to `address` end at, if it is a translator's or a tunnel's.
fn embedded(address: IpAddr) -> Option<IpAddr> {
    let IpAddr::V6(v6) = address else { return None };
    let behind = |shift: u32| Some(IpAddr::V4(Ipv4Addr::from_bits((v6.to_bits() >> shift) as u32)));
    if NAT64.contains(address) {
        behind(0)
    } else if SIX_TO_FOUR.contains(address) {
        behind(80)
    } else {
        None
    }
}

/// What an address is if it is not a public one.
fn not_public(address: IpAddr) -> Option<&'static str> {
    let of = |table: &[(Network, &'static str)]| {
        table.iter().find(|(network, _)| network.contains(address)).map(|(_, what)| *what)
    };
    match address {
        IpAddr::V4(_) => of(&NOT_PUBLIC_V4),
        IpAddr::V6(_) => of(&NOT_PUBLIC_V6)
            .or_else(|| (!GLOBAL_V6.contains(address)).then_some("not given out to anybody")),
    }
}

/// What keeps us from connecting to `address`, or nothing.
fn refusal(address: IpAddr, private: &[Network]) -> Option<&'static str> {
    let address = canonical(address);
    if private.iter().any(|network| network.contains(address)) {
        return None;
    }
    match embedded(address) {
        Some(v4) => refusal(v4, private),
        None => not_public(address),
    }
}

/// An address that passed [`check`]. A connection takes nothing else.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Checked(SocketAddr);

impl Checked {
    pub(crate) fn address(self) -> SocketAddr {
        self.0
    }
}

/// Lets all addresses of a host pass, or none: a name that leads both outside and inside is not a mistake that we
/// should pick the better half of.
pub(crate) fn check(
    place: &Place,
    addresses: &[SocketAddr],
    private: &[Network],
) -> Result<Vec<Checked>, OutboundError> {
    let pass = |address: &SocketAddr| match refusal(address.ip(), private) {
        None => Ok(Checked(*address)),
        Some(what) => Err(OutboundError::NotPublic { place: place.clone(), address: address.ip(), what }),
    };
    addresses.iter().map(pass).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_public_is_refused_with_its_name() {
        let cases = [
            ("0.0.0.0", "this machine"),
            ("0.1.2.3", "this machine"),
            ("10.0.0.1", "private"),
            ("10.255.255.255", "private"),
            ("100.64.0.1", "carrier-grade"),
            ("100.100.100.200", "carrier-grade"),
            ("100.127.255.255", "carrier-grade"),
            ("127.0.0.1", "loopback"),
            ("127.255.255.254", "loopback"),
            ("168.63.129.16", "cloud"),
            ("169.254.0.1", "link-local"),
            ("169.254.169.254", "link-local"),
            ("172.16.0.1", "private"),
            ("172.31.255.255", "private"),
            ("192.0.0.170", "protocols"),
            ("192.0.2.1", "documentation"),
            ("192.31.196.1", "sink"),
            ("192.88.99.1", "6to4"),
            ("192.168.0.1", "private"),
            ("198.18.0.1", "benchmarks"),
            ("198.19.255.255", "benchmarks"),
            ("198.51.100.7", "documentation"),
            ("203.0.113.7", "documentation"),
            ("224.0.0.1", "multicast"),
            ("239.255.255.255", "multicast"),
            ("240.0.0.1", "reserved"),
            ("255.255.255.254", "reserved"),
            ("255.255.255.255", "broadcast"),
            ("::", "this machine"),
            ("::1", "this machine"),
            ("::10.0.0.1", "retired notation"),
            ("::8.8.8.8", "retired notation"),
            ("::ffff:10.0.0.1", "private"),
            ("::ffff:127.0.0.1", "loopback"),
            ("::ffff:a9fe:a9fe", "link-local"),
            ("::ffff:0:8.8.8.8", "translator"),
            ("64:ff9b::10.0.0.1", "private"),
            ("64:ff9b::7f00:1", "loopback"),
            ("64:ff9b:1::8.8.8.8", "NAT64"),
            ("64:ff9b:2::1", "not given out"),
            ("100::1", "discarding"),
            ("2001::1", "Teredo"),
            ("2001:2::1", "benchmarks"),
            ("2001:10::1", "protocols"),
            ("2001:20::1", "protocols"),
            ("2001:db8::1", "documentation"),
            ("2002:0a00:0001::1", "private"),
            ("2002:7f00:0001::", "loopback"),
            ("2002:a9fe:a9fe::1", "link-local"),
            ("2620:4f:8000::1", "sink"),
            ("3fff::1", "documentation"),
            ("4000::1", "not given out"),
            ("5f00::1", "segment routing"),
            ("fc00::1", "unique local"),
            ("fd00:ec2::254", "unique local"),
            ("fe80::1", "link-local"),
            ("febf::1", "link-local"),
            ("fec0::1", "site-local"),
            ("ff02::1", "multicast"),
        ];
        for (address, says) in cases {
            let what = refusal(address.parse().unwrap(), &[]);
            assert!(what.is_some_and(|what| what.contains(says)), "{address}: {what:?}");
        }
    }

    #[test]
    fn the_public_ones_pass_up_to_the_border() {
        let public = [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "168.63.129.15",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2001:200::1",
            "2001:4860:4860::8888",
            "2606:4700::1111",
            "2a00:1450::1",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2002:808:808::1",
        ];
        for address in public {
            assert_eq!(refusal(address.parse().unwrap(), &[]), None, "{address}");
        }
    }

    #[test]
    fn a_named_network_may_be_reached_and_nothing_beside_it() {
        let private: Vec<Network> =
            ["10.20.0.0/16", "192.168.1.7", "fd12::/32"].map(|text| text.parse().unwrap()).into();
        let cases = [
            ("10.20.0.0", true),
            ("10.20.255.255", true),
            ("10.21.0.0", false),
            ("10.19.255.255", false),
            ("192.168.1.7", true),
            ("192.168.1.8", false),
            ("fd12:0:1::1", true),
            ("fd12:1::1", false),
            ("::ffff:10.20.3.4", true),
            ("::ffff:10.21.3.4", false),
            ("64:ff9b::10.20.3.4", true),
            ("2002:0a14:0304::1", true),
            ("127.0.0.1", false),
            ("8.8.8.8", true),
        ];
        for (address, passes) in cases {
            assert_eq!(refusal(address.parse().unwrap(), &private).is_none(), passes, "{address}");
        }
    }

    #[test]
    fn one_bad_address_refuses_the_host() {
        let place = Place::of(&"https://models.test/".parse().unwrap());
        let addresses = |list: &[&str]| list.iter().map(|one| one.parse().unwrap()).collect::<Vec<_>>();
        let good = addresses(&["8.8.8.8:443", "[2606:4700::1]:443"]);
        assert_eq!(check(&place, &good, &[]).unwrap().len(), 2);
        let mixed = addresses(&["8.8.8.8:443", "10.0.0.1:443"]);
        let error = check(&place, &mixed, &[]).unwrap_err().to_string();
        assert!(error.contains("models.test") && error.contains("10.0.0.1"), "{error}");
    }

    #[test]
    fn networks_are_read_strictly() {
        for text in ["10.0.0.0/8", "10.1.2.3/32", "fd00::/8", "fc00::/7", "::1/128", "127.0.0.0/8"] {
            assert_eq!(text.parse::<Network>().unwrap().to_string(), text);
        }
        assert_eq!("10.1.2.3".parse::<Network>().unwrap().to_string(), "10.1.2.3/32");
        let cases = [
            ("", "begin with an address"),
            ("mirror", "begin with an address"),
            ("10.0.0.0.0/8", "begin with an address"),
            ("010.0.0.0/8", "begin with an address"),
            ("10.0.0.0/33", "up to 32"),
            ("10.0.0.0/+8", "up to 32"),
            ("10.0.0.0/", "up to 32"),
            ("10.0.0.0/8/8", "up to 32"),
            ("fd00::/129", "up to 128"),
            ("0.0.0.0/0", "widest that may be named is /8"),
            ("::/0", "widest that may be named is /7"),
            ("10.1.0.0/8", "the network is 10.0.0.0/8"),
            ("fd00::1/64", "the network is fd00::/64"),
            ("::ffff:10.0.0.0/104", "write 10.0.0.0"),
        ];
        for (text, says) in cases {
            let error = text.parse::<Network>().unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
