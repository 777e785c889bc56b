//! The keys of all tenants and subjects: found, made, wrapped anew, destroyed.

use std::{
    collections::HashMap,
    io::{BufRead, Write},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use aws_lc_rs::{constant_time::verify_slices_are_equal, hmac};
use store::{KeyCounts, SubjectKeyRecord, TenantKeyRecord, Tombstone, VaultKeys};
use types::{DataSubject, Sealed, TenantId};

use crate::{
    HEADER_BYTES, Root, SubjectKey, SubjectKeyId, Suite, TenantKey, VaultError, Wrapped,
    backup::Contents,
    header::Header,
    key::{KEY_BYTES, Key},
    roots::Roots,
    wrap,
};

/// Subject keys that are wrapped anew in one transaction.
const REWRAPPED_AT_ONCE: u32 = 4_000;
/// Subject keys in the place of which others are put in one transaction.
const REPLACED_AT_ONCE: u32 = 500;
/// How often a key is made again when its tenant's key was rotated meanwhile.
const ATTEMPTS_MAX: usize = 4;
/// What the hash of names is wrapped for.
const INDEX_CONTEXT: &[u8] = b"llmos index of subjects ";

/// All keys of an installation. What is opened of it is in memory only.
pub struct Keyring {
    keys: VaultKeys,
    /// What is new is sealed and wrapped in it.
    suite: Suite,
    pub(crate) roots: Arc<Roots>,
    /// Those that were used, by tenant: as many as there are tenants.
    tenants: Mutex<HashMap<TenantId, Arc<Tenant>>>,
    /// No tenant key is made until a backup was restored.
    awaits_restore: AtomicBool,
}

/// The opened keys of a tenant.
struct Tenant {
    /// The newest first; never empty.
    generations: Vec<(u64, TenantKey)>,
    index: hmac::Key,
    /// The wrapped key behind `index`, by the newest key.
    index_key: Key,
}

/// What a restore did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restored {
    /// Subject keys that were missing here.
    pub subjects: u64,
    /// Subject keys of the backup that were not taken in, because they were shredded.
    pub shredded: u64,
}

impl Keyring {
    /// The keys in this store, under this root. `old` is the root before it, as long as not all keys are under the new
    /// one.
    ///
    /// # Errors
    /// [`VaultError::Root`] if a key is under a root that is not here: data would turn out to be unreadable later.
    pub async fn open(keys: VaultKeys, root: Root, old: Option<Root>) -> Result<Self, VaultError> {
        Self::under(keys, Arc::new(Roots::new(root, old)), Suite::default()).await
    }

    pub(crate) async fn under(keys: VaultKeys, roots: Arc<Roots>, suite: Suite) -> Result<Self, VaultError> {
        let others = keys.wrapped_by_others(roots.newest().id()).await?;
        if let Some(foreign) = others.iter().find(|key| roots.of(&key.root).is_none()) {
            let id = data_encoding::HEXLOWER.encode(&foreign.root);
            return Err(VaultError::Root(format!(
                "the key of tenant {} is under the root {id}, which is not configured; configure that one, or both \
                 while you rotate",
                foreign.tenant
            )));
        }
        Ok(Self { keys, suite, roots, tenants: Mutex::default(), awaits_restore: AtomicBool::new(false) })
    }

    /// Makes no tenant key before a backup was restored: there is data, and its keys are gone.
    pub fn await_restore(&self) {
        self.awaits_restore.store(true, Ordering::Release);
    }

    /// The same keys; what is new is sealed and wrapped in this suite. What is there opens whichever it is.
    #[must_use]
    pub fn in_suite(self, suite: Suite) -> Self {
        self.opened().clear();
        Self { suite, ..self }
    }

    /// What is new is sealed in it.
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// The key of a subject; made if there is none.
    pub async fn subject(&self, tenant: TenantId, subject: &DataSubject) -> Result<SubjectKey, VaultError> {
        for _ in 0..ATTEMPTS_MAX {
            let opened = self.tenant(tenant).await?;
            let name = opened.hash(subject);
            if let Some(record) = self.keys.subject_key(tenant, &name).await? {
                return self.unwrap(&record).await;
            }
            let (generation, newest) = opened.newest();
            let made = newest.new_subject()?;
            let record = SubjectKeyRecord {
                id: made.id().0,
                tenant,
                generation: *generation,
                subject: name,
                wrapped: newest.wrap(&made)?.as_bytes().to_vec(),
                replaced: false,
            };
            match self.keys.add_subject_key(record).await? {
                Some(there) if there.id == made.id().0 => return Ok(made),
                // Somebody else was quicker.
                Some(there) => return self.unwrap(&there).await,
                // The tenant's key was rotated away.
                None => self.forget(tenant),
            }
        }
        Err(VaultError::Rotating(tenant))
    }

    /// The names of all keys of a subject, whether they open or not: the present one, then those that it has replaced.
    pub async fn subject_key_ids(
        &self,
        tenant: TenantId,
        subject: &DataSubject,
    ) -> Result<Vec<SubjectKeyId>, VaultError> {
        let name = self.tenant(tenant).await?.hash(subject);
        let records = self.keys.subject_keys(tenant, &name).await?;
        Ok(records.into_iter().map(|record| SubjectKeyId(record.id)).collect())
    }

    /// Makes the keys of many subjects at once, of those that have none: for a tenant that moves in.
    pub async fn add_subjects(&self, tenant: TenantId, subjects: &[DataSubject]) -> Result<(), VaultError> {
        for some in subjects.chunks(REWRAPPED_AT_ONCE as usize) {
            let opened = self.tenant(tenant).await?;
            let (generation, newest) = opened.newest();
            let record = |subject: &DataSubject| {
                let made = newest.new_subject()?;
                let wrapped = newest.wrap(&made)?.as_bytes().to_vec();
                Ok(SubjectKeyRecord {
                    id: made.id().0,
                    tenant,
                    generation: *generation,
                    subject: opened.hash(subject),
                    wrapped,
                    replaced: false,
                })
            };
            let records = some.iter().map(record).collect::<Result<Vec<_>, VaultError>>()?;
            if !self.keys.add_subject_keys(tenant, *generation, records).await? {
                self.forget(tenant);
                return Err(VaultError::Rotating(tenant));
            }
        }
        Ok(())
    }

    /// The key that something was sealed with.
    ///
    /// # Errors
    /// [`VaultError::Shredded`] if it was destroyed.
    pub async fn of_sealed(&self, sealed: &Sealed) -> Result<SubjectKey, VaultError> {
        let header: &[u8; HEADER_BYTES] =
            sealed.as_bytes().first_chunk().ok_or(VaultError::Unknown("it is shorter than a header"))?;
        let header = Header::parse(header)?;
        let Some(record) = self.keys.subject_key_of_id(header.subject_key.0).await? else {
            let is_shredded = self.keys.is_shredded(header.subject_key.0).await?;
            return Err(if is_shredded {
                VaultError::Shredded
            } else {
                VaultError::NoKey(header.subject_key)
            });
        };
        self.unwrap(&record).await
    }

    /// Destroys the keys of a subject: nothing that was sealed with them can be read again, wherever copies of it are. None
    /// are returned if there is no such key. Durable when this returns. `now` is in seconds since 1970.
    pub async fn shred(
        &self,
        tenant: TenantId,
        subject: &DataSubject,
        now: u64,
    ) -> Result<Vec<Tombstone>, VaultError> {
        let name = self.tenant(tenant).await?.hash(subject);
        Ok(self.keys.shred(tenant, name, now).await?)
    }

    /// Ends the connections to the database of the keys.
    pub async fn close(&self) {
        self.keys.close().await;
    }

    /// What was destroyed, oldest first.
    pub async fn tombstones(&self) -> Result<Vec<Tombstone>, VaultError> {
        Ok(self.keys.tombstones().await?)
    }

    /// Destroys the keys of these tombstones if they are here: a copy of the keys from before may have brought them back.
    pub async fn entomb(&self, tombstones: Vec<Tombstone>) -> Result<(), VaultError> {
        Ok(self.keys.merge(Vec::new(), Vec::new(), tombstones).await?)
    }

    /// Gives a tenant a new key, wraps all its subjects' keys by it, and destroys the old one; no data is touched. One
    /// that was broken off is taken up where it was. `done` hears how many keys are wrapped.
    pub async fn rotate_tenant(
        &self,
        tenant: TenantId,
        done: &mut (dyn FnMut(u64) + Send),
    ) -> Result<u64, VaultError> {
        self.forget(tenant);
        let opened = self.tenant(tenant).await?;
        let mut generation = opened.newest().0;
        if self.keys.subject_keys_behind(tenant, generation, 1).await?.is_empty() {
            generation += 1;
            let fresh = TenantKey::random(tenant)?.in_suite(self.suite);
            let _roots = self.roots.hold().await;
            self.add(&fresh, generation, &opened.index_key).await?;
            self.forget(tenant);
        }
        let opened = self.tenant(tenant).await?;
        let mut rewrapped = 0;
        loop {
            let behind = self.keys.subject_keys_behind(tenant, generation, REWRAPPED_AT_ONCE).await?;
            if behind.is_empty() {
                break;
            }
            let newest = opened.of(generation)?;
            let again = |record: &SubjectKeyRecord| {
                let id = SubjectKeyId(record.id);
                let key = opened.of(record.generation)?.unwrap(id, &wrapped_of(record)?)?;
                let wrapped = newest.wrap(&key)?.as_bytes().to_vec();
                Ok(SubjectKeyRecord { generation, wrapped, ..record.clone() })
            };
            let records = behind.iter().map(again).collect::<Result<Vec<_>, VaultError>>()?;
            rewrapped += records.len() as u64;
            self.keys.rewrap_subject_keys(records).await?;
            done(rewrapped);
        }
        self.keys.destroy_old_tenant_keys(tenant, generation).await?;
        self.forget(tenant);
        Ok(rewrapped)
    }

    /// Gives all subjects new keys, which seal what is new. What their old keys have sealed opens by those, until it is sealed
    /// anew with [the present one](Self::present). One that was broken off is begun again: who has a new key already gets
    /// another. Returns how many there are.
    pub async fn replace_subject_keys(&self) -> Result<u64, VaultError> {
        // Keys that are made here lie behind it.
        let last = self.keys.last_place().await?;
        let (mut after, mut replaced) = (0, 0);
        loop {
            let mut some = self.keys.subject_keys_behind_place(false, after, REPLACED_AT_ONCE).await?;
            some.retain(|(place, _)| *place <= last);
            let Some((place, _)) = some.last() else { return Ok(replaced) };
            after = *place;
            replaced += self.replace(some.into_iter().map(|(_, record)| record).collect()).await?;
        }
    }

    async fn replace(&self, records: Vec<SubjectKeyRecord>) -> Result<u64, VaultError> {
        for _ in 0..ATTEMPTS_MAX {
            let mut made = Vec::with_capacity(records.len());
            for record in &records {
                let opened = self.tenant(record.tenant).await?;
                let (generation, newest) = opened.newest();
                let key = newest.new_subject()?;
                let wrapped = newest.wrap(&key)?.as_bytes().to_vec();
                let generation = *generation;
                made.push((
                    record.id,
                    SubjectKeyRecord { id: key.id().0, generation, wrapped, ..record.clone() },
                ));
            }
            if let Some(count) = self.keys.replace_subject_keys(made).await? {
                return Ok(count);
            }
            // The key of a tenant was rotated away.
            for record in &records {
                self.forget(record.tenant);
            }
        }
        Err(VaultError::Rotating(records.first().map_or(TenantId(0), |record| record.tenant)))
    }

    /// The key that a subject has now of which this is one.
    pub async fn present(&self, key: &SubjectKey) -> Result<SubjectKey, VaultError> {
        let record = self.keys.subject_key_of_id(key.id().0).await?.ok_or(VaultError::Shredded)?;
        if !record.replaced {
            return self.unwrap(&record).await;
        }
        let present = self.keys.subject_key(record.tenant, &record.subject).await?;
        self.unwrap(&present.ok_or(VaultError::Shredded)?).await
    }

    /// Keys that were replaced, with their places; only behind `after`, in order. None behind the last one.
    pub async fn replaced_keys(&self, after: u64) -> Result<Vec<(u64, SubjectKeyId)>, VaultError> {
        let some = self.keys.subject_keys_behind_place(true, after, REPLACED_AT_ONCE).await?;
        Ok(some.into_iter().map(|(place, record)| (place, SubjectKeyId(record.id))).collect())
    }

    /// Wraps all tenant keys by the newest root. One that was broken off is taken up where it was. Returns how many were
    /// wrapped anew.
    pub async fn rotate_root(&self) -> Result<u64, VaultError> {
        let mut rewrapped = 0;
        loop {
            let newest = self.roots.newest();
            // Looked for again until there is none: a tenant may have come meanwhile.
            let behind = self.keys.wrapped_by_others(newest.id()).await?;
            if behind.is_empty() {
                return Ok(rewrapped);
            }
            rewrapped += behind.len() as u64;
            for record in behind {
                let key = self.root_of(&record)?.unwrap(record.tenant, &record.wrapped)?.in_suite(self.suite);
                let wrapped = newest.wrap(&key)?;
                self.keys.rewrap_tenant_key(TenantKeyRecord { root: newest.id(), wrapped, ..record }).await?;
            }
        }
    }

    /// Writes all keys, wrapped, and all tombstones: what a restore needs beside the root key.
    pub async fn backup(&self, out: &mut (dyn Write + Send)) -> Result<(), VaultError> {
        let (tenants, subjects, tombstones) = self.keys.all().await?;
        Contents { tenants, subjects, tombstones }.write(out)
    }

    /// Takes in what is missing of a backup; what is here, or was shredded here or there, stays as it is. All or nothing.
    ///
    /// # Errors
    /// [`VaultError::Backup`] if it is damaged, or of another installation.
    pub async fn restore(&self, from: &mut (dyn BufRead + Send)) -> Result<Restored, VaultError> {
        let mut backup = Contents::read(from)?;
        let roots = self.roots.hold().await;
        for theirs in &mut backup.tenants {
            let ours = self.keys.tenant_keys(theirs.tenant).await?;
            self.refuse_foreign(theirs, &ours)?;
            // The root that it is under may not be here at the next start.
            let newest = self.roots.newest();
            if theirs.root != newest.id() {
                let key = self.root_of(theirs)?.unwrap(theirs.tenant, &theirs.wrapped)?;
                theirs.wrapped = newest.wrap(&key.in_suite(self.suite))?;
                theirs.root = newest.id();
            }
        }
        let before = self.keys.counts().await?;
        self.keys.merge(backup.tenants, backup.subjects.clone(), backup.tombstones).await?;
        drop(roots);
        self.awaits_restore.store(false, Ordering::Release);
        self.opened().clear();
        let after = self.keys.counts().await?;
        Ok(Restored {
            subjects: (after.subjects + after.replaced).saturating_sub(before.subjects + before.replaced),
            shredded: backup.subjects.len() as u64 - self.keys.present(&backup.subjects).await?,
        })
    }

    /// A tenant key must open with a root that is here, and keys of one tenant share their index: else subjects would be
    /// found under other hashes. One generation has one key: else what the other wraps would never open.
    fn refuse_foreign(&self, theirs: &TenantKeyRecord, ours: &[TenantKeyRecord]) -> Result<(), VaultError> {
        let tenant = theirs.tenant;
        if self.roots.of(&theirs.root).is_none() {
            let id = data_encoding::HEXLOWER.encode(&theirs.root);
            let why = format!(
                "its key of tenant {tenant} is under the root {id}, which is not configured; take a newer backup, or \
                 configure that root as `vault.old_root` for one start"
            );
            return Err(VaultError::Backup(why));
        }
        let open = |record: &TenantKeyRecord| {
            let key = self.root_of(record)?.unwrap(tenant, &record.wrapped)?;
            let index = Wrapped::of(&record.index)
                .and_then(|wrapped| wrap::unwrap(key.key(), &wrapped, &index_context(tenant)))
                .ok_or(VaultError::WrongKey { what: "index of subjects", under: "tenant key" })?;
            Ok::<_, VaultError>((key, index))
        };
        let differ = |one: &Key, other: &Key| verify_slices_are_equal(one.bytes(), other.bytes()).is_err();
        let (their_key, their_index) = open(theirs)?;
        for our in ours {
            let (key, index) = open(our)?;
            if differ(&their_index, &index) {
                let why = format!("its keys of tenant {tenant} are those of another installation");
                return Err(VaultError::Backup(why));
            }
            if our.generation == theirs.generation && differ(their_key.key(), key.key()) {
                let why = format!(
                    "the key of tenant {tenant} was rotated here and there, and their keys have one number; rotate it here \
                     (`llmos vault rotate --tenant NAME`), then restore again"
                );
                return Err(VaultError::Backup(why));
            }
        }
        Ok(())
    }

    /// Names the root that wraps what is made; no secret.
    pub fn root_id(&self) -> [u8; 16] {
        self.roots.newest().id()
    }

    /// How many keys there are.
    pub async fn counts(&self) -> Result<KeyCounts, VaultError> {
        Ok(self.keys.counts().await?)
    }

    async fn unwrap(&self, record: &SubjectKeyRecord) -> Result<SubjectKey, VaultError> {
        let id = SubjectKeyId(record.id);
        let opened = self.tenant(record.tenant).await?;
        if let Ok(key) = opened.of(record.generation) {
            return key.unwrap(id, &wrapped_of(record)?);
        }
        // Rotated meanwhile: the record, or what is opened, is from before.
        self.forget(record.tenant);
        let opened = self.tenant(record.tenant).await?;
        let record = self.keys.subject_key_of_id(record.id).await?.ok_or(VaultError::Shredded)?;
        opened.of(record.generation)?.unwrap(id, &wrapped_of(&record)?)
    }

    /// The opened keys of a tenant; its first one is made here.
    async fn tenant(&self, tenant: TenantId) -> Result<Arc<Tenant>, VaultError> {
        if let Some(opened) = self.opened().get(&tenant) {
            return Ok(opened.clone());
        }
        let _roots = self.roots.hold().await;
        let mut records = self.keys.tenant_keys(tenant).await?;
        if records.is_empty() {
            if self.awaits_restore.load(Ordering::Acquire) {
                return Err(VaultError::Lost);
            }
            let first = TenantKey::random(tenant)?.in_suite(self.suite);
            self.add(&first, 1, &Key::random()?).await?;
            records = self.keys.tenant_keys(tenant).await?;
        }
        let open = |record: &TenantKeyRecord| {
            let key = self.root_of(record)?.unwrap(tenant, &record.wrapped)?;
            Ok((record.generation, key.in_suite(self.suite)))
        };
        let generations = records.iter().map(open).collect::<Result<Vec<_>, VaultError>>()?;
        let (Some(newest), Some((_, key))) = (records.first(), generations.first()) else {
            return Err(VaultError::Rotating(tenant));
        };
        let index_key = Wrapped::of(&newest.index)
            .and_then(|wrapped| wrap::unwrap(key.key(), &wrapped, &index_context(tenant)))
            .ok_or(VaultError::WrongKey { what: "index of subjects", under: "tenant key" })?;
        let index = hmac::Key::new(hmac::HMAC_SHA256, index_key.bytes());
        let opened = Arc::new(Tenant { generations, index, index_key });
        self.opened().insert(tenant, opened.clone());
        Ok(opened)
    }

    /// The roots are held meanwhile: one that came after this is wrapped would not find it, and destroy the one that wraps it.
    async fn add(&self, key: &TenantKey, generation: u64, index_key: &Key) -> Result<(), VaultError> {
        let root = self.roots.newest();
        let record = TenantKeyRecord {
            tenant: key.tenant(),
            generation,
            root: root.id(),
            wrapped: root.wrap(key)?,
            index: wrap::wrap(key.suite(), key.key(), index_key, &index_context(key.tenant()))?
                .as_bytes()
                .to_vec(),
        };
        // Another process may have been quicker; then its key is the one.
        self.keys.add_tenant_key(record).await?;
        Ok(())
    }

    fn root_of(&self, record: &TenantKeyRecord) -> Result<Arc<Root>, VaultError> {
        let wrong = VaultError::WrongKey { what: "tenant key", under: "root key" };
        self.roots.of(&record.root).ok_or(wrong)
    }

    fn forget(&self, tenant: TenantId) {
        self.opened().remove(&tenant);
    }

    fn opened(&self) -> MutexGuard<'_, HashMap<TenantId, Arc<Tenant>>> {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tenant {
    fn newest(&self) -> &(u64, TenantKey) {
        // Never empty: `Keyring::tenant` makes no other.
        &self.generations[0]
    }

    fn of(&self, generation: u64) -> Result<&TenantKey, VaultError> {
        let found = self.generations.iter().find(|(number, _)| *number == generation);
        found.map(|(_, key)| key).ok_or(VaultError::WrongKey { what: "subject key", under: "tenant key" })
    }

    /// What stands for a subject in the store.
    fn hash(&self, subject: &DataSubject) -> [u8; 32] {
        let mut hash = [0; KEY_BYTES];
        hash.copy_from_slice(hmac::sign(&self.index, subject.expose().as_bytes()).as_ref());
        hash
    }
}

fn wrapped_of(record: &SubjectKeyRecord) -> Result<Wrapped, VaultError> {
    Wrapped::of(&record.wrapped).ok_or(VaultError::WrongKey { what: "subject key", under: "tenant key" })
}

fn index_context(tenant: TenantId) -> Vec<u8> {
    [INDEX_CONTEXT, &tenant.0.to_be_bytes()].concat()
}
