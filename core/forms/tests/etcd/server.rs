//! An etcd in a temporary directory, and its etcdctl.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use super::values::Stored;

/// etcdctl and etcd answer sooner, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A transaction of etcd has at most 128 operations by default.
const OPERATIONS: usize = 100;

pub(crate) struct Server {
    etcd: Child,
    etcdctl: PathBuf,
    port: u16,
    data: PathBuf,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.etcd.kill();
        let _ = self.etcd.wait();
        let _ = fs::remove_dir_all(&self.data);
    }
}

impl Server {
    /// Starts etcd, and waits until it serves.
    pub(crate) fn start(directory: &Path) -> Self {
        let name = format!("etcd-{}-{}", std::process::id(), directory.display());
        let data = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name.replace('/', "_"));
        let mut log = String::new();
        // Another process may take a port before etcd does.
        for _ in 0..5 {
            let _ = fs::remove_dir_all(&data);
            fs::create_dir_all(&data).expect("a directory for etcd");
            let [port, peers] = free_ports();
            let client_url = format!("http://127.0.0.1:{port}");
            let peer_url = format!("http://127.0.0.1:{peers}");
            let mut etcd = Command::new(directory.join("etcd"))
                .arg("--data-dir")
                .arg(&data)
                .args(["--listen-client-urls", &client_url, "--advertise-client-urls", &client_url])
                .args(["--listen-peer-urls", &peer_url, "--initial-advertise-peer-urls", &peer_url])
                .args(["--initial-cluster", &format!("default={peer_url}")])
                // The test needs no durability.
                .arg("--unsafe-no-fsync")
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
            let mut lines = BufReader::new(etcd.stderr.take().expect("a pipe"));
            log.clear();
            while lines.read_line(&mut log).expect("etcd's log") > 0 {
                if log.contains("ready to serve client requests") {
                    // Whatever it writes from now on must be read.
                    std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
                    let etcdctl = directory.join("etcdctl");
                    return Self { etcd, etcdctl, port, data };
                }
            }
            let _ = etcd.wait();
        }
        panic!("etcd does not start: {log}");
    }

    pub(crate) fn version(&self) -> String {
        let printed = String::from_utf8(self.etcdctl(&["version"], b"")).expect("text");
        let version = printed.lines().find_map(|line| line.strip_prefix("etcdctl version: "));
        version.expect("a version").to_owned()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.etcdctl);
        command
            .env("ETCDCTL_API", "3")
            .arg(format!("--endpoints=http://127.0.0.1:{}", self.port))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        command
    }

    /// Runs etcdctl, and returns what it prints.
    pub(crate) fn etcdctl(&self, arguments: &[&str], input: &[u8]) -> Vec<u8> {
        let mut child = self.command(arguments).spawn().expect("etcdctl");
        child.stdin.take().expect("a pipe").write_all(input).expect("etcdctl reads its input");
        let output = child.wait_with_output().expect("etcdctl");
        assert!(output.status.success(), "{arguments:?}: {}", output.status);
        output.stdout
    }

    /// Puts the values one by one. Returns their revisions.
    pub(crate) fn put_each(&self, stored: &[Stored]) -> Vec<u64> {
        for pair in stored {
            self.etcdctl(&["put", &pair.key], &pair.value);
        }
        self.revisions_up_to_now(stored.len(), 1)
    }

    /// Puts the values in transactions, all keys of one at the same revision. Returns their revisions.
    pub(crate) fn put_all(&self, stored: &[Stored]) -> Vec<u64> {
        for part in stored.chunks(OPERATIONS) {
            let puts: String = part
                .iter()
                .map(|pair| format!("put {} {}\n", pair.key, quoted(&pair.value)))
                .collect();
            self.etcdctl(&["txn"], format!("\n{puts}\n\n").as_bytes());
        }
        self.revisions_up_to_now(stored.len(), OPERATIONS)
    }

    /// The revisions of the last values, of which so many share each.
    fn revisions_up_to_now(&self, count: usize, shared: usize) -> Vec<u64> {
        let now = self.revision();
        let first = now + 1 - count.div_ceil(shared) as u64;
        (0..count).map(|index| first + (index / shared) as u64).collect()
    }

    /// etcd's revision.
    fn revision(&self) -> u64 {
        let fields = self.etcdctl(&["get", "/", "-w", "fields"], b"");
        let fields = String::from_utf8(fields).expect("text");
        let revision = fields.lines().find_map(|line| line.strip_prefix("\"Revision\" : "));
        revision.and_then(|text| text.parse().ok()).expect("a revision")
    }

    /// Starts a watch of everything from the first revision on. It does not end.
    pub(crate) fn start_watch(&self, arguments: &[&str]) -> Child {
        let all = ["watch", "--prefix", "/registry/", "--rev=1"];
        self.command(&[&all, arguments].concat()).spawn().expect("etcdctl")
    }

    /// Watches everything from the first revision on, until what was printed is `enough`.
    pub(crate) fn watch(&self, arguments: &[&str], enough: &dyn Fn(&[u8]) -> bool) -> Vec<u8> {
        let mut child = self.start_watch(arguments);
        let printed = read_until(child.stdout.take().expect("a pipe"), enough);
        let _ = child.kill();
        let _ = child.wait();
        let end = printed.len().saturating_sub(300);
        let tail = String::from_utf8_lossy(&printed[end..]);
        assert!(enough(&printed), "{arguments:?}: {} bytes, and then: {tail}", printed.len());
        printed
    }

    /// Calls etcd's HTTP gateway.
    pub(crate) fn gateway(&self, path: &str, body: &str) -> Vec<u8> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).expect("etcd");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        // HTTP/1.0: the answer is not in chunks.
        let request =
            format!("POST {path} HTTP/1.0\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(request.as_bytes()).expect("a request");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an answer");
        let head = answer.windows(4).position(|at| at == b"\r\n\r\n").expect("a head");
        assert!(answer.starts_with(b"HTTP/1.0 200"), "{}", String::from_utf8_lossy(&answer));
        answer.split_off(head + 4)
    }
}

/// Reads until what was read is `enough`. Returns less if that takes too long.
pub(crate) fn read_until(from: ChildStdout, enough: &dyn Fn(&[u8]) -> bool) -> Vec<u8> {
    let pieces = pieces(from);
    let begun = Instant::now();
    let mut printed = Vec::new();
    while !enough(&printed) {
        let left = PATIENCE.saturating_sub(begun.elapsed());
        let Ok(piece) = pieces.recv_timeout(left) else { break };
        printed.extend(piece);
    }
    printed
}

/// Reads in a thread, so that reading can time out.
fn pieces(mut from: ChildStdout) -> Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(len @ 1..) = from.read(&mut buffer) {
            if sender.send(buffer[..len].to_vec()).is_err() {
                break;
            }
        }
    });
    receiver
}

fn free_ports() -> [u16; 2] {
    let listeners = [(); 2].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port"));
    listeners.map(|listener| listener.local_addr().expect("an address").port())
}

/// A string as Go quotes it, for etcdctl's `txn`.
fn quoted(bytes: &[u8]) -> String {
    let digits: String = bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect();
    format!("\"{digits}\"")
}
