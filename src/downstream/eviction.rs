//! Bound on the open connections of a listener that makes no new one wait: the connection that was
//! idle longest is closed in its place.
//!
//! It is for a listener whose requests are short, and must be answered whoever else is connected: a
//! semaphore would let idle connections keep probes out. A new connection first evicts one of its
//! own address, so that one peer cannot evict the connections of others, and otherwise one of the
//! address that has the most.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::task::AbortHandle;

use super::PeerInfo;

/// Bits of an IPv6 address that one peer can choose at will: its interface identifier (RFC 4291
/// section 2.5.1).
const INTERFACE_BITS: u32 = 64;

/// Bound on the open connections of a listener.
#[derive(Debug)]
pub struct EvictingLimit {
    max: usize,
    max_per_address: usize,
    connections: Mutex<Vec<Connection>>,
    /// Counts uses, so that the connection that was used first has the lowest number.
    uses: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Connection {
    peer: PeerInfo,
    /// The address that it counts as; `None` for a Unix socket.
    address: Option<IpAddr>,
    usage: Arc<ConnectionUse>,
}

impl Connection {
    /// Ends it, and gives its peer.
    fn evict(self) -> PeerInfo {
        self.usage.abort();
        self.peer
    }
}

/// What is known of the use of one connection.
#[derive(Debug)]
pub struct ConnectionUse {
    /// Requests that are being answered.
    active: AtomicUsize,
    last_use: AtomicU64,
    uses: Arc<AtomicU64>,
    /// The task of the connection, once it is spawned.
    task: OnceLock<AbortHandle>,
}

impl ConnectionUse {
    /// Marks the connection as used until the request ends. It is evicted after all that are not.
    pub fn begin_request(self: &Arc<Self>) -> ActiveRequest {
        self.active.fetch_add(1, Relaxed);
        ActiveRequest(Arc::clone(self))
    }

    pub(super) fn set_task(&self, task: AbortHandle) {
        // It is set once.
        let _ = self.task.set(task);
    }

    /// Ends the connection at once, whatever is in flight.
    pub fn abort(&self) {
        self.task.get().inspect(|task| task.abort());
    }

    fn touch(&self) {
        self.last_use
            .store(self.uses.fetch_add(1, Relaxed), Relaxed);
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub struct ActiveRequest(Arc<ConnectionUse>);

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        self.0.touch();
        self.0.active.fetch_sub(1, Relaxed);
    }
}

impl EvictingLimit {
    /// A bound of `max` connections in all, and `max_per_address` of one IPv4 address or IPv6
    /// network of 64 bits.
    pub fn new(max: usize, max_per_address: usize) -> Arc<Self> {
        let (connections, uses) = (Mutex::default(), Arc::default());
        Arc::new(EvictingLimit {
            max,
            max_per_address,
            connections,
            uses,
        })
    }

    /// Admits a connection with `peer`, and gives the peer of the connection that was closed for
    /// it.
    pub(super) fn admit(self: &Arc<Self>, peer: &mut PeerInfo) -> (Admission, Option<PeerInfo>) {
        let usage = Arc::new(ConnectionUse {
            active: AtomicUsize::new(0),
            last_use: AtomicU64::new(0),
            uses: Arc::clone(&self.uses),
            task: OnceLock::new(),
        });
        usage.touch();
        peer.usage = Some(Arc::clone(&usage));
        let address = peer.addr.map(|addr| counted_as(addr.ip()));
        let connection = Connection {
            peer: peer.clone(),
            address,
            usage: Arc::clone(&usage),
        };
        let mut connections = self.lock();
        let victim = self
            .victim(&connections, address)
            .map(|index| connections.remove(index));
        connections.push(connection);
        drop(connections);
        let evicted = victim.map(Connection::evict);
        (
            Admission {
                limit: Arc::clone(self),
                usage,
            },
            evicted,
        )
    }

    /// Evicts the connection that would have to go first if there were no place, and gives its
    /// peer.
    pub(super) fn evict_one(&self) -> Option<PeerInfo> {
        let mut connections = self.lock();
        let index = first(&connections, &counts(&connections), None)?;
        let victim = connections.remove(index);
        drop(connections);
        Some(victim.evict())
    }

    /// The index of the connection that has to go before another one from `address` can be
    /// admitted.
    fn victim(&self, connections: &[Connection], address: Option<IpAddr>) -> Option<usize> {
        let counts = counts(connections);
        let is_crowded = address.is_some() && counts.get(&address) >= Some(&self.max_per_address);
        if !is_crowded && connections.len() < self.max {
            return None;
        }
        first(connections, &counts, address.filter(|_| is_crowded))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The number of connections of each address.
fn counts(connections: &[Connection]) -> HashMap<Option<IpAddr>, usize> {
    let mut counts = HashMap::new();
    connections
        .iter()
        .for_each(|other| *counts.entry(other.address).or_default() += 1);
    counts
}

/// The index of the connection that goes first: of those of `address`, or else of the address that
/// has the most.
fn first(
    connections: &[Connection],
    counts: &HashMap<Option<IpAddr>, usize>,
    address: Option<IpAddr>,
) -> Option<usize> {
    let most = counts.values().max();
    let is_candidate = |other: &Connection| match address {
        Some(_) => other.address == address,
        None => counts.get(&other.address) == most,
    };
    let candidates = connections
        .iter()
        .enumerate()
        .filter(|(_, other)| is_candidate(other));
    let first = candidates.min_by_key(|(_, Connection { usage, .. })| {
        (usage.active.load(Relaxed) > 0, usage.last_use.load(Relaxed))
    });
    first.map(|(index, _)| index)
}

/// The address that connections are counted by.
fn counted_as(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => IpAddr::V4(ip),
        IpAddr::V6(ip) => IpAddr::V6((u128::from(ip) >> INTERFACE_BITS << INTERFACE_BITS).into()),
    }
}

/// The place of a connection under a limit, given back when this is dropped.
#[derive(Debug)]
pub(super) struct Admission {
    limit: Arc<EvictingLimit>,
    usage: Arc<ConnectionUse>,
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.limit
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

    /// Admits connections from these addresses, the ports of which are their numbers from 0 on;
    /// those that were evicted.
    fn evicted(limit: &Arc<EvictingLimit>, ips: &[&str]) -> (Vec<Admission>, Vec<u16>) {
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
    fn one_of_the_address_with_most_goes_for_files() {
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
        assert_eq!(victim(4).1, None, "the third has given its place back");
        drop(victim(5));
        assert_eq!(victim(6).1, None);
    }

    #[test]
    fn connections_of_a_unix_socket_have_the_common_bound() {
        let limit = EvictingLimit::new(2, 1);
        let mut kept = Vec::new();
        for evicts in [false, false, true] {
            let (admission, victims) = limit.admit(&mut PeerInfo::default());
            assert_eq!(victims.is_some(), evicts);
            kept.push(admission);
        }
    }
}
