//! The configuration changes while a server runs; no request is lost.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use crate::load::Load;
use crate::scripted::Scripted;
use crate::server::{Server, metric};
use crate::stage::{Stage, kms_config, play};
use crate::wait::{breathe, until};

const KEY: &str = "/registry/secrets/default/token";
const RELOAD: [&str; 3] =
    ["--encryption-provider-config-automatic-reload", "--config-poll-interval", "200ms"];
const BAD: &str = "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources: [{resources: [Secrets], providers: [{identity: {}}]}]\n";

/// A server with reload enabled, whose file is at `path`. Its plugin serves providers of any name.
struct Scene {
    server: Server,
    plugin: Scripted,
    path: PathBuf,
    socket: PathBuf,
}

impl Scene {
    async fn set(stage: &Stage, path: PathBuf, args: &[&str]) -> Self {
        let socket = stage.path("kms.sock");
        let plugin = Scripted::serve(&socket, "key-1");
        let mut command = stage.serve_command(args);
        command.arg("--encryption-provider-config").arg(&path);
        Self { server: Server::start(command).await, plugin, path, socket }
    }

    /// Starts a server with the provider `a` in a regular file.
    async fn plain(stage: &Stage, args: &[&str]) -> Self {
        let path = stage.file("c.yaml", config(stage, &["a"]));
        Self::set(stage, path, args).await
    }

    fn config(&self, names: &[&str]) -> String {
        let providers: Vec<_> = names.iter().map(|name| (*name, self.socket.as_path())).collect();
        kms_config(&providers)
    }

    /// Replaces the file by renaming another one over it.
    fn rename_over(&self, content: &str) {
        let new = self.path.with_extension("new");
        fs::write(&new, content).expect("our own directory");
        fs::rename(&new, &self.path).expect("our own directory");
    }

    async fn provider(&self) -> String {
        let stored = self.server.write(KEY, b"x").await;
        let text = String::from_utf8_lossy(&stored).into_owned();
        let rest = text.strip_prefix("k8s:enc:kms:v2:").expect("the prefix");
        rest.split(':').next().expect("a name").to_owned()
    }

    async fn until_writes_go_to(&self, name: &str) {
        let what = format!("{name} writes");
        until(&what, async || (self.provider().await == name).then_some(())).await;
    }

    /// Waits until `/statusz` reports an error in the file, and returns it.
    async fn until_refused(&self) -> String {
        until("the file is refused", async || {
            let status = self.server.status().await;
            status["configFile"]["error"].as_str().map(str::to_owned)
        })
        .await
    }

    async fn until_content(&self) {
        until("the file is in order", async || {
            let status = self.server.status().await;
            status["configFile"]["error"].is_null().then_some(())
        })
        .await;
    }
}

fn config(stage: &Stage, names: &[&str]) -> String {
    let socket = stage.path("kms.sock");
    let providers: Vec<_> = names.iter().map(|name| (*name, socket.as_path())).collect();
    kms_config(&providers)
}

#[test]
fn a_good_edit_takes_effect_and_old_values_are_still_read() {
    play(async |stage| {
        let scene = Scene::plain(&stage, &RELOAD).await;
        let load = Load::start(&scene.server.api).await;
        let old = scene.server.write(KEY, b"old").await;
        let edited = scene.config(&["b", "a"]);
        scene.rename_over(&edited);
        scene.until_writes_go_to("b").await;
        assert_eq!(scene.server.read_well(KEY, &old).await, (b"old".to_vec(), true));
        scene.until_content().await;
        load.finish().await;
        let hash = dekker_tests::object::sha256_text(&edited);
        let status = scene.server.status().await;
        assert_eq!(status["configHash"], *hash);
        assert_eq!(status["configFile"]["loadedHash"], *hash);
        let metrics = scene.server.metrics().await;
        let reloads = "apiserver_encryption_config_controller_automatic_reloads_total";
        assert_eq!(metric(&metrics, reloads, &[("status", "success")]), 1.0);
        let info = "apiserver_encryption_config_controller_last_config_info";
        assert_eq!(metric(&metrics, info, &[("hash", &hash)]), 1.0);
    });
}

#[test]
fn a_bad_edit_is_reported_and_changes_nothing() {
    play(async |stage| {
        let scene = Scene::plain(&stage, &RELOAD).await;
        let load = Load::start(&scene.server.api).await;
        scene.rename_over(BAD);
        let error = scene.until_refused().await;
        let fault = "resources[0].resources[0]: Invalid value: \"Secrets\": resource name should not contain capital letters";
        assert!(error.contains(fault), "{error}");
        let log = scene.server.process.stderr.text();
        assert!(
            log.contains("the configuration was refused") && log.contains("capital letters"),
            "{log}"
        );
        until("the warning is logged", async || {
            let log = scene.server.process.stderr.text();
            let start = "a warning about the refused configuration: 3:26: resources[0].resources[0]: matches nothing: ";
            (log.contains(start) && log.contains("did you mean secrets?")).then_some(())
        })
        .await;
        assert_eq!(scene.provider().await, "a");
        assert_eq!(scene.server.get("/readyz").await.status, 200);
        let failures = metric(
            &scene.server.metrics().await,
            "apiserver_encryption_config_controller_automatic_reloads_total",
            &[("status", "failure")],
        );
        assert!(failures >= 1.0);
        scene.rename_over(&scene.config(&["b", "a"]));
        scene.until_writes_go_to("b").await;
        scene.until_content().await;
        load.finish().await;
    });
}

#[test]
fn a_file_is_refused_until_its_plugin_is_available() {
    play(async |stage| {
        let scene = Scene::plain(&stage, &RELOAD).await;
        let load = Load::start(&scene.server.api).await;
        let elsewhere = stage.path("other.sock");
        scene.rename_over(&kms_config(&[("b", &elsewhere), ("a", &scene.socket)]));
        let error = scene.until_refused().await;
        assert!(error.starts_with("health check for new transformers failed"), "{error}");
        assert!(error.contains("kms-provider-0: "), "{error}");
        assert_eq!(scene.provider().await, "a");
        let _other = Scripted::serve(&elsewhere, "key-2");
        scene.until_writes_go_to("b").await;
        load.finish().await;
    });
}

#[test]
fn every_way_to_change_a_file_is_noticed() {
    play(async |stage| {
        let scene = Scene::plain(&stage, &RELOAD).await;
        let load = Load::start(&scene.server.api).await;
        fs::write(&scene.path, scene.config(&["in-place", "a"])).expect("our own directory");
        scene.until_writes_go_to("in-place").await;
        scene.rename_over(&scene.config(&["renamed", "in-place", "a"]));
        scene.until_writes_go_to("renamed").await;
        fs::remove_file(&scene.path).expect("our own directory");
        let error = scene.until_refused().await;
        assert!(error.contains("cannot read the encryption configuration"), "{error}");
        assert_eq!(scene.provider().await, "renamed");
        fs::write(&scene.path, scene.config(&["back", "renamed", "in-place", "a"]))
            .expect("our own directory");
        scene.until_writes_go_to("back").await;
        load.finish().await;
    });
}

/// Updates the file as the kubelet does for a ConfigMap or a Secret: `c.yaml` is a link to `..data/c.yaml`, and `..data` is a link to a directory
/// that is never changed, only replaced.
#[test]
fn a_swap_of_the_data_link_is_noticed() {
    play(async |stage| {
        let volume = stage.path("volume");
        let version = |name: &str, content: String| {
            let dir = volume.join(name);
            fs::create_dir_all(&dir).expect("our own directory");
            fs::write(dir.join("c.yaml"), content).expect("our own directory");
            symlink(name, volume.join("..data_tmp")).expect("a new link");
            fs::rename(volume.join("..data_tmp"), volume.join("..data")).expect("an atomic swap");
        };
        version("..2026_01", config(&stage, &["a"]));
        symlink("..data/c.yaml", volume.join("c.yaml")).expect("a new link");
        // With an hour between polls, only the watch can notice the change.
        let args = [RELOAD[0], "--config-poll-interval", "1h"];
        let scene = Scene::set(&stage, volume.join("c.yaml"), &args).await;
        let load = Load::start(&scene.server.api).await;
        scene.until_content().await;
        version("..2026_02", scene.config(&["b", "a"]));
        fs::remove_dir_all(volume.join("..2026_01")).expect("the old version goes");
        scene.until_writes_go_to("b").await;
        // The watch still covers the right directories.
        version("..2026_03", scene.config(&["c", "b", "a"]));
        scene.until_writes_go_to("c").await;
        load.finish().await;
    });
}

/// Creates a chain of links, the middle one of which is in a directory that is not watched.
fn unwatched_chain(stage: &Stage, content: &str) -> (PathBuf, PathBuf) {
    for dir in ["first", "middle"] {
        fs::create_dir(stage.path(dir)).expect("a new directory");
    }
    let (path, middle) = (stage.path("first/c.yaml"), stage.path("middle/c.yaml"));
    swap_link(stage, &middle, "one", content);
    symlink(&middle, &path).expect("a new link");
    (path, middle)
}

fn swap_link(stage: &Stage, link: &Path, dir: &str, content: &str) {
    fs::create_dir(stage.path(dir)).expect("a new directory");
    let file = stage.file(&format!("{dir}/c.yaml"), content);
    let new = link.with_extension("new");
    symlink(file, &new).expect("a new link");
    fs::rename(new, link).expect("an atomic swap");
}

#[test]
fn polling_finds_changes_that_the_watch_misses() {
    play(async |stage| {
        let (path, middle) = unwatched_chain(&stage, &config(&stage, &["a"]));
        let scene = Scene::set(&stage, path, &RELOAD).await;
        swap_link(&stage, &middle, "two", &scene.config(&["b", "a"]));
        scene.until_writes_go_to("b").await;
    });
}

#[test]
fn sighup_polls_at_once() {
    play(async |stage| {
        let (path, middle) = unwatched_chain(&stage, &config(&stage, &["a"]));
        let args = [RELOAD[0], "--config-poll-interval", "1h"];
        let scene = Scene::set(&stage, path, &args).await;
        scene.until_content().await;
        swap_link(&stage, &middle, "two", &scene.config(&["b", "a"]));
        for _ in 0..20 {
            breathe().await;
            assert_eq!(scene.provider().await, "a", "it has not polled yet");
        }
        scene.server.process.signal(Signal::HUP);
        scene.until_writes_go_to("b").await;
    });
}

#[test]
fn without_reload_the_file_is_read_once_and_sighup_changes_nothing() {
    play(async |stage| {
        let scene = Scene::plain(&stage, &[]).await;
        assert!(scene.server.banner.contains("c.yaml, read once"), "{}", scene.server.banner);
        scene.rename_over(&scene.config(&["b", "a"]));
        scene.server.process.signal(Signal::HUP);
        until("the signal is logged", async || {
            let log = scene.server.process.stderr.text();
            log.contains("SIGHUP").then_some(())
        })
        .await;
        assert_eq!(scene.provider().await, "a");
        assert!(scene.server.status().await["configFile"].is_null());
    });
}

#[test]
fn an_unchanged_provider_keeps_its_dek_over_a_reload() {
    play(async |stage| {
        let scene = Scene::plain(&stage, &RELOAD).await;
        let stored = scene.server.write(KEY, b"old").await;
        let before = scene.plugin.calls();
        let edited = format!("# A comment.\n{}", scene.config(&["a"]));
        scene.rename_over(&edited);
        let hash = dekker_tests::object::sha256_text(&edited);
        until("the new file is in use", async || {
            (scene.server.status().await["configFile"]["loadedHash"] == *hash).then_some(())
        })
        .await;
        assert_eq!(scene.server.read_well(KEY, &stored).await, (b"old".to_vec(), false));
        let after = scene.plugin.calls();
        assert_eq!((after.encrypt, after.decrypt), (before.encrypt, before.decrypt));
    });
}
