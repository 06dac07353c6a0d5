"""Dekker's component in a Python program: `python host.py transformer.wasm`.

The engine in the component does no I/O and reads no clock. Its host (this program) reports what happened and when, and executes the actions that the
engine returns.
"""

import sys
import time

from wasmtime import Engine, Store
from wasmtime.component import Component, Linker, Record, ResourceAny, Variant

CONFIG = b"""
apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [secrets]
  providers: [{kms: {apiVersion: v2, name: my-kms, endpoint: "unix:///run/my-kms.sock"}}]
"""


def record(**fields):
    """A WIT record. A field such as `key-id` is passed as `key_id`."""
    made = Record()
    vars(made).update({name.replace("_", "-"): value for name, value in fields.items()})
    return made


class Kms:
    """A stand-in for a KMS plugin: it keeps a DEK and returns it. A real host calls `v2.KeyManagementService` by gRPC, at the `address` that
    `kms-providers` returns. A failed call has the outcome `Variant("err", record(code=14, message="…"))`."""

    def __init__(self):
        self.asked, self.dek = [], None

    def answer(self, tag, call):
        print("  KMS:", tag)
        self.asked.append(tag)
        if tag == "call-status":
            status = record(version="v2", healthz="ok", key_id="key-1")
            return Variant("status", record(call=call.call, outcome=Variant("ok", status)))
        if tag == "call-encrypt":
            self.dek = call.plaintext  # Python cannot erase bytes. A real host drops them soon.
            sealed = record(ciphertext=b"dek 1", key_id="key-1", annotations=[])
            return Variant("encrypted", record(call=call.call, outcome=Variant("ok", sealed)))
        # No `Variant` around bytes: the package only needs one where the types do not distinguish ok from err.
        return Variant("decrypted", record(call=call.call, outcome=self.dek))


class Host:
    def __init__(self, path, kms):
        self.kms, self.now = kms, int(time.time() * 1000)  # Milliseconds since 1970, which must never go back.
        engine = Engine()
        self.store, linker = Store(engine), Linker(engine)
        # The component's only import. Keys and nonces are made from these bytes, so they must come from the kernel each time: bytes from a buffer
        # or a generator in this process would repeat after a snapshot of the process was restored.
        kernel = open("/dev/urandom", "rb", buffering=0)
        with linker.root() as root, root.add_instance("wasi:random/random@0.2.0") as random:
            random.add_func("get-random-bytes", lambda _, count: kernel.read(count))
            random.add_func("get-random-u64", lambda _: int.from_bytes(kernel.read(8), "little"))
        self.instance = linker.instantiate(self.store, Component.from_file(engine, path))
        self.face = self.instance.get_export_index(self.store, "dekker:transformer/engine@0.2.0")
        options = record(
            reload=False, dek_source="counter", coast="strict", dek_cache_capacity=0, apiserver_id="", read_only=False
        )
        self.engine = self.function("[static]engine.create")(self.store, CONFIG, options, self.now)
        if not isinstance(self.engine, ResourceAny):
            raise ValueError([fault.message for fault in self.engine])

    def function(self, name):
        return self.instance.get_func(self.store, self.instance.get_export_index(self.store, name, self.face))

    def call(self, name, *args):
        return self.function("[method]engine." + name)(self.store, self.engine, *args)

    def operate(self, name, op, key, value):
        """Calls `to-storage` or `from-storage`. An operation that cannot complete at once is parked under `op`; an action has its result later."""
        outcome = self.call(name, op, record(resource="secrets", key=key), value, self.now)
        if outcome is None:
            print("  parked")
            outcome = self.settle()[op]
        return outcome.payload  # With the tag "err" the payload has a `kind`.

    def settle(self):
        """Executes the engine's actions until there are no more, and returns the completed operations. (A busier host does not wait for the KMS here:
        the engine can process other operations until the event arrives.)"""
        done = {}
        while actions := self.call("poll-actions"):
            for action in actions:
                if action.tag.startswith("call-"):
                    self.call("handle-event", self.kms.answer(action.tag, action.payload), self.now)
                elif action.tag in ("to-storage-done", "from-storage-done"):
                    done[action.payload.op] = action.payload.outcome
                elif action.tag == "log":
                    print(action.payload.level, action.payload.message, file=sys.stderr)
        return done


kms = Kms()
host = Host(sys.argv[1], kms)
print("write")
first = host.operate("to-storage", 1, b"/registry/secrets/default/a", b"hunter2")
print(" ", len(first.stored), "bytes")
print("write another")
second = host.operate("to-storage", 2, b"/registry/secrets/default/b", b"hunter2")
print(" ", len(second.stored), "bytes")
print("read")
read = host.operate("from-storage", 3, b"/registry/secrets/default/a", first.stored)
print(f"  {read.plaintext.decode()}, stale: {read.stale}")
print("read it with the other storage key")
moved = host.operate("from-storage", 4, b"/registry/secrets/default/b", first.stored)
print(" ", moved.kind)

# The host determines the time. A real host waits until `due`; this one assumes that it has come.
due = host.call("poll-timeout")
print((due - host.now) // 1000, "s later")
host.now = due
host.call("handle-timeout", host.now)
host.settle()
host.engine.drop(host.store)  # Erases every key in the component's memory.

assert (read.plaintext, read.stale, moved.kind) == (b"hunter2", False, "decrypt-failed")
assert kms.asked == ["call-status", "call-encrypt", "call-decrypt", "call-status"]
print("two writes, one Encrypt")
