//! The configuration files of one instance: the one that it runs, by its own word, and those that it was offered and has not decided on.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::{ReloadError, Reply};

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
        Self {
            bytes: Arc::new(bytes),
            hash,
        }
    }
}

/// A file that was offered, and who waits for what becomes of it.
struct Offered {
    generation: u64,
    file: ConfigFile,
    reply: Reply<Result<(), ReloadError>>,
}

/// The files, by the numbers that the instance gave them.
///
/// Nobody tells this which file is in use: [`Self::follow`] has it from the instance, so that the two cannot disagree, whoever has stopped
/// waiting and whatever was offered since.
pub(super) struct Configs {
    generation: u64,
    running: ConfigFile,
    /// In the order of their numbers.
    offered: Vec<Offered>,
}

/// The instance says that it runs a file that it was not offered.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unknown;

impl Configs {
    /// Of an instance that has begun with this file.
    pub(super) fn new(running: ConfigFile) -> Self {
        Self {
            generation: 0,
            running,
            offered: Vec::new(),
        }
    }

    /// What the instance ran when it was last asked.
    pub(super) fn running(&self) -> &ConfigFile {
        &self.running
    }

    /// The newest file that is neither in use nor refused.
    pub(super) fn candidate(&self) -> Option<&ConfigFile> {
        let newest = self.offered.last()?;
        (newest.generation > self.generation).then_some(&newest.file)
    }

    /// The instance has taken a file, and looks at it.
    pub(super) fn offer(
        &mut self,
        generation: u64,
        file: ConfigFile,
        reply: Reply<Result<(), ReloadError>>,
    ) {
        self.offered.push(Offered {
            generation,
            file,
            reply,
        });
    }

    /// The instance runs this file. `true`: it is another one than before.
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

    /// The instance has decided on a file: those who wait hear of it.
    pub(super) fn decided(&mut self, generation: u64, outcome: Result<(), ReloadError>) {
        let outcome = match outcome {
            Ok(()) if generation != self.generation => {
                Err(refused("a newer file took its place".to_owned()))
            }
            outcome => outcome,
        };
        let is_it = |offered: &mut Offered| offered.generation == generation;
        for Offered { reply, .. } in self.offered.extract_if(.., is_it) {
            // Who offered it may have gone, which changes nothing.
            let _ = reply.send(Ok(outcome.clone()));
        }
    }

    /// The instance is no more; the next one begins with what it ran.
    pub(super) fn begin_anew(&mut self) {
        self.generation = 0;
        for Offered { reply, .. } in self.offered.drain(..) {
            let why = "the component trapped while the file was looked at";
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
    fn the_file_in_use_is_the_one_that_the_instance_names() {
        let mut configs = Configs::new(file("0"));
        let (first, first_heard) = oneshot::channel();
        let (second, mut second_heard) = oneshot::channel();
        configs.offer(1, file("1"), first);
        // Nobody waits for it any more, and another one is offered before it is known that it is in use.
        drop(first_heard);
        configs.offer(2, file("2"), second);
        assert_eq!(configs.follow(1), Ok(true));
        assert_eq!(configs.running().hash, file("1").hash);
        assert_eq!(
            configs.candidate().map(|file| file.hash.clone()),
            Some(file("2").hash)
        );
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
