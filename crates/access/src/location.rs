//! Where a caller is, as far as the address at the other end of their connection says.

use std::{net::IpAddr, sync::Arc};

use outbound::Network;

/// A place that policies can speak of by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// What policies call it.
    pub name: String,
    /// The addresses there.
    pub networks: Vec<Network>,
}

/// All places. The first that has an address is where it is.
#[derive(Default)]
pub(crate) struct Locations(Vec<(Arc<str>, Vec<Network>)>);

impl Locations {
    pub(crate) fn new(locations: Vec<Location>) -> Self {
        Self(locations.into_iter().map(|location| (location.name.into(), location.networks)).collect())
    }

    /// The place of an address; none if it is at none.
    pub(crate) fn of(&self, address: Option<IpAddr>) -> Option<Arc<str>> {
        // An address of version 4 may come written as one of version 6.
        let address = address?.to_canonical();
        let here = |networks: &[Network]| networks.iter().any(|network| network.contains(address));
        self.0.iter().find(|(_, networks)| here(networks)).map(|(name, _)| Arc::clone(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_place_that_has_an_address_is_where_it_is() {
        let location = |name: &str, networks: &[&str]| Location {
            name: name.to_owned(),
            networks: networks.iter().map(|network| network.parse().unwrap()).collect(),
        };
        let all =
            vec![location("ward-3", &["10.1.3.0/24"]), location("clinic", &["10.1.0.0/16", "2001:db8::/32"])];
        let locations = Locations::new(all);
        for (address, expected) in [
            ("10.1.3.7", Some("ward-3")),
            ("::ffff:10.1.3.7", Some("ward-3")),
            ("10.1.4.7", Some("clinic")),
            ("2001:db8::1", Some("clinic")),
            ("10.2.0.1", None),
        ] {
            assert_eq!(locations.of(Some(address.parse().unwrap())).as_deref(), expected, "{address}");
        }
        assert_eq!(locations.of(None), None);
    }
}
