//! Limit of a listener's open connections that never delays a new one: it closes the connection
//! that is idle for longest.
//!
//! It is for a listener of short requests that have to be served however many others are connected: with a
//! semaphore, idle connections would block probes. A new connection first evicts one of its own
//! address if that is crowded, so that one peer cannot evict the connections of others, and
//! otherwise one of the address with the most connections.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use parking_lot::Mutex;

use super::connection_use::ConnectionUse;
use super::peer::PeerInfo;

/// Bits of an IPv6 address that one peer can choose at will: the interface identifier (RFC 4291
/// section 2.5.1).
const INTERFACE_BITS: u32 = 64;

/// See the [module](self).
#[derive(Debug)]
pub struct EvictingLimit {
    max: usize,
    max_per_address: usize,
    connections: Mutex<Vec<TrackedConnection>>,
    clock: Arc<AtomicU64>,
}

#[derive(Debug)]
struct TrackedConnection {
    peer: PeerInfo,
    /// See [`counted_address`]; `None` for a Unix socket.
    address: Option<IpAddr>,
    usage: Arc<ConnectionUse>,
}

impl TrackedConnection {
    fn evict(self) -> PeerInfo {
        self.usage.abort();
        self.peer
    }
}

impl EvictingLimit {
    /// A limit of `max` connections, and of `max_per_address` for one IPv4 address or one IPv6 /64
    /// network.
    pub(crate) fn new(max: usize, max_per_address: usize) -> Arc<Self> {
        Arc::new(EvictingLimit {
            max,
            max_per_address,
            connections: Mutex::default(),
            clock: Arc::default(),
        })
    }

    /// Admits a connection with `peer`, and sets its `usage`. Also returns the peer that was
    /// evicted for it.
    pub(super) fn admit(
        self: &Arc<Self>,
        peer: &mut PeerInfo,
    ) -> (ConnectionAdmission, Option<PeerInfo>) {
        let usage = ConnectionUse::new(&self.clock);
        peer.usage = Some(Arc::clone(&usage));
        let address = peer.addr.map(|addr| counted_address(addr.ip()));
        let connection = TrackedConnection {
            peer: peer.clone(),
            address,
            usage: Arc::clone(&usage),
        };
        let mut connections = self.connections.lock();
        let victim = self
            .find_victim(&connections, address)
            .map(|index| connections.remove(index));
        connections.push(connection);
        drop(connections);
        let admission = ConnectionAdmission {
            limit: Arc::clone(self),
            usage,
        };
        (admission, victim.map(TrackedConnection::evict))
    }

    /// Evicts one connection as if the limit were reached. Returns its peer.
    pub(super) fn evict_one(&self) -> Option<PeerInfo> {
        let mut connections = self.connections.lock();
        let index = find_first(&connections, &count_by_address(&connections), None)?;
        let victim = connections.remove(index);
        drop(connections);
        Some(victim.evict())
    }

    /// The index of the connection to evict for a new one from `address`, if one has to go.
    fn find_victim(
        &self,
        connections: &[TrackedConnection],
        address: Option<IpAddr>,
    ) -> Option<usize> {
        let counts = count_by_address(connections);
        let is_crowded = address.is_some() && counts.get(&address) >= Some(&self.max_per_address);
        if !is_crowded && connections.len() < self.max {
            return None;
        }
        find_first(connections, &counts, address.filter(|_| is_crowded))
    }
}

fn count_by_address(connections: &[TrackedConnection]) -> HashMap<Option<IpAddr>, usize> {
    let mut counts = HashMap::new();
    for connection in connections {
        *counts.entry(connection.address).or_default() += 1;
    }
    counts
}

/// The index of the connection to evict first, from `address`, or from the address with the most
/// connections.
fn find_first(
    connections: &[TrackedConnection],
    counts: &HashMap<Option<IpAddr>, usize>,
    address: Option<IpAddr>,
) -> Option<usize> {
    let most = counts.values().max();
    let is_candidate = |other: &TrackedConnection| match address {
        Some(_) => other.address == address,
        None => counts.get(&other.address) == most,
    };
    connections
        .iter()
        .enumerate()
        .filter(|(_, other)| is_candidate(other))
        .min_by_key(|(_, other)| other.usage.eviction_order())
        .map(|(index, _)| index)
}

/// The address that connections are counted by.
fn counted_address(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => IpAddr::V4(ip),
        IpAddr::V6(ip) => IpAddr::V6((u128::from(ip) >> INTERFACE_BITS << INTERFACE_BITS).into()),
    }
}

/// An admitted connection. Dropping it removes the connection from the limit.
#[derive(Debug)]
pub(super) struct ConnectionAdmission {
    limit: Arc<EvictingLimit>,
    usage: Arc<ConnectionUse>,
}

impl Drop for ConnectionAdmission {
    fn drop(&mut self) {
        self.limit
            .connections
            .lock()
            .retain(|other| !Arc::ptr_eq(&other.usage, &self.usage));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(ip: &str, port: u16) -> PeerInfo {
        PeerInfo {
            addr: Some((ip.parse::<IpAddr>().unwrap(), port).into()),
            ..PeerInfo::default()
        }
    }

    /// Admits connections from `ips`, whose ports are their indexes. Also returns the ports of
    /// evicted connections.
    fn evicted(limit: &Arc<EvictingLimit>, ips: &[&str]) -> (Vec<ConnectionAdmission>, Vec<u16>) {
        let mut evicted = Vec::new();
        let admit = |(port, ip): (usize, &&str)| {
            let (admission, victims) = limit.admit(&mut peer(ip, port as u16));
            evicted.extend(
                victims
                    .into_iter()
                    .filter_map(|peer| peer.addr)
                    .map(|addr| addr.port()),
            );
            admission
        };
        let admitted = ips.iter().enumerate().map(admit).collect();
        (admitted, evicted)
    }

    #[test]
    fn a_crowded_address_evicts_its_own_connections() {
        let (_admitted, evicted) = evicted(
            &EvictingLimit::new(4, 2),
            &["10.0.0.1", "10.0.0.2", "10.0.0.2", "10.0.0.2"],
        );
        assert_eq!(evicted, [1]);
    }

    #[test]
    fn a_full_listener_evicts_from_the_largest_address() {
        let ips = ["10.0.0.1", "10.0.0.2", "10.0.0.2", "10.0.0.3", "10.0.0.4"];
        let (_admitted, evicted) = evicted(&EvictingLimit::new(3, 2), &ips);
        assert_eq!(
            evicted,
            [1, 0],
            "the oldest of the largest; of equals the oldest"
        );
    }

    #[test]
    fn an_ipv6_network_counts_as_one_address() {
        let ips = [
            "2001:db8::1",
            "2001:db8::2",
            "2001:db8:0:1::1",
            "::ffff:10.0.0.1",
            "10.0.0.1",
        ];
        let (_admitted, evicted) = evicted(&EvictingLimit::new(9, 1), &ips);
        assert_eq!(evicted, [0, 3]);
    }

    #[test]
    fn evict_one_takes_from_the_largest_address() {
        let limit = EvictingLimit::new(9, 9);
        assert!(limit.evict_one().is_none());
        let (_admitted, none) = evicted(&limit, &["10.0.0.1", "10.0.0.2", "10.0.0.2"]);
        assert!(none.is_empty());
        let next = || {
            limit
                .evict_one()
                .and_then(|peer| peer.addr)
                .map(|addr| addr.port())
        };
        assert_eq!(
            [next(), next(), next(), next()],
            [Some(1), Some(0), Some(2), None]
        );
    }

    #[test]
    fn an_active_connection_is_evicted_last() {
        let limit = EvictingLimit::new(2, 2);
        let (mut first, mut second) = (peer("10.0.0.1", 1), peer("10.0.0.1", 2));
        let _admitted = [limit.admit(&mut first).0, limit.admit(&mut second).0];
        let victim = |port| {
            let (admission, victims) = limit.admit(&mut peer("10.0.0.1", port));
            (
                admission,
                victims.and_then(|peer| peer.addr).map(|addr| addr.port()),
            )
        };
        let request = first.usage.as_ref().unwrap().begin_request();
        let (third, evicted) = victim(3);
        assert_eq!(evicted, Some(2));
        drop(third);
        drop(request);
        assert_eq!(victim(4).1, None, "the third has left the limit");
        drop(victim(5));
        assert_eq!(victim(6).1, None);
    }

    #[test]
    fn unix_socket_connections_share_one_limit() {
        let limit = EvictingLimit::new(2, 1);
        let mut kept = Vec::new();
        for evicts in [false, false, true] {
            let (admission, victims) = limit.admit(&mut PeerInfo::default());
            assert_eq!(victims.is_some(), evicts);
            kept.push(admission);
        }
    }
}
