// The gRPC client with the plugin of the `dekker` command, and with a KMS v1 plugin made from upstream's .proto file.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, link, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";
import { fileURLToPath } from "node:url";

import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";
import { Transformer } from "dekker";
import { kmsGrpc } from "dekker/kms-grpc";

import { AT, bytes, rule } from "./kms.js";

const dekker = process.env.DEKKER_BIN;
const skip = dekker === undefined && process.env.CI !== "true" ? "DEKKER_BIN names no dekker command" : false;

const file = (version, endpoint, timeout = "10s") =>
  rule(
    `  - kms: {apiVersion: ${version}, name: mine, endpoint: '${endpoint}', timeout: ${timeout}}\n  - identity: {}\n`,
  );

/** Creates a directory that is removed after the test. */
async function folder(context) {
  const path = await mkdtemp(join(tmpdir(), "dekker-node-"));
  context.after(() => rm(path, { recursive: true }));
  return path;
}

/** Runs `dekker kms serve` until the test ends. The client waits for its socket. */
function serve(context, state, listen) {
  const args = ["kms", "serve", "--state-dir", state, "--listen", listen, "--log", "error"];
  const plugin = spawn(dekker, args, { stdio: ["ignore", "inherit", "inherit"] });
  const exited = once(plugin, "exit");
  const stop = async () => {
    plugin.kill("SIGTERM");
    await exited;
  };
  context.after(stop);
  return stop;
}

test("values go through a plugin", { skip }, async (context) => {
  const state = await folder(context);
  const address = `unix://${state}/kms.sock`;
  // The plugin does not listen yet: the first call waits for the socket.
  const transformer = await Transformer.load(file("v2", address), { kms: kmsGrpc });
  const write = transformer.toStorage(AT, bytes("hello"));
  const stop = serve(context, state, address);
  const stored = await write;
  assert.equal(Buffer.from(stored).toString("latin1").slice(0, 20), "k8s:enc:kms:v2:mine:");
  assert.deepEqual(await transformer.health(), [{ name: "kms-providers" }]);
  transformer.free();

  const other = await Transformer.load(file("v2", address), { kms: { mine: kmsGrpc({ endpoint: address }) } });
  const read = await other.fromStorage(AT, stored);
  assert.deepEqual([read.plaintext, read.stale], [bytes("hello"), false]);
  await stop();
  // The DEK is cached, so no plugin is needed.
  assert.deepEqual((await other.fromStorage(AT, stored)).plaintext, bytes("hello"));
  other.free();
});

test("a plugin's error is returned unchanged", { skip }, async (context) => {
  const state = await folder(context);
  const endpoint = `unix://${state}/kms.sock`;
  serve(context, state, endpoint);
  const client = kmsGrpc({ endpoint });
  const request = { uid: "1", ciphertext: bytes("not from here"), keyId: "nobody's", annotations: {} };
  const fault = await client.decrypt(request).catch((fault) => fault);
  assert.ok(Number.isInteger(fault.code) && fault.code > 0 && fault.details !== "", String(fault));
  client.close();
});

test("a plugin's long error text is returned whole, without a retry", async (context) => {
  const path = join(await folder(context), "long.sock");
  const proto = fileURLToPath(new URL("../../dist/kms/v2.proto", import.meta.url));
  const { v2 } = grpc.loadPackageDefinition(protoLoader.loadSync(proto, { defaults: true }));
  const details = "the HSM is away ".repeat(2048);
  let requests = 0;
  const server = new grpc.Server();
  const fail = (_, callback) => {
    requests++;
    callback({ code: grpc.status.UNAVAILABLE, details });
  };
  const large = (_, callback) => callback(null, { ciphertext: Buffer.alloc(5 << 20) });
  server.addService(v2.KeyManagementService.service, { status: fail, encrypt: large, decrypt: fail });
  await new Promise((resolve, reject) => {
    const listening = (fault) => (fault ? reject(fault) : resolve());
    server.bindAsync(`unix:${path}`, grpc.ServerCredentials.createInsecure(), listening);
  });
  context.after(() => server.forceShutdown());
  const client = kmsGrpc({ socketPath: path });
  await assert.rejects(client.status(), { code: grpc.status.UNAVAILABLE, details });
  assert.equal(requests, 1);
  await assert.rejects(client.encrypt({ uid: "1", plaintext: bytes("v") }), { code: grpc.status.RESOURCE_EXHAUSTED });
  client.close();
});

test("an aborted call is cancelled", async (context) => {
  const socketPath = join(await folder(context), "nobody.sock");
  for (const version of ["v1", "v2"]) {
    const client = kmsGrpc({ socketPath, version });
    const gone = new AbortController();
    const encrypt = () => client.encrypt({ uid: "1", plaintext: bytes("dek") }, { signal: gone.signal });
    const call = assert.rejects(encrypt(), { code: grpc.status.CANCELLED }, version);
    gone.abort();
    await call;
    await assert.rejects(encrypt(), { name: "AbortError" }, version);
    client.close();
  }
});

test("a call to a missing socket fails at its deadline", async (context) => {
  const endpoint = `unix://${join(await folder(context), "nobody.sock")}`;
  const transformer = await Transformer.load(file("v2", endpoint, "50ms"), { kms: kmsGrpc });
  await assert.rejects(transformer.toStorage(AT, bytes("v")), { code: "NOT_READY", message: /DeadlineExceeded/ });
  transformer.free();
});

/** Listens, and answers nothing. */
async function listen(path, context) {
  const sockets = [];
  const server = createServer((socket) => sockets.push(socket.on("error", () => {}))).listen(path);
  await once(server, "listening");
  context.after(() => {
    server.close();
    // grpc-js keeps a connection whose handshake has no answer, and dials again after its client was closed.
    for (const socket of sockets) socket.destroy();
  });
}

/** The states of a socket that the recording of kube-apiserver's client has and that can be made here. */
const SOCKETS = {
  missing: () => {},
  refused: async (path) => {
    const server = createServer().listen(`${path}.bound`);
    await once(server, "listening");
    // A link keeps the socket's file when the server removes its own.
    await link(`${path}.bound`, path);
    server.close();
    await once(server, "close");
  },
  directory: (path) => mkdir(path),
  "plain file": (path) => writeFile(path, ""),
  "not permitted": async (path, context) => {
    await listen(path, context);
    await chmod(path, 0);
  },
  "never accepted": listen,
};

test("a socket that cannot be used is reported as kube-apiserver reports it", async (context) => {
  const recording = new URL("../vectors/kms-sockets.json", import.meta.url);
  const { rows } = JSON.parse(await readFile(recording, "utf8"));
  const isRoot = process.geteuid() === 0;
  let compared = 0;
  for (const { state, api, connected, status, encrypt, decrypt } of rows) {
    if (connected || SOCKETS[state] === undefined) continue;
    const directory = await folder(context);
    await chmod(directory, 0o755);
    const path = join(directory, "kms.sock");
    await SOCKETS[state](path, context);
    const client = kmsGrpc({ socketPath: path, version: api, timeoutMs: 200 });
    // Root may connect to any socket.
    if (isRoot && state === "not permitted") process.seteuid(54321);
    try {
      const calls = {
        encrypt: [{ plaintext: bytes("dek") }, encrypt],
        decrypt: [{ ciphertext: bytes("dek") }, decrypt],
      };
      if (api === "v2") calls.status = [{}, status];
      const compare = async ([method, [request, text]]) => {
        const fault = await client[method](request).catch((fault) => fault);
        const desc = `${state}, ${api}, ${method}`;
        assert.equal(fault.grpcCode ?? fault.code, grpc.status.DEADLINE_EXCEEDED, desc);
        const shown = api === "v1" ? fault.message : `rpc error: code = DeadlineExceeded desc = ${fault.details}`;
        assert.equal(shown.replaceAll(path, "SOCKET"), text, desc);
      };
      await Promise.all(Object.entries(calls).map(compare));
    } finally {
      if (isRoot) process.seteuid(0);
      client.close();
    }
    compared += 1;
  }
  assert.equal(compared, 12);
});

test("operations report kube-apiserver's text for a KMS v1 plugin that cannot be reached", async (context) => {
  const path = join(await folder(context), "nobody.sock");
  const { rows } = JSON.parse(await readFile(new URL("../vectors/kms-sockets.json", import.meta.url), "utf8"));
  const { encrypt } = rows.find(({ state, api, connected }) => state === "missing" && api === "v1" && !connected);
  const events = [];
  const onEvent = (event) => events.push(event);
  const config = file("v1", `unix://${path}`, "500ms");
  const transformer = await Transformer.load(config, { kms: kmsGrpc, onEvent });
  const fault = await transformer.toStorage(AT, bytes("v")).catch((fault) => fault);
  assert.equal(fault.code, "KMS");
  assert.equal(fault.message.replaceAll(path, "SOCKET"), encrypt);
  assert.equal(events.find(({ type }) => type === "kmsCall").grpcCode, grpc.status.DEADLINE_EXCEEDED);
  transformer.free();
});

test("invalid endpoints are refused", () => {
  for (const endpoint of [
    "tcp://localhost:1",
    "unix://",
    "unix:///",
    "unix:///@abstract",
    "/run/kms.sock",
    undefined,
  ]) {
    assert.throws(() => kmsGrpc({ endpoint }), { code: "INVALID_ARGUMENT" }, endpoint);
  }
  assert.throws(() => kmsGrpc({ endpoint: "unix:///run/a.sock", version: "v3" }), { code: "INVALID_ARGUMENT" });
});

/** A KMS v1 plugin that reverses bytes. */
async function serveV1(context, path, version = "v1beta1") {
  const proto = fileURLToPath(new URL("../../dist/kms/v1beta1.proto", import.meta.url));
  const { v1beta1 } = grpc.loadPackageDefinition(protoLoader.loadSync(proto, { defaults: true }));
  const calls = [];
  const turn = (bytes) => Buffer.from(bytes).reverse();
  const server = new grpc.Server();
  const method =
    (name, answer) =>
    ({ request }, callback) => {
      calls.push([name, request.version]);
      callback(null, answer(request));
    };
  server.addService(v1beta1.KeyManagementService.service, {
    version: method("version", () => ({ version, runtimeName: "test", runtimeVersion: "1.0.0" })),
    encrypt: method("encrypt", ({ plain }) => ({ cipher: turn(plain) })),
    decrypt: method("decrypt", ({ cipher }) => ({ plain: turn(cipher) })),
  });
  await new Promise((resolve, reject) => {
    const listening = (fault) => (fault ? reject(fault) : resolve());
    server.bindAsync(`unix:${path}`, grpc.ServerCredentials.createInsecure(), listening);
  });
  context.after(() => server.forceShutdown());
  return calls;
}

test("KMS v1 calls Version first, once", async (context) => {
  const path = join(await folder(context), "v1.sock");
  const calls = await serveV1(context, path);
  const load = () => Transformer.load(file("v1", `unix://${path}`), { kms: kmsGrpc });
  const writer = await load();
  const stored = [await writer.toStorage(AT, bytes("a")), await writer.toStorage(AT, bytes("b"))];
  writer.free();
  assert.deepEqual(
    calls,
    ["version", "encrypt", "encrypt"].map((name) => [name, "v1beta1"]),
  );
  const reader = await load();
  assert.deepEqual((await reader.fromStorage(AT, stored[1])).plaintext, bytes("b"));
  assert.deepEqual(await reader.health(), [{ name: "kms-provider-0" }]);
  reader.free();
});

test("a KMS v1 plugin of another version is refused", async (context) => {
  const path = join(await folder(context), "v1.sock");
  await serveV1(context, path, "v9");
  const transformer = await Transformer.load(file("v1", `unix://${path}`), { kms: kmsGrpc });
  const message = "KMS provider api version v9 is not supported, only v1beta1 is supported now";
  await assert.rejects(transformer.toStorage(AT, bytes("v")), { code: "KMS", message });
  transformer.free();
});
