//! What the tenants of an index hold, and which of them has to make room.
#![forbid(unsafe_code)]

use super::index::{Id, Tenant};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Memory of a tenant beside its partitions, in bytes: its places here.
pub const TENANT_BYTES: usize = 600;

struct Holding {
    /// Keys by age, the oldest first.
    ages: BTreeMap<u64, Id>,
    bytes: usize,
}

/// See the module's documentation.
#[derive(Default)]
pub struct Tenants {
    holdings: HashMap<Tenant, Holding>,
    /// The tenants by their bytes.
    by_bytes: BTreeSet<(usize, Tenant)>,
    bytes: usize,
}

impl Tenants {
    /// Estimated memory of all, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The key of the oldest vector of the largest tenant.
    pub fn oldest_of_largest(&self) -> Option<Id> {
        let (_, largest) = self.by_bytes.last()?;
        self.holdings.get(largest)?.ages.first_key_value().map(|(_, key)| *key)
    }

    /// Notes a vector that takes so many bytes more.
    pub fn added(&mut self, tenant: &Tenant, age: u64, key: Id, bytes: usize) {
        let holding = self.holdings.entry(*tenant).or_insert_with(|| {
            self.bytes += TENANT_BYTES;
            Holding { ages: BTreeMap::new(), bytes: TENANT_BYTES }
        });
        self.by_bytes.remove(&(holding.bytes, *tenant));
        holding.ages.insert(age, key);
        holding.bytes += bytes;
        self.bytes += bytes;
        self.by_bytes.insert((holding.bytes, *tenant));
    }

    /// Notes that a vector is gone, with so many bytes. So is a tenant without vectors.
    pub fn removed(&mut self, tenant: &Tenant, age: u64, bytes: usize) {
        let Some(holding) = self.holdings.get_mut(tenant) else { return };
        self.by_bytes.remove(&(holding.bytes, *tenant));
        holding.ages.remove(&age);
        holding.bytes -= bytes;
        self.bytes -= bytes;
        if holding.ages.is_empty() {
            self.bytes -= holding.bytes;
            self.holdings.remove(tenant);
        } else {
            self.by_bytes.insert((holding.bytes, *tenant));
        }
    }
}
