//! Secrets in memory, for tests.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::{SecretError, Secrets, Stored};

/// Secrets with versions; `race` is played once, between the next read and the write that follows.
#[derive(Clone, Default)]
pub(crate) struct Memory {
    pub(crate) secrets: Arc<Mutex<BTreeMap<String, Stored>>>,
    race: Arc<Mutex<Option<Race>>>,
}

type Race = Box<dyn FnOnce(&mut BTreeMap<String, Stored>) + Send>;

impl Memory {
    pub(crate) fn race(&self, play: impl FnOnce(&mut BTreeMap<String, Stored>) + Send + 'static) {
        *self.race.lock().unwrap() = Some(Box::new(play));
    }

    fn start_race(&self) {
        if let Some(play) = self.race.lock().unwrap().take() {
            play(&mut self.secrets.lock().unwrap());
        }
    }
}

pub(crate) fn next(version: &str) -> String {
    (version.parse::<u32>().unwrap() + 1).to_string()
}

impl Secrets for Memory {
    async fn get(&self, name: &str) -> Result<Option<Stored>, SecretError> {
        Ok(self.secrets.lock().unwrap().get(name).cloned())
    }

    async fn create(
        &self,
        name: &str,
        _: Option<(&str, &str)>,
        data: BTreeMap<String, Vec<u8>>,
    ) -> Result<bool, SecretError> {
        self.start_race();
        let mut secrets = self.secrets.lock().unwrap();
        if secrets.contains_key(name) {
            return Ok(false);
        }
        secrets.insert(name.to_owned(), Stored { name: name.to_owned(), version: "1".to_owned(), data });
        Ok(true)
    }

    async fn update(
        &self,
        old: &Stored,
        _: Option<(&str, &str)>,
        data: BTreeMap<String, Vec<u8>>,
    ) -> Result<bool, SecretError> {
        self.start_race();
        let mut secrets = self.secrets.lock().unwrap();
        match secrets.get_mut(&old.name) {
            Some(stored) if stored.version == old.version => {
                *stored = Stored { name: old.name.clone(), version: next(&old.version), data };
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    async fn list(&self, _: (&str, &str)) -> Result<Vec<Stored>, SecretError> {
        Ok(self.secrets.lock().unwrap().values().cloned().collect())
    }

    async fn delete(&self, name: &str) -> Result<(), SecretError> {
        self.secrets.lock().unwrap().remove(name);
        Ok(())
    }
}
