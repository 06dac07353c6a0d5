//! The configuration files of one instance: the file that it reports as running, and the files offered to it that it has not yet accepted or refused.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::Reply;
use crate::fault::ReloadError;

/// A configuration file.
#[derive(Clone)]
pub(crate) struct ConfigFile {
    pub(crate) bytes: Arc<Zeroizing<Vec<u8>>>,
    /// `sha256:<hex>` of the bytes.
    pub(crate) hash: Arc<str>,
}

impl ConfigFile {
    pub(crate) fn new(bytes: Zeroizing<Vec<u8>>) -> Self {
        let hash = crate::sha256::text(&bytes).into();
        Self { bytes: Arc::new(bytes), hash }
    }
}

/// A file that was offered, and the channel for the outcome.
struct Offered {
    generation: u64,
    file: ConfigFile,
    reply: Reply<Result<(), ReloadError>>,
}

/// The files, identified by the generation numbers that the instance assigned to them.
///
/// Callers never set which file is running. [`Self::follow`] takes it from the instance, so the two always agree, even if a caller has stopped
/// waiting or another file has been offered in the meantime.
pub(super) struct Configs {
    generation: u64,
    running: ConfigFile,
    /// Ordered by generation.
    offered: Vec<Offered>,
}

/// The instance reports that it runs a file that was not offered to it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unknown;

impl Configs {
    /// Creates the state of an instance that was started with this file.
    pub(super) fn new(running: ConfigFile) -> Self {
        Self { generation: 0, running, offered: Vec::new() }
    }

    /// Returns the file that the instance ran when it was last asked.
    pub(super) fn running(&self) -> &ConfigFile {
        &self.running
    }

    /// Returns the newest file that is neither in use nor refused.
    pub(super) fn candidate(&self) -> Option<&ConfigFile> {
        let newest = self.offered.last()?;
        (newest.generation > self.generation).then_some(&newest.file)
    }

    /// Records a file that was offered to the instance and that the instance is probing.
    pub(super) fn offer(
        &mut self,
        generation: u64,
        file: ConfigFile,
        reply: Reply<Result<(), ReloadError>>,
    ) {
        self.offered.push(Offered { generation, file, reply });
    }

    /// Records that the instance runs this file. Returns whether it is another file than before.
    pub(super) fn follow(&mut self, generation: u64) -> Result<bool, Unknown> {
        if generation == self.generation {
            return Ok(false);
        }
        let is_it = |offered: &&Offered| offered.generation == generation;
        let taken = self.offered.iter().find(is_it).ok_or(Unknown)?;
        self.running = taken.file.clone();
        self.generation = generation;
        Ok(true)
    }

    /// Records that the instance has accepted or refused a file, and sends the outcome to the caller that offered it.
    pub(super) fn decided(&mut self, generation: u64, outcome: Result<(), ReloadError>) {
        let outcome = match outcome {
            Ok(()) if generation != self.generation => {
                Err(refused("replaced by a newer file".to_owned()))
            }
            outcome => outcome,
        };
        let is_it = |offered: &mut Offered| offered.generation == generation;
        for Offered { reply, .. } in self.offered.extract_if(.., is_it) {
            // The receiver may be gone.
            let _ = reply.send(Ok(outcome.clone()));
        }
    }

    /// Resets the state after the instance was dropped. The next instance starts with the running file.
    pub(super) fn begin_anew(&mut self) {
        self.generation = 0;
        for Offered { reply, .. } in self.offered.drain(..) {
            let why = "the component trapped while it checked the file";
            let _ = reply.send(Ok(Err(refused(why.to_owned()))));
        }
    }
}

fn refused(why: String) -> ReloadError {
    ReloadError::Refused(why)
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    fn file(text: &str) -> ConfigFile {
        ConfigFile::new(text.as_bytes().to_vec().into())
    }

    #[test]
    fn the_file_in_use_follows_the_generation_of_the_instance() {
        let mut configs = Configs::new(file("0"));
        let (first, first_heard) = oneshot::channel();
        let (second, mut second_heard) = oneshot::channel();
        configs.offer(1, file("1"), first);
        // Its caller has stopped waiting, and another file is offered before the first is known to be in use.
        drop(first_heard);
        configs.offer(2, file("2"), second);
        assert_eq!(configs.follow(1), Ok(true));
        assert_eq!(configs.running().hash, file("1").hash);
        assert_eq!(configs.candidate().map(|file| file.hash.clone()), Some(file("2").hash));
        configs.decided(1, Ok(()));
        assert!(second_heard.try_recv().is_err(), "it is not decided");
        assert_eq!(configs.follow(2), Ok(true));
        configs.decided(2, Ok(()));
        assert!(matches!(second_heard.try_recv(), Ok(Ok(Ok(())))));
        assert_eq!(configs.running().hash, file("2").hash);
        assert!(configs.candidate().is_none());
        assert_eq!(configs.follow(2), Ok(false));
        assert_eq!(configs.follow(3), Err(Unknown));
    }

    #[test]
    fn a_fresh_instance_begins_with_the_file_in_use() {
        let mut configs = Configs::new(file("0"));
        let (first, _) = oneshot::channel();
        let (second, mut heard) = oneshot::channel();
        configs.offer(1, file("1"), first);
        configs.follow(1).unwrap();
        configs.offer(2, file("2"), second);
        configs.begin_anew();
        assert!(matches!(heard.try_recv(), Ok(Ok(Err(_)))));
        assert_eq!(configs.running().hash, file("1").hash);
        assert_eq!(configs.follow(0), Ok(false));
        assert!(configs.candidate().is_none());
    }
}
