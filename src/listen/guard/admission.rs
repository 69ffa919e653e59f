//! How many sessions there may be, and how many may begin: `--max-connections`, `--max-per-ip`, `--accept-rate`,
//! `--accept-rate-per-ip` (pure).
//!
//! Leaves the answers to a request that is turned away to whoever asks. Invariant: a place is taken when a session is let
//! in, not when it has opened, so that as many at a time as like cannot slip through.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::rate::RateLimiter;

/// Fewest addresses whose rates are kept before any is forgotten.
const FORGET_AT: usize = 1024;

/// The limits; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct AdmissionSettings {
    /// Sessions at a time.
    pub max_connections: Option<usize>,
    /// Sessions at a time of one address.
    pub max_per_ip: Option<usize>,
    /// Sessions begun a second.
    pub accept_rate: Option<f64>,
    /// Sessions begun a second by one address.
    pub accept_rate_per_ip: Option<f64>,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// As many sessions as allowed are open.
    Connections,
    /// As many as one address may have.
    Address,
    /// Too many began lately; there is a place after so long.
    Rate(Duration),
}

/// Who has a place.
#[derive(Debug)]
pub(crate) struct Admission {
    settings: AdmissionSettings,
    sessions: usize,
    per_ip: HashMap<IpAddr, usize>,
    rate: Option<RateLimiter>,
    rate_per_ip: Option<AddressRates>,
}

/// What each address that has begun a session lately may still begin.
#[derive(Debug)]
struct AddressRates {
    limit: f64,
    limiters: HashMap<IpAddr, RateLimiter>,
    /// How many there may be before those that are as good as new are forgotten.
    forget_at: usize,
}

impl AddressRates {
    fn of(&mut self, ip: IpAddr, now: Instant) -> &mut RateLimiter {
        if self.limiters.len() >= self.forget_at {
            self.limiters.retain(|_, limiter| !limiter.is_full(now));
            self.forget_at = FORGET_AT.max(self.limiters.len() * 2);
        }
        self.limiters.entry(ip).or_insert_with(|| RateLimiter::with_burst(self.limit))
    }
}

impl Admission {
    /// With every place free.
    #[must_use]
    pub(crate) fn new(settings: AdmissionSettings) -> Self {
        let rate = settings.accept_rate.map(RateLimiter::with_burst);
        let rate_per_ip = settings.accept_rate_per_ip.map(|limit| AddressRates {
            limit,
            limiters: HashMap::new(),
            forget_at: FORGET_AT,
        });
        Self { settings, sessions: 0, per_ip: HashMap::new(), rate, rate_per_ip }
    }

    /// Gives a place to a session from `ip`; the peers of a unix socket have none and are not told apart.
    ///
    /// # Errors
    /// [`Full`]; then nothing has changed.
    pub(crate) fn enter(&mut self, ip: Option<IpAddr>, now: Instant) -> Result<(), Full> {
        if self.settings.max_connections.is_some_and(|max| self.sessions >= max) {
            return Err(Full::Connections);
        }
        let ip = ip.map(|ip| ip.to_canonical());
        let of_ip = ip.and_then(|ip| self.per_ip.get(&ip).copied()).unwrap_or(0);
        if ip.is_some() && self.settings.max_per_ip.is_some_and(|max| of_ip >= max) {
            return Err(Full::Address);
        }
        let of_address = ip.zip(self.rate_per_ip.as_mut()).map(|(ip, rates)| rates.of(ip, now));
        let rates: Vec<_> = of_address.into_iter().chain(&mut self.rate).collect();
        let wait = rates.iter().map(|rate| rate.wait(1.0, now)).max().unwrap_or_default();
        if !wait.is_zero() {
            return Err(Full::Rate(wait));
        }
        for rate in rates {
            rate.charge(1.0, now);
        }
        self.sessions += 1;
        if let (Some(ip), Some(_)) = (ip, self.settings.max_per_ip) {
            self.per_ip.insert(ip, of_ip + 1);
        }
        Ok(())
    }

    fn leave(&mut self, ip: Option<IpAddr>) {
        self.sessions = self.sessions.saturating_sub(1);
        let Some(ip) = ip.map(|ip| ip.to_canonical()) else { return };
        if let Some(count) = self.per_ip.get_mut(&ip) {
            *count -= 1;
            if *count == 0 {
                self.per_ip.remove(&ip);
            }
        }
    }
}

/// A session's place, given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    admission: Rc<RefCell<Admission>>,
    ip: Option<IpAddr>,
}

impl Place {
    /// Takes one.
    ///
    /// # Errors
    /// [`Full`].
    pub(crate) fn take(admission: &Rc<RefCell<Admission>>, ip: Option<IpAddr>, now: Instant) -> Result<Self, Full> {
        admission.borrow_mut().enter(ip, now)?;
        Ok(Self { admission: Rc::clone(admission), ip })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.admission.borrow_mut().leave(self.ip);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(settings: AdmissionSettings) -> (Rc<RefCell<Admission>>, Instant) {
        let now = Instant::now();
        (Rc::new(RefCell::new(Admission::new(settings))), now)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_place_is_taken_at_once_and_given_back() {
        let (all, now) = admission(AdmissionSettings { max_connections: Some(2), ..AdmissionSettings::default() });
        let first = Place::take(&all, Some(ip("10.0.0.1")), now).expect("a place");
        let _second = Place::take(&all, None, now).expect("a place");
        assert_eq!(Place::take(&all, None, now).err(), Some(Full::Connections));
        drop(first);
        let _third = Place::take(&all, None, now).expect("the place is free again");
    }

    #[test]
    fn each_address_has_its_own() {
        let (all, now) = admission(AdmissionSettings { max_per_ip: Some(1), ..AdmissionSettings::default() });
        let first = Place::take(&all, Some(ip("10.0.0.1")), now).expect("a place");
        assert_eq!(Place::take(&all, Some(ip("10.0.0.1")), now).err(), Some(Full::Address));
        assert_eq!(Place::take(&all, Some(ip("::ffff:10.0.0.1")), now).err(), Some(Full::Address), "it is the same");
        let _other = Place::take(&all, Some(ip("10.0.0.2")), now).expect("another address");
        let _unix = [Place::take(&all, None, now).expect("a unix socket"), Place::take(&all, None, now).expect("two")];
        drop(first);
        let _again = Place::take(&all, Some(ip("10.0.0.1")), now).expect("free again");
        assert_eq!(all.borrow().per_ip.len(), 2, "who has left is forgotten");
    }

    #[test]
    fn the_rate_says_when_to_come_back_and_counts_no_refusals() {
        let limits = AdmissionSettings { accept_rate: Some(2.0), max_per_ip: Some(1), ..AdmissionSettings::default() };
        let (all, now) = admission(limits);
        let _first = Place::take(&all, Some(ip("10.0.0.1")), now).expect("a place");
        for _ in 0..10 {
            assert_eq!(Place::take(&all, Some(ip("10.0.0.1")), now).err(), Some(Full::Address));
        }
        let _second = Place::take(&all, Some(ip("10.0.0.2")), now).expect("a place");
        let Err(Full::Rate(wait)) = Place::take(&all, Some(ip("10.0.0.3")), now) else { panic!("the rate is spent") };
        assert!((500..=501).contains(&wait.as_millis()), "{wait:?}");
        let _third = Place::take(&all, Some(ip("10.0.0.3")), now + wait).expect("after the wait");
    }

    #[test]
    fn each_address_has_a_rate_of_its_own_and_is_forgotten() {
        let limits = AdmissionSettings { accept_rate_per_ip: Some(2.0), ..AdmissionSettings::default() };
        let (all, now) = admission(limits);
        let begins = |ip, now| Place::take(&all, ip, now).map(drop);
        let (one, other) = (Some(ip("10.0.0.1")), Some(ip("10.0.0.2")));
        assert_eq!([begins(one, now), begins(one, now)], [Ok(()), Ok(())]);
        let Err(Full::Rate(wait)) = begins(one, now) else { panic!("the rate is spent") };
        assert!((500..=501).contains(&wait.as_millis()), "{wait:?}");
        assert_eq!(begins(other, now), Ok(()), "another address");
        assert_eq!([begins(None, now), begins(None, now), begins(None, now)], [Ok(()); 3], "unix sockets have none");
        assert_eq!(begins(one, now + wait), Ok(()), "after the wait");
        let later = now + Duration::from_secs(3600);
        (0..5000_u32).for_each(|number| assert_eq!(begins(Some(IpAddr::from(number.to_be_bytes())), later), Ok(())));
        let much_later = later + Duration::from_secs(3600);
        (0..9000_u32)
            .for_each(|number| assert_eq!(begins(Some(IpAddr::from(number.to_be_bytes())), much_later), Ok(())));
        let all = all.borrow();
        let rates = all.rate_per_ip.as_ref().expect("a limit");
        assert!(rates.limiters.len() <= 10_000);
        assert!(!rates.limiters.contains_key(&ip("10.0.0.1")), "it is as good as new");
    }
}
