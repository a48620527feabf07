//! Banned addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::primitives::codec::{Decode, Encode};
use crate::primitives::time::UnixTime;
use std::time::Duration;

/// Most bans kept; when there are more, those that end first give way.
pub const MAX_BANS: usize = 10_000;
/// For how long misbehaviour is banned, and the default over RPC: a day.
pub const BAN: Duration = Duration::from_secs(24 * 3600);

/// Addresses that share their first bits; one address shares all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, Hash)]
pub struct Subnet {
    /// The first address; IPv4 never in IPv6 form.
    ip: IpAddr,
    /// How many bits are shared.
    prefix: u8,
}

/// Text that is no subnet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{got:?} is neither an address nor a subnet like 10.1.0.0/16")]
pub struct SubnetParseError {
    /// The text.
    pub got: String,
}

impl Subnet {
    /// The subnet of `prefix` bits around an address; more bits than there are count as all.
    pub fn new(ip: IpAddr, prefix: u8) -> Self {
        let shift = |bits: u8| u32::from(bits - prefix.min(bits));
        match ip.to_canonical() {
            IpAddr::V4(ip) => {
                let bits = ip.to_bits().checked_shr(shift(32)).unwrap_or(0).checked_shl(shift(32)).unwrap_or(0);
                Self { ip: Ipv4Addr::from_bits(bits).into(), prefix: prefix.min(32) }
            }
            IpAddr::V6(ip) => {
                let bits = ip.to_bits().checked_shr(shift(128)).unwrap_or(0).checked_shl(shift(128)).unwrap_or(0);
                Self { ip: Ipv6Addr::from_bits(bits).into(), prefix: prefix.min(128) }
            }
        }
    }

    /// One address.
    pub fn single(ip: IpAddr) -> Self {
        Self::new(ip, 128)
    }

    /// The addresses of one customer, between which it moves at no cost: one of IPv4, a /64 of IPv6 (RFC 6177, RFC 8981).
    pub fn host(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            ip @ IpAddr::V4(_) => Self::new(ip, 32),
            ip @ IpAddr::V6(_) => Self::new(ip, 64),
        }
    }

    /// The part of the net whose addresses are likely in one hand: 16 bits of IPv4, 32 of IPv6.
    pub fn group(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            ip @ IpAddr::V4(_) => Self::new(ip, 16),
            ip @ IpAddr::V6(_) => Self::new(ip, 32),
        }
    }

    /// Whether an address is one of them.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        ip.is_ipv4() == self.ip.is_ipv4() && Self::new(ip, self.prefix) == *self
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.prefix)
    }
}

impl FromStr for Subnet {
    type Err = SubnetParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || SubnetParseError { got: text.chars().take(80).collect() };
        let (ip, suffix) = match text.split_once('/') {
            Some((ip, suffix)) => (ip, Some(suffix)),
            None => (text, None),
        };
        let ip: IpAddr = ip.parse().map_err(|_| error())?;
        let bits = if ip.is_ipv4() { 32 } else { 128 };
        let prefix = match (suffix, ip) {
            (None, _) => bits,
            (Some(mask), IpAddr::V4(_)) if mask.contains('.') => {
                mask.parse().ok().and_then(prefix_of).ok_or_else(error)?
            }
            (Some(prefix), _) => prefix.parse().map_err(|_| error())?,
        };
        match prefix {
            prefix if prefix <= bits => Ok(Self::new(ip, prefix)),
            _ => Err(error()),
        }
    }
}

/// The length of the prefix that a netmask stands for; `None` if its ones are not all at the start.
fn prefix_of(mask: Ipv4Addr) -> Option<u8> {
    let mask = u32::from(mask);
    (mask.leading_ones() + mask.trailing_zeros() == u32::BITS).then_some(mask.leading_ones() as u8)
}

/// A ban.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Ban {
    /// When it was made.
    pub created: UnixTime,
    /// When it ends.
    pub until: UnixTime,
    /// Why.
    pub reason: String,
}

/// The bans in force.
#[derive(Debug, Default)]
pub(crate) struct Bans {
    bans: BTreeMap<Subnet, Ban>,
    /// Subnets whose bans changed since they were saved.
    changed: BTreeSet<Subnet>,
}

impl Bans {
    /// Bans a subnet, in place of an earlier ban of exactly it.
    pub(crate) fn insert(&mut self, subnet: Subnet, ban: Ban) {
        self.bans.insert(subnet, ban);
        self.changed.insert(subnet);
        while self.bans.len() > MAX_BANS {
            let Some(first) = self.bans.iter().min_by_key(|(_, ban)| ban.until).map(|(s, _)| *s) else { break };
            self.remove(&first);
        }
    }

    /// Ends the ban of exactly this subnet; `false` if there is none.
    pub(crate) fn remove(&mut self, subnet: &Subnet) -> bool {
        self.changed.insert(*subnet);
        self.bans.remove(subnet).is_some()
    }

    /// Ends all.
    pub(crate) fn clear(&mut self) {
        self.changed.extend(self.bans.keys());
        self.bans.clear();
    }

    /// Whether an address is banned at `now`.
    pub(crate) fn contains(&self, ip: IpAddr, now: UnixTime) -> bool {
        self.bans.iter().any(|(subnet, ban)| ban.until > now && subnet.contains(ip))
    }

    /// Forgets those that have ended.
    pub(crate) fn expire(&mut self, now: UnixTime) {
        let ended: Vec<Subnet> = self.bans.iter().filter(|(_, ban)| ban.until <= now).map(|(s, _)| *s).collect();
        for subnet in ended {
            self.remove(&subnet);
        }
    }

    /// The ban of exactly this subnet.
    pub(crate) fn get(&self, subnet: &Subnet) -> Option<&Ban> {
        self.bans.get(subnet)
    }

    /// All of them, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Subnet, &Ban)> {
        self.bans.iter()
    }

    /// Subnets whose bans changed since this was last asked.
    pub(crate) fn take_changed(&mut self) -> BTreeSet<Subnet> {
        std::mem::take(&mut self.changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn subnets_hold_their_addresses_and_no_others() {
        for (subnet, inside, outside) in [
            ("10.1.2.3", "10.1.2.3", "10.1.2.4"),
            ("10.1.2.3/16", "10.1.255.0", "10.2.0.0"),
            ("0.0.0.0/0", "255.1.2.3", "::1"),
            ("10.1.2.3/255.255.0.0", "10.1.255.0", "10.2.0.0"),
            ("10.1.2.3/0.0.0.0", "255.1.2.3", "::1"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
            ("::/0", "2001::", "1.2.3.4"),
            ("10.0.0.0/8", "::ffff:10.9.9.9", "::10.9.9.9"),
        ] {
            let subnet: Subnet = subnet.parse().unwrap();
            assert!(subnet.contains(ip(inside)), "{subnet} {inside}");
            assert!(!subnet.contains(ip(outside)), "{subnet} {outside}");
            assert_eq!(subnet.to_string().parse(), Ok(subnet));
        }
        for text in [
            "",
            "10.0.0",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/-1",
            "10.0.0.0/8/8",
            "localhost",
            "10.0.0.0/255.0.255.0",
            "::/255.0.0.0",
        ] {
            assert!(text.parse::<Subnet>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_host_is_an_ipv4_address_or_an_ipv6_64() {
        for (a, b, same) in [
            ("10.1.2.3", "10.1.2.4", false),
            ("10.1.2.3", "::ffff:10.1.2.3", true),
            ("2001:db8:0:1::1", "2001:db8:0:1:ffff:ffff:ffff:ffff", true),
            ("2001:db8:0:1::1", "2001:db8:0:2::1", false),
        ] {
            assert_eq!(Subnet::host(ip(a)) == Subnet::host(ip(b)), same, "{a} {b}");
        }
    }

    #[test]
    fn bans_end_and_their_number_is_bounded() {
        let mut bans = Bans::default();
        let ban = |until| Ban { created: UnixTime::EPOCH, until, reason: String::new() };
        bans.insert("10.0.0.0/8".parse().unwrap(), ban(UnixTime::from_secs(100)));
        assert!(
            bans.contains(ip("10.1.1.1"), UnixTime::from_secs(99))
                && !bans.contains(ip("10.1.1.1"), UnixTime::from_secs(100))
        );
        for n in 0..MAX_BANS as u32 {
            bans.insert(Subnet::single(Ipv4Addr::from_bits(n).into()), ban(UnixTime::from_secs(1_000 + u64::from(n))));
        }
        assert_eq!(bans.iter().count(), MAX_BANS);
        assert!(!bans.contains(ip("10.1.1.1"), UnixTime::EPOCH), "the first to end gave way");
        bans.expire(UnixTime::from_secs(1_500));
        assert_eq!(bans.iter().count(), MAX_BANS - 501);
    }
}
