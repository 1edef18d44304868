//! Random operations against a model that is too simple to be wrong: a list in order of age.

use super::partition::{PARTITION_BYTES, vector_bytes};
use super::tenants::TENANT_BYTES;
use super::{Found, Id, New, Packed, SKETCHED_ABOVE, Tenant, VectorIndex, pack};

/// xorshift64*: enough for a test, and the same on every run.
pub struct Dice(pub u64);

impl Dice {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub fn roll(&mut self, sides: usize) -> usize {
        usize::try_from(self.next() >> 33).expect("31 bits") % sides
    }

    pub fn code(&mut self) -> i8 {
        i8::try_from(self.roll(255).cast_signed() - 127).expect("from -127 to 127")
    }

    /// Of few directions, so that there are equal ones.
    fn vector(&mut self, dimensions: usize) -> Packed {
        loop {
            let values: Vec<f64> =
                (0..dimensions).map(|_| [-1.0, 0.0, 0.3, 1.0][self.roll(4)]).collect();
            if let Some(packed) = pack(&values) {
                return Packed::read(&packed).expect("was packed");
            }
        }
    }
}

struct Kept {
    age: u64,
    partition: Id,
    key: Id,
    question: String,
    vector: Packed,
}

impl Kept {
    fn tenant(&self) -> Tenant {
        tenant_of(&self.partition)
    }

    fn to_add(&self) -> New<'_> {
        let Self { partition, key, question, vector, .. } = self;
        let (tenant, vector) = (self.tenant(), vector.clone());
        New { tenant, partition: *partition, key: *key, question, vector }
    }
}

/// Two tenants have two partitions each, or three.
fn tenant_of(partition: &Id) -> Tenant {
    [partition[0] % 2; 16]
}

/// Oldest first.
struct Model {
    kept: Vec<Kept>,
    bytes_max: usize,
}

impl Model {
    fn of<'a>(&'a self, partition: &'a Id) -> impl DoubleEndedIterator<Item = &'a Kept> {
        self.kept.iter().filter(move |it| it.partition == *partition)
    }

    fn bytes_of(&self, partition: &Id) -> usize {
        let bytes = |it: &Kept| vector_bytes(it.vector.codes().len(), &it.question);
        PARTITION_BYTES + self.of(partition).map(bytes).sum::<usize>()
    }

    fn partitions(&self) -> Vec<Id> {
        let mut names: Vec<Id> = self.kept.iter().map(|it| it.partition).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    fn bytes_by_tenant(&self) -> Vec<(usize, Tenant)> {
        let mut tenants: Vec<Tenant> = self.kept.iter().map(Kept::tenant).collect();
        tenants.sort_unstable();
        tenants.dedup();
        let partitions = self.partitions();
        let bytes = |tenant: Tenant| -> usize {
            let own = partitions.iter().filter(|it| tenant_of(it) == tenant);
            TENANT_BYTES + own.map(|it| self.bytes_of(it)).sum::<usize>()
        };
        tenants.into_iter().map(|it| (bytes(it), it)).collect()
    }

    fn bytes(&self) -> usize {
        self.bytes_by_tenant().iter().map(|(bytes, _)| bytes).sum()
    }

    fn add(&mut self, new: Kept) -> bool {
        let key = new.key;
        if self.of(&new.partition).any(|it| it.vector.codes().len() != new.vector.codes().len()) {
            return false;
        }
        self.kept.retain(|it| it.key != key);
        self.kept.push(new);
        self.kept.sort_by_key(|it| it.age);
        while self.bytes() > self.bytes_max {
            let largest = self.bytes_by_tenant().into_iter().max().map(|(_, tenant)| tenant);
            let oldest = self.kept.iter().position(|it| Some(it.tenant()) == largest);
            self.kept.remove(oldest.expect("it has some"));
        }
        self.kept.iter().any(|it| it.key == key)
    }

    fn remove_where(&mut self, is_meant: impl Fn(&Kept) -> bool) -> usize {
        let before = self.kept.len();
        self.kept.retain(|it| !is_meant(it));
        before - self.kept.len()
    }

    fn search(&self, partition: &Id, query: &Packed, limit: usize, least: f64) -> Vec<(Id, f64)> {
        let mut found: Vec<(Id, f64)> = self
            .of(partition)
            .rev()
            .filter(|it| it.vector.codes().len() == query.codes().len())
            .map(|it| (it.key, cosine(&it.vector, query)))
            .filter(|(_, score)| *score >= least)
            .collect();
        // Stable: of equal ones the newest stays first.
        found.sort_by(|a, b| b.1.total_cmp(&a.1));
        found.truncate(limit);
        found
    }
}

fn cosine(a: &Packed, b: &Packed) -> f64 {
    let dot = |a: &Packed, b: &Packed| -> f64 {
        a.codes().iter().zip(b.codes()).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

fn told(found: &[Found]) -> Vec<(Id, f64)> {
    found.iter().map(|it| (it.key, it.score)).collect()
}

fn id(number: usize) -> Id {
    [u8::try_from(number % 251).expect("small"); 32]
}

/// Names of `crowd` partitions, of which the first has most vectors.
fn partition(dice: &mut Dice, crowd: usize) -> Id {
    id(dice.roll(crowd).min(dice.roll(crowd)))
}

fn compare(seed: u64, bytes_max: usize, turns: usize) -> usize {
    let mut dice = Dice(seed);
    let mut index = VectorIndex::new(bytes_max);
    let mut model = Model { kept: Vec::new(), bytes_max };
    let (mut hits, mut next) = (0, 0);
    for turn in 0..turns {
        let (name, key) = (partition(&mut dice, 5), id(100 + dice.roll(120)));
        let dimensions = if dice.roll(50) == 0 { 3 } else { 70 };
        match dice.roll(40) {
            0..=19 => {
                let question = "q".repeat(dice.roll(40));
                let vector = dice.vector(dimensions);
                let new = Kept { age: next, partition: name, key, question, vector };
                next += 1;
                assert_eq!(index.add(&new.to_add()), model.add(new), "turn {turn}");
            }
            20..=24 => {
                let removed = model.remove_where(|it| it.key == key);
                assert_eq!(index.remove(&key), removed == 1, "turn {turn}");
            }
            25 if dice.roll(4) == 0 => {
                let newest = index.begin_load();
                assert!(newest >= next, "turn {turn}");
                next = newest + 1;
                for before in 0..u64::try_from(dice.roll(20)).expect("small") {
                    let (key, question) = (id(100 + dice.roll(120)), before.to_string());
                    let (age, vector) = (newest - before, dice.vector(70));
                    let new = Kept { age, partition: name, key, question, vector };
                    let was = index.add_aged(&new.to_add(), age);
                    assert_eq!(was, model.add(new), "turn {turn}");
                }
            }
            26 if dice.roll(20) == 0 => {
                let _ = index.take_all();
                model.kept.clear();
            }
            _ => {
                let query = dice.vector(dimensions);
                let (limit, least) = (dice.roll(12), [-1.0, 0.1, 0.3][dice.roll(3)]);
                let view = index.view(&name);
                let found = view.map(|it| it.search(&query, limit, least, SKETCHED_ABOVE));
                let found = found.unwrap_or_default();
                assert_eq!(told(&found), model.search(&name, &query, limit, least), "turn {turn}");
                hits += found.len();
            }
        }
        assert_eq!(index.len(), model.kept.len(), "turn {turn}");
        assert_eq!(index.size(&name), model.of(&name).count(), "turn {turn}");
        assert_eq!(index.contains(&key), model.kept.iter().any(|it| it.key == key), "turn {turn}");
        assert_eq!(index.bytes(), model.bytes(), "turn {turn}");
    }
    hits
}

#[test]
fn it_is_like_a_list() {
    for seed in 1..=10 {
        let hits = compare(seed, usize::MAX, 1_000);
        assert!(hits > 300, "the test finds too little to mean much: {hits}");
    }
}

#[test]
fn bounded_it_is_like_a_list() {
    for (seed, bytes_max) in (1..).zip([0, 1_500, 6_000, 12_000, 20_000, 30_000]) {
        let hits = compare(seed, bytes_max, 1_000);
        assert!(hits > 100 || bytes_max < 6_000, "too little to mean much: {hits}");
    }
}

/// A partition of several blocks, some of whose vectors were removed again.
fn large(dice: &mut Dice) -> (VectorIndex, Model) {
    let mut index = VectorIndex::new(usize::MAX);
    let mut model = Model { kept: Vec::new(), bytes_max: usize::MAX };
    let key = |number: usize| {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&number.to_le_bytes());
        key
    };
    for number in 0..5_000 {
        let (question, vector) = (number.to_string(), dice.vector(70));
        let age = u64::try_from(number).expect("small");
        let new = Kept { age, partition: id(0), key: key(number), question, vector };
        index.add(&new.to_add());
        model.kept.push(new);
        if number % 3 == 0 {
            let gone = key(dice.roll(number + 1));
            assert_eq!(index.remove(&gone), model.remove_where(|it| it.key == gone) == 1);
        }
    }
    (index, model)
}

#[test]
fn several_blocks_are_like_a_list() {
    let mut dice = Dice(3);
    let (index, model) = large(&mut dice);
    let view = index.view(&id(0)).expect("there");
    for _ in 0..50 {
        let query = dice.vector(70);
        let found = view.search(&query, 8, 0.2, SKETCHED_ABOVE);
        assert_eq!(told(&found), model.search(&id(0), &query, 8, 0.2));
        for it in &found {
            let kept = model.kept.iter().find(|kept| kept.key == it.key).expect("kept");
            assert_eq!(*it.question, *kept.question);
        }
    }
}

#[test]
fn sketches_find_what_is_near() {
    let mut dice = Dice(4);
    let (index, model) = large(&mut dice);
    let view = index.view(&id(0)).expect("there");
    for kept in model.kept.iter().step_by(97) {
        // One dimension of 70 is another: far nearer than any other vector.
        let mut codes = kept.vector.codes().to_vec();
        codes[dice.roll(70)] = 127;
        let values: Vec<f64> = codes.into_iter().map(f64::from).collect();
        let query = Packed::read(&pack(&values).expect("has a direction")).expect("was packed");
        let found = told(&view.search(&query, 8, 0.0, 0));
        let all = model.search(&id(0), &query, 5_000, -1.0);
        assert_eq!(found.first(), all.first());
        // What is found has its true score, and the order is that of scores and ages.
        let places: Vec<_> = found.iter().map(|it| all.iter().position(|all| all == it)).collect();
        assert!(places.is_sorted() && places.iter().all(Option::is_some), "{places:?}");
    }
}

#[test]
fn with_a_limit_of_all_sketches_find_all() {
    let mut dice = Dice(5);
    let (index, model) = large(&mut dice);
    let view = index.view(&id(0)).expect("there");
    let query = dice.vector(70);
    let found = told(&view.search(&query, 9_000, -1.0, 0));
    assert_eq!(found, model.search(&id(0), &query, 9_000, -1.0));
}
