//! What shows that a client is who it says.
//!
//! A hash is slow on purpose, so it is computed once for a user: after that its password is known again by a digest
//! under a key that this process has made up and never shows. Wrong passwords cost what right ones cost the first
//! time, whether the name is known or not, and only so many are looked at at a time. Those who give the same name and
//! password at the same time wait for one hash.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;

use argon2::password_hash::PasswordHasher;
use argon2::password_hash::phc::{PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Block, MIN_SALT_LEN, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use parking_lot::Mutex;
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use subtle::ConstantTimeEq;
use tokio::sync::{OnceCell, Semaphore};

/// Passwords wait in so many queues, by the name of the user: who floods some of them leaves the others as they are.
const QUEUES: usize = 64;

/// How many passwords may wait in a queue; beyond that clients are asked to come back.
const MAX_WAITING: usize = 8;

/// The most that looking at a password may take.
#[derive(Clone, Copy)]
pub(crate) struct MostCost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

impl MostCost {
    /// What the operator of the gateway may choose.
    pub(crate) const OPERATOR: Self = Self {
        memory_kib: 256 << 10,
        passes: 16,
        lanes: 16,
    };

    /// What a tenant may: others wait meanwhile.
    pub(crate) const TENANT: Self = Self {
        memory_kib: 64 << 10,
        passes: 4,
        lanes: 4,
    };
}

/// What a user's password is compared with.
#[derive(Clone)]
pub(crate) enum Secret {
    /// The password itself.
    Plain(String),
    /// Its hash.
    Hashed(Arc<Hashed>),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// The hash of a password.
pub(crate) struct Hashed {
    hash: PasswordHash,
    /// With the hash's own parameters.
    argon2: Argon2<'static>,
    /// The digest of the password, once it was given.
    seen: OnceLock<hmac::Tag>,
}

impl Hashed {
    /// Reads a hash as [`hash`] writes it; `None` if it is none, or one that takes too much.
    pub(crate) fn read(text: &str, most: MostCost) -> Option<Arc<Self>> {
        let hash = PasswordHash::new(text).ok()?;
        let algorithm = Algorithm::try_from(hash.algorithm.as_str()).ok()?;
        let version = hash.version.map(Version::try_from).transpose().ok()?;
        let params = Params::try_from(&hash).ok()?;
        // One that cannot be computed would be refused sooner than a wrong password.
        let salted = |salt: &Salt| salt.len() >= MIN_SALT_LEN;
        let fits = params.m_cost() <= most.memory_kib
            && params.t_cost() <= most.passes
            && params.p_cost() <= most.lanes
            && hash.salt.as_ref().is_some_and(salted)
            && hash.hash.is_some();
        let argon2 = Argon2::new(algorithm, version.unwrap_or_default(), params);
        fits.then(|| {
            Arc::new(Self {
                hash,
                argon2,
                seen: OnceLock::new(),
            })
        })
    }

    /// Whether it is the password's hash. Works in `memory`, and leaves it as large as it had to be.
    fn fits(&self, password: &str, memory: &mut Vec<Block>) -> bool {
        let (Some(salt), Some(expected)) = (&self.hash.salt, &self.hash.hash) else {
            return false;
        };
        let blocks = self.argon2.params().block_count();
        if memory.len() < blocks {
            memory.resize(blocks, Block::default());
        }
        let mut computed = vec![0; expected.len()];
        let (argon2, password) = (&self.argon2, password.as_bytes());
        let blocks = memory.get_mut(..blocks).unwrap_or_default();
        let done = argon2.hash_password_into_with_memory(password, salt, &mut computed, blocks);
        done.is_ok() && computed.ct_eq(expected.as_bytes()).into()
    }

    /// One that takes what [`hash`] takes, and that no password is known to fit.
    fn decoy(random: &SystemRandom) -> Result<Option<Arc<Self>>, ring::error::Unspecified> {
        let (mut salt, mut output) = ([0; 16], [0; Params::DEFAULT_OUTPUT_LEN]);
        random.fill(&mut salt)?;
        random.fill(&mut output)?;
        let (salt, output) = (STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(output));
        let costs = Params::default();
        let (m, t, p) = (costs.m_cost(), costs.t_cost(), costs.p_cost());
        let text = format!("$argon2id$v=19$m={m},t={t},p={p}${salt}${output}");
        Ok(Self::read(&text, MostCost::TENANT))
    }

    fn has_seen(&self, digest: &hmac::Tag) -> bool {
        let same = |seen: &hmac::Tag| seen.as_ref().ct_eq(digest.as_ref()).into();
        self.seen.get().is_some_and(same)
    }
}

/// What is known of users' passwords is known of the same users here, where the hash is the same.
pub(crate) fn remember(secrets: &mut HashMap<String, Secret>, known: &HashMap<String, Secret>) {
    for (name, secret) in secrets {
        if let Secret::Hashed(new) = secret
            && let Some(Secret::Hashed(old)) = known.get(name)
            && new.hash == old.hash
        {
            *new = old.clone();
        }
    }
}

/// The hash of a password, with a salt of its own.
///
/// # Errors
///
/// When the system has no randomness to give.
pub(crate) fn hash(password: &str) -> Result<String, argon2::password_hash::Error> {
    let hash: PasswordHash = Argon2::default().hash_password(password.as_bytes())?;
    Ok(hash.to_string())
}

/// What is known of a password without computing a hash.
pub(crate) enum Known {
    /// It is the user's.
    Right,
    /// It is not, or there is no such user.
    Wrong,
    /// That takes a hash.
    Unsure(Unsure),
}

/// A password that has to be looked at.
pub(crate) struct Unsure {
    user: String,
    password: String,
    digest: hmac::Tag,
    against: Arc<Hashed>,
    /// Whether it is the user's if it fits; a name that is not known is looked at like any other.
    counts: bool,
}

/// Too many passwords are waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Busy;

/// Looks at passwords.
pub(crate) struct Inspector {
    key: hmac::Key,
    /// What names that are not known are compared with.
    decoy: Arc<Hashed>,
    underway: Underway,
    places: Arc<Semaphore>,
    /// What hashes are computed in, one for each place: 19 MiB that are asked for on every thread anew would stay there.
    memory: Arc<Mutex<Vec<Vec<Block>>>>,
    /// How many wait in each queue.
    waiting: [AtomicUsize; QUEUES],
    /// Says which queue a user waits in; nobody else can.
    queues: RandomState,
}

impl fmt::Debug for Inspector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inspector").finish_non_exhaustive()
    }
}

impl Inspector {
    /// One that takes up to half of the processors.
    ///
    /// # Errors
    ///
    /// When the system has no randomness to give.
    pub(crate) fn new() -> Result<Self, ring::error::Unspecified> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let random = SystemRandom::new();
        Ok(Self {
            key: hmac::Key::generate(hmac::HMAC_SHA256, &random)?,
            decoy: Hashed::decoy(&random)?.ok_or(ring::error::Unspecified)?,
            underway: Underway::default(),
            places: Arc::new(Semaphore::new((cores / 2).max(1))),
            memory: Arc::default(),
            waiting: std::array::from_fn(|_| AtomicUsize::new(0)),
            queues: RandomState::new(),
        })
    }

    /// `secret` is the user's, `None` for a name that is not known; `hashes`: whether any user has a hash.
    pub(crate) fn know(
        &self,
        user: &str,
        password: String,
        secret: Option<&Secret>,
        hashes: bool,
    ) -> Known {
        if !hashes {
            // Compared even where the name is not known, so that a wrong name is not refused sooner than a wrong
            // password.
            let expected = match secret {
                Some(Secret::Plain(expected)) => expected.as_str(),
                _ => "",
            };
            let same = same(expected, &password);
            return match same && secret.is_some() {
                true => Known::Right,
                false => Known::Wrong,
            };
        }
        let digest = hmac::sign(&self.key, password.as_bytes());
        let (against, counts) = match secret {
            Some(Secret::Plain(expected)) if same(expected, &password) => return Known::Right,
            Some(Secret::Hashed(hashed)) if hashed.has_seen(&digest) => return Known::Right,
            Some(Secret::Hashed(hashed)) => (hashed, true),
            Some(Secret::Plain(_)) | None => (&self.decoy, false),
        };
        Known::Unsure(Unsure {
            user: user.to_owned(),
            password,
            digest,
            against: against.clone(),
            counts,
        })
    }

    /// Computes the hash, or waits for another request that does so with the same name and password.
    pub(crate) async fn inspect(&self, unsure: Unsure) -> Result<bool, Busy> {
        let joined = self.underway.join(&unsure);
        // Where the one that computes goes away, another one does.
        let is_right = joined.answer.get_or_try_init(|| self.compute(unsure));
        is_right.await.copied()
    }

    /// Computes the hash, when it is this one's turn.
    async fn compute(&self, unsure: Unsure) -> Result<bool, Busy> {
        let waiting = Waiting(self.queue(&unsure.user));
        if waiting.0.fetch_add(1, Ordering::Relaxed) >= MAX_WAITING {
            return Err(Busy);
        }
        let place = self.places.clone().acquire_owned().await;
        let place = place.map_err(|_| Busy)?;
        if unsure.counts && unsure.against.has_seen(&unsure.digest) {
            // Another request of the same user was first.
            return Ok(true);
        }
        let memory = self.memory.clone();
        let inspected = tokio::task::spawn_blocking(move || {
            let _place = place;
            let Unsure {
                password,
                digest,
                against,
                counts,
                ..
            } = unsure;
            let mut own = memory.lock().pop().unwrap_or_default();
            let is_right = against.fits(&password, &mut own) && counts;
            memory.lock().push(own);
            if is_right {
                against.seen.get_or_init(|| digest);
            }
            is_right
        });
        inspected.await.map_err(|_| Busy)
    }

    /// How many wait where this user does.
    fn queue(&self, user: &str) -> &AtomicUsize {
        let [first, ..] = &self.waiting;
        let queue = self.queues.hash_one(user) % QUEUES as u64;
        self.waiting.get(queue as usize).unwrap_or(first)
    }
}

/// The passwords that are being looked at: a thousand connections of one user take one place, and one hash.
#[derive(Default)]
struct Underway(Mutex<HashMap<Attempt, Asked>>);

/// A password as somebody gives it.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Attempt {
    user: String,
    digest: Vec<u8>,
    /// The hash that it is compared with.
    against: String,
}

/// Its answer, and how many wait for that.
#[derive(Default)]
struct Asked {
    answer: Arc<OnceCell<bool>>,
    by: usize,
}

impl Underway {
    fn join(&self, unsure: &Unsure) -> Joined<'_> {
        let attempt = Attempt {
            user: unsure.user.clone(),
            digest: unsure.digest.as_ref().to_vec(),
            against: unsure.against.hash.to_string(),
        };
        let mut underway = self.0.lock();
        let asked = underway.entry(attempt.clone()).or_default();
        asked.by += 1;
        Joined {
            underway: self,
            attempt,
            answer: asked.answer.clone(),
        }
    }
}

/// One that waits for an answer, as long as it does.
struct Joined<'a> {
    underway: &'a Underway,
    attempt: Attempt,
    answer: Arc<OnceCell<bool>>,
}

impl Drop for Joined<'_> {
    fn drop(&mut self) {
        let mut underway = self.underway.0.lock();
        if let Some(asked) = underway.get_mut(&self.attempt) {
            asked.by -= 1;
            if asked.by == 0 {
                underway.remove(&self.attempt);
            }
        }
    }
}

/// One more that waits, as long as it does.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn same(expected: &str, given: &str) -> bool {
    expected.as_bytes().ct_eq(given.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(password: &str) -> Secret {
        Secret::Hashed(Hashed::read(&hash(password).unwrap(), MostCost::TENANT).unwrap())
    }

    async fn is_right(inspector: &Inspector, given: &str, secret: Option<&Secret>) -> (bool, bool) {
        match inspector.know("alice", given.into(), secret, true) {
            Known::Right => (true, false),
            Known::Wrong => (false, false),
            Known::Unsure(unsure) => (inspector.inspect(unsure).await.unwrap(), true),
        }
    }

    #[tokio::test]
    async fn a_right_password_is_hashed_once_and_a_wrong_one_every_time() {
        let inspector = Inspector::new().unwrap();
        let secret = secret("s3cret");
        let hashed = |right| (right, true);
        assert_eq!(
            is_right(&inspector, "wrong", Some(&secret)).await,
            hashed(false)
        );
        assert_eq!(
            is_right(&inspector, "s3cret", Some(&secret)).await,
            hashed(true)
        );
        assert_eq!(
            is_right(&inspector, "s3cret", Some(&secret)).await,
            (true, false)
        );
        assert_eq!(
            is_right(&inspector, "wrong", Some(&secret)).await,
            hashed(false)
        );
        assert!(!format!("{secret:?} {inspector:?}").contains("s3cret"));
    }

    #[tokio::test]
    async fn a_name_that_is_not_known_costs_a_hash_like_any_other() {
        let inspector = Inspector::new().unwrap();
        assert_eq!(is_right(&inspector, "another", None).await, (false, true));
        let plain = Secret::Plain("s3cret".into());
        assert_eq!(
            is_right(&inspector, "another", Some(&plain)).await,
            (false, true)
        );
        assert_eq!(
            is_right(&inspector, "s3cret", Some(&plain)).await,
            (true, false)
        );
    }

    fn unsure(inspector: &Inspector, user: &str, secret: Option<&Secret>) -> Unsure {
        match inspector.know(user, "s3cret".into(), secret, true) {
            Known::Unsure(unsure) => unsure,
            _ => panic!("known"),
        }
    }

    #[tokio::test]
    async fn only_so_many_passwords_wait_and_others_have_places_of_their_own() {
        let inspector = Inspector::new().unwrap();
        let mallory = inspector.queue("mallory");
        let mut names = (0..).map(|i| format!("user{i}"));
        let other = names
            .find(|name| !std::ptr::eq(inspector.queue(name), mallory))
            .unwrap();
        let ask = |user| inspector.inspect(unsure(&inspector, user, None));
        mallory.store(MAX_WAITING, Ordering::Relaxed);
        assert_eq!(ask("mallory").await, Err(Busy));
        assert_eq!(ask(&other).await, Ok(false));
        mallory.store(MAX_WAITING - 1, Ordering::Relaxed);
        assert_eq!(ask("mallory").await, Ok(false));
        assert_eq!(mallory.load(Ordering::Relaxed), MAX_WAITING - 1);
    }

    #[tokio::test]
    async fn a_herd_of_one_user_takes_one_place() {
        let inspector = Arc::new(Inspector::new().unwrap());
        let secret = secret("s3cret");
        // All of them come before the first hash is begun.
        let held = inspector
            .places
            .clone()
            .acquire_many_owned(u32::try_from(inspector.places.available_permits()).unwrap());
        let held = held.await.unwrap();
        let mut herd = tokio::task::JoinSet::new();
        for _ in 0..1_000 {
            let (inspector, unsure) = (
                inspector.clone(),
                unsure(&inspector, "alice", Some(&secret)),
            );
            herd.spawn(async move { inspector.inspect(unsure).await });
        }
        while inspector
            .underway
            .0
            .lock()
            .values()
            .map(|asked| asked.by)
            .sum::<usize>()
            < 1_000
        {
            tokio::task::yield_now().await;
        }
        assert_eq!(inspector.queue("alice").load(Ordering::Relaxed), 1);
        drop(held);
        assert!(
            herd.join_all()
                .await
                .iter()
                .all(|answer| *answer == Ok(true))
        );
        assert!(inspector.underway.0.lock().is_empty());
    }

    #[test]
    fn a_hash_that_takes_too_much_is_none() {
        let good = hash("s3cret").unwrap();
        assert!(Hashed::read(&good, MostCost::TENANT).is_some());
        let dear = good.replace("m=19456,t=2", "m=262144,t=16");
        assert!(Hashed::read(&dear, MostCost::OPERATOR).is_some());
        assert!(Hashed::read(&dear, MostCost::TENANT).is_none());
        for bad in [
            "s3cret".to_owned(),
            String::new(),
            "$2b$12$abcdefghijklmnopqrstuv".to_owned(),
            good.replace("m=19456", "m=1048576"),
            good.replace("t=2", "t=1000"),
            good.replace("argon2id", "scrypt"),
            good.replace("v=19", "v=18"),
            "$argon2id$v=19$m=19456,t=2,p=1$c2hvcnQ$c2hvcnRzaG9ydHNob3J0".to_owned(),
            good.rsplit_once('$').unwrap().0.to_owned(),
        ] {
            let read = Hashed::read(&bad, MostCost::OPERATOR);
            assert!(read.is_none(), "{bad}");
        }
    }
}
