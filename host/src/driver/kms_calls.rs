//! The KMS calls that the guest requests. Each call is a task that sends its result to the driver.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use zeroize::{Zeroize, Zeroizing};

use super::Control;
use super::kms_help::{KmsHelp, Named};
use crate::guest::bindings::exports::dekker::transformer::engine::{
    DecryptCall, EncryptCall, StatusCall,
};
use crate::guest::{
    CallError, DecryptedEvent, EncryptResponse, EncryptedEvent, Event, KmsProvider, KmsVersion,
    SocketAddress, StatusEvent, StatusResponse,
};
use crate::kms::address::Detour;
use crate::kms::client::{self, KmsClient};
use crate::metrics::Metrics;

/// The KMS clients, with their calls in progress.
pub(super) struct KmsCalls {
    control: mpsc::UnboundedSender<Control>,
    metrics: Arc<Metrics>,
    help: Arc<KmsHelp>,
    providers: HashMap<u32, Provider>,
    /// Runs the calls and connections. The engine's thread is unsuitable because a large value may keep it busy.
    runtime: Handle,
    detour: Option<Detour>,
}

/// What the calls of the plugins get from the host.
#[derive(Default)]
pub(crate) struct Kms {
    pub(crate) help: Arc<KmsHelp>,
    /// Where to connect instead, for one address.
    pub(crate) detour: Option<Detour>,
}

/// A provider and its calls in progress. Dropping the provider aborts its calls.
struct Provider {
    name: Arc<str>,
    client: Arc<KmsClient>,
    methods: &'static Methods,
    calls: JoinSet<()>,
}

/// The full names of the gRPC methods, for the metrics.
struct Methods {
    status: &'static str,
    encrypt: &'static str,
    decrypt: &'static str,
}

/// KMS v1 has no Status method, and the engine never calls it.
static V1_METHODS: Methods = Methods {
    status: "/v1beta1.KeyManagementService/Version",
    encrypt: "/v1beta1.KeyManagementService/Encrypt",
    decrypt: "/v1beta1.KeyManagementService/Decrypt",
};

static V2_METHODS: Methods = Methods {
    status: "/v2.KeyManagementService/Status",
    encrypt: "/v2.KeyManagementService/Encrypt",
    decrypt: "/v2.KeyManagementService/Decrypt",
};

impl KmsCalls {
    /// Creates an empty set of clients whose calls run on the current tokio runtime.
    ///
    /// # Panics
    /// Panics if called outside a tokio runtime.
    pub(super) fn new(
        control: mpsc::UnboundedSender<Control>,
        metrics: Arc<Metrics>,
        kms: Kms,
    ) -> Self {
        let runtime = Handle::current();
        let Kms { help, detour } = kms;
        Self { control, metrics, help, providers: HashMap::new(), runtime, detour }
    }

    pub(super) fn knows(&self, id: u32) -> bool {
        self.providers.contains_key(&id)
    }

    pub(super) fn learn(&mut self, providers: Vec<KmsProvider>) {
        let _entered = self.runtime.enter();
        for provider in providers {
            let KmsProvider { id, name, version, endpoint, address, timeout_ms } = provider;
            self.providers.entry(id).or_insert_with(|| {
                let address = match address {
                    SocketAddress::Path(path) => {
                        crate::kms::address::SocketAddress::Path(path.into())
                    }
                    SocketAddress::AbstractName(name) => {
                        crate::kms::address::SocketAddress::Abstract(name)
                    }
                };
                let address = match &self.detour {
                    Some(Detour { from, to }) if *from == address => to.clone(),
                    Some(_) | None => address,
                };
                let timeout = Duration::from_millis(before_the_engine(timeout_ms));
                let (client, methods) = match version {
                    KmsVersion::V1 => (KmsClient::v1(address, timeout), &V1_METHODS),
                    KmsVersion::V2 => (KmsClient::v2(address, timeout), &V2_METHODS),
                };
                let client = Arc::new(client);
                let api_version = match version {
                    KmsVersion::V1 => "v1",
                    KmsVersion::V2 => "v2",
                };
                self.help.learn(id, Named { name: name.clone(), api_version, endpoint });
                Provider { name: name.into(), client, methods, calls: JoinSet::new() }
            });
        }
    }

    /// Closes a provider's connection and aborts its calls.
    pub(super) fn close(&mut self, id: u32) {
        self.help.forget(id);
        if let Some(closed) = self.providers.remove(&id)
            && !self.providers.values().any(|provider| provider.name == closed.name)
        {
            self.metrics.forget_provider(&closed.name);
        }
    }

    /// Forgets all providers. A fresh instance numbers its providers from the beginning.
    pub(super) fn forget_all(&mut self) {
        self.help.forget_all();
        self.providers.clear();
    }

    pub(super) fn status(&mut self, incarnation: u64, call: StatusCall) {
        let StatusCall { call, provider } = call;
        let help = Arc::clone(&self.help);
        self.spawn(
            provider,
            incarnation,
            |methods| methods.status,
            async move |client: Arc<KmsClient>| {
                let outcome = client.status().await;
                help.called(provider, outcome.as_ref().err());
                if let Ok(status) = &outcome {
                    help.status_key(provider, &status.key_id);
                }
                let code = code(&outcome);
                let outcome = outcome
                    .map(|status| StatusResponse {
                        version: status.version,
                        healthz: status.healthz,
                        key_id: status.key_id,
                    })
                    .map_err(error);
                (code, Event::Status(StatusEvent { call, outcome }))
            },
        );
    }

    pub(super) fn encrypt(&mut self, incarnation: u64, call: EncryptCall) {
        let EncryptCall { call, provider, uid, plaintext, is_new_dek: _ } = call;
        let plaintext = Zeroizing::new(plaintext);
        let help = Arc::clone(&self.help);
        self.spawn(
            provider,
            incarnation,
            |methods| methods.encrypt,
            async move |client: Arc<KmsClient>| {
                let outcome = client.encrypt(uid, plaintext).await;
                help.called(provider, outcome.as_ref().err());
                if let Ok(answer) = &outcome {
                    help.encrypt_key(provider, &answer.key_id);
                }
                let code = code(&outcome);
                let outcome = outcome
                    .map(|answer| EncryptResponse {
                        ciphertext: answer.ciphertext,
                        key_id: answer.key_id,
                        annotations: answer.annotations.into_iter().collect(),
                    })
                    .map_err(error);
                (code, Event::Encrypted(EncryptedEvent { call, outcome }))
            },
        );
    }

    pub(super) fn decrypt(&mut self, incarnation: u64, call: DecryptCall) {
        let DecryptCall { call, provider, uid, ciphertext, key_id, annotations } = call;
        let help = Arc::clone(&self.help);
        self.spawn(
            provider,
            incarnation,
            |methods| methods.decrypt,
            async move |client: Arc<KmsClient>| {
                let outcome = client
                    .decrypt(uid, ciphertext, key_id, annotations.into_iter().collect())
                    .await;
                help.called(provider, outcome.as_ref().err());
                let code = code(&outcome);
                // The driver erases the plaintext once the guest has it.
                let outcome =
                    outcome.map(|mut plaintext| std::mem::take(&mut *plaintext)).map_err(error);
                (code, Event::Decrypted(DecryptedEvent { call, outcome }))
            },
        );
    }

    /// Runs a call in a separate task. If the provider is unknown, it has been closed and the guest has forgotten the call, so this does nothing.
    fn spawn<F>(
        &mut self,
        id: u32,
        incarnation: u64,
        method: impl FnOnce(&'static Methods) -> &'static str,
        call: impl FnOnce(Arc<KmsClient>) -> F,
    ) where
        F: Future<Output = (u32, Event)> + Send + 'static,
    {
        let Some(provider) = self.providers.get_mut(&id) else {
            return;
        };
        let (control, metrics, name) =
            (self.control.clone(), self.metrics.clone(), provider.name.clone());
        let call = call(provider.client.clone());
        let method = method(provider.methods);
        while provider.calls.try_join_next().is_some() {}
        let call = async move {
            let start = Instant::now();
            let (code, event) = call.await;
            metrics.observe_kms(&name, method, code, start.elapsed());
            if let Err(mpsc::error::SendError(Control::Answer { mut event, .. })) =
                control.send(Control::Answer { incarnation, event })
            {
                wipe(&mut event);
            }
        };
        provider.calls.spawn_on(call, &self.runtime);
    }
}

/// Erases a DEK or seed that the plugin decrypted.
pub(super) fn wipe(event: &mut Event) {
    match event {
        Event::Decrypted(DecryptedEvent { outcome: Ok(plaintext), .. }) => plaintext.zeroize(),
        Event::Decrypted(_) | Event::Status(_) | Event::Encrypted(_) | Event::Restored => {}
    }
}

/// Returns the gRPC status code for the metrics. An error that is not a gRPC status counts as `Unknown`, as with Go's `status.Code`.
fn code<T>(outcome: &Result<T, client::CallError>) -> u32 {
    match outcome {
        Ok(_) => 0,
        Err(error) if error.code == 0 => 2,
        Err(error) => error.code,
    }
}

fn error(error: client::CallError) -> CallError {
    CallError { code: error.code, message: error.message }
}

/// Returns a timeout for the client that is 2 % shorter than the engine's. The engine abandons a call after its own timeout. The client times out
/// earlier because it knows more about the call and words the error as upstream does.
const fn before_the_engine(timeout_ms: u64) -> u64 {
    timeout_ms - timeout_ms / 50
}
