//! Which addresses a connection may go to: the public ones, unless the operator names the host.
//!
//! The check sits in the resolver, so that it judges the very addresses that are connected to; a name that is public
//! when it is checked and private when it is used (DNS rebinding) gains nothing. Literal addresses never reach a
//! resolver and are judged from the URL. It is not a firewall: the network policy of the Pod should say the same again.
//!
//! Ranges: the IANA registries of special-purpose addresses,
//! [IPv4](https://www.iana.org/assignments/iana-ipv4-special-registry) and
//! [IPv6](https://www.iana.org/assignments/iana-ipv6-special-registry).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use thiserror::Error;

/// Which addresses a client connects to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Private networks and this machine too, for hosts that the operator named.
    Private,
    /// Globally reachable addresses.
    Public,
}

impl Reach {
    /// Whether a connection to the address is allowed.
    ///
    /// Link-local addresses never are: clouds keep the credentials of the machine there, and no registry.
    pub(crate) fn allows(self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        match self {
            Self::Public => is_public(address),
            Self::Private => match address {
                IpAddr::V4(address) => {
                    !address.is_link_local() && !address.is_multicast() && !is_this_or_reserved(address)
                }
                IpAddr::V6(address) => {
                    !address.is_unicast_link_local()
                        && !address.is_multicast()
                        && !address.is_unspecified()
                        && embedded(address).is_none_or(|inner| self.allows(IpAddr::V4(inner)))
                }
            },
        }
    }
}

/// The error of a resolver that found an address out of reach; the transport looks for it among an error's sources.
#[derive(Debug, Error)]
#[error("{address} is out of reach")]
pub(crate) struct OutOfReach {
    pub(crate) address: IpAddr,
}

/// The system's resolver, less the addresses that are out of reach.
#[derive(Debug)]
pub(crate) struct CheckedResolver {
    pub(crate) reach: Reach,
}

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.reach;
        Box::pin(async move {
            let addresses: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            // One address out of reach refuses the name: which of several is used depends on chance.
            match addresses.iter().find(|address| !reach.allows(address.ip())) {
                Some(address) => Err(OutOfReach { address: address.ip() }.into()),
                None => Ok(Box::new(addresses.into_iter()) as Addrs),
            }
        })
    }
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [first, second, third, _] = address.octets();
    let special = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_documentation()
        || is_this_or_reserved(address)
        // Carrier-grade NAT, which some clusters use for Pods and some clouds for their metadata.
        || (first == 100 && (64..128).contains(&second))
        // Protocol assignments, the old 6to4 relays, and benchmarking.
        || (first == 192 && second == 0 && third == 0)
        || (first == 192 && second == 88 && third == 99)
        || (first == 198 && (18..20).contains(&second));
    !special
}

/// `0.0.0.0/8`, which Linux takes for this machine, and `240.0.0.0/4` with the broadcast address.
fn is_this_or_reserved(address: Ipv4Addr) -> bool {
    let [first, ..] = address.octets();
    first == 0 || first >= 240
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    // Only 2000::/3 is handed out; this excludes loopback, unspecified, unique-local, link-local and multicast.
    // NAT64 is the one translation whose prefix lies outside.
    match embedded(address) {
        Some(inner) => is_public_v4(inner) && first == 0x64,
        None => {
            first & 0xe000 == 0x2000
                // Teredo and other protocol assignments, documentation.
                && !(first == 0x2001 && second < 0x200)
                && !(first == 0x2001 && second == 0xdb8)
                && !(first == 0x3fff && second < 0x1000)
        }
    }
}

/// The IPv4 address that a translator would connect to: IPv4-compatible, NAT64 (`64:ff9b::/96`), 6to4 (`2002::/16`).
/// Mapped addresses are made canonical before.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let join = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match address.segments() {
        [0, 0, 0, 0, 0, 0, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] if address != Ipv6Addr::LOCALHOST => {
            Some(join(high, low))
        }
        [0x2002, high, low, ..] => Some(join(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reaches_public_addresses_and_named_private_ones() {
        let cases = [
            // address, public, private
            ("140.82.112.33", true, true),
            ("100.63.0.1", true, true),
            ("100.128.0.1", true, true),
            ("172.32.0.1", true, true),
            ("2606:50c0:8000::153", true, true),
            ("64:ff9b::8c52:7021", true, true),
            ("10.0.0.1", false, true),
            ("172.16.0.1", false, true),
            ("192.168.1.1", false, true),
            ("127.0.0.1", false, true),
            ("127.255.0.1", false, true),
            ("100.64.0.1", false, true),
            ("::1", false, true),
            ("fd00::1", false, true),
            ("::ffff:127.0.0.1", false, true),
            ("::ffff:10.0.0.1", false, true),
            ("64:ff9b::7f00:1", false, true),
            ("2002:7f00:1::", false, true),
            ("::7f00:1", false, true),
            ("2001:db8::1", false, true),
            ("2001::1", false, true),
            ("192.0.2.1", false, true),
            ("198.18.0.1", false, true),
            ("169.254.169.254", false, false),
            ("::ffff:169.254.169.254", false, false),
            ("64:ff9b::a9fe:a9fe", false, false),
            ("2002:a9fe:a9fe::", false, false),
            ("fe80::1", false, false),
            ("0.0.0.0", false, false),
            ("0.1.2.3", false, false),
            ("::", false, false),
            ("224.0.0.1", false, false),
            ("ff02::1", false, false),
            ("255.255.255.255", false, false),
        ];
        for (text, public, private) in cases {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(Reach::Public.allows(address), public, "{text} publicly");
            assert_eq!(Reach::Private.allows(address), private, "{text} for a named host");
        }
    }
}
