// KMS calls. A call goes to a client and ends with the client's answer or at its deadline.

import { bytes } from "./bytes.js";
import { invalidArgument } from "./errors.js";

/** The names of the gRPC status codes. The index is the code. */
const CODES = [
  "OK",
  "CANCELLED",
  "UNKNOWN",
  "INVALID_ARGUMENT",
  "DEADLINE_EXCEEDED",
  "NOT_FOUND",
  "ALREADY_EXISTS",
  "PERMISSION_DENIED",
  "RESOURCE_EXHAUSTED",
  "FAILED_PRECONDITION",
  "ABORTED",
  "OUT_OF_RANGE",
  "UNIMPLEMENTED",
  "INTERNAL",
  "UNAVAILABLE",
  "DATA_LOSS",
  "UNAUTHENTICATED",
];
const UNKNOWN = 2;
const DEADLINE_EXCEEDED = 4;
const UNIMPLEMENTED = 12;
const INTERNAL = 13;
const UNAVAILABLE = 14;

/** The codes of Node's errors when the plugin cannot be reached. */
const UNREACHABLE = new Set(["ECONNREFUSED", "ECONNRESET", "ENOENT", "EPIPE", "EACCES"]);

/** 4096: the maximum number of characters of an error message to pass on. The engine shortens and cleans it further. */
const MESSAGE_MAX = 4096;

/**
 * Converts a client's error to a gRPC code and message. The code is 0 if the message is not that of a gRPC status; the engine then adds nothing to it.
 * `grpcCode` is what events report.
 */
function callError(fault) {
  const text = fault?.details || fault?.message || String(fault);
  const message = String(text).slice(0, MESSAGE_MAX);
  if (isVersionError(fault)) return { code: 0, message, grpcCode: fault.grpcCode ?? UNKNOWN };
  const code = codeOf(fault);
  return { code, message, grpcCode: code };
}

/** Whether the error is kmsGrpc's for the version of a KMS v1 plugin. The classes of `dekker` and `dekker/inline` differ, so the name decides. */
function isVersionError(fault) {
  return fault?.name === "DekkerError" && fault.code === "KMS";
}

function codeOf(fault) {
  const code = fault?.code;
  if (Number.isInteger(code) && code > 0 && code < CODES.length && !isDomException(fault)) return code;
  if (typeof code === "string") {
    const name = code.toUpperCase().replace(/^CANCELED$/, "CANCELLED");
    const named = CODES.indexOf(name);
    if (named > 0) return named;
    if (UNREACHABLE.has(name)) return UNAVAILABLE;
  }
  if (fault?.name === "TimeoutError") return DEADLINE_EXCEEDED;
  return UNKNOWN;
}

/** The numeric codes of a DOMException are not gRPC codes. */
function isDomException(fault) {
  return typeof DOMException !== "undefined" && fault instanceof DOMException;
}

/** 1 MiB: the maximum length of a field in an answer. The engine's own limits are lower. */
const FIELD_MAX = 1 << 20;

/** Thrown for an answer that is not valid. */
class AnswerError extends Error {
  code = INTERNAL;
}

function demand(holds, method, what) {
  if (!holds) throw new AnswerError(`the KMS client's answer to ${method} has no ${what}`);
}

const isText = (value) => typeof value === "string" && value.length <= FIELD_MAX;
/** Also accepts arrays from other realms. */
const isBytes = (value) => ArrayBuffer.isView(value) && value.byteLength <= FIELD_MAX;

/** Converts a client's answer to the arguments of the engine's `complete…` function that follow the call's ID. */
const ANSWERS = {
  status(answer) {
    for (const field of ["version", "healthz", "keyId"]) {
      demand(isText(answer?.[field]), "status", `string ${field}`);
    }
    return [answer.version, answer.healthz, answer.keyId];
  },
  encrypt(answer, version) {
    demand(isBytes(answer?.ciphertext), "encrypt", "Uint8Array ciphertext");
    if (version === "v1") return [bytes(answer.ciphertext), "", []];
    demand(isText(answer.keyId), "encrypt", "string keyId");
    const annotations = Object.entries(answer.annotations ?? {});
    demand(
      annotations.every(([name, value]) => isText(name) && isBytes(value)),
      "encrypt",
      "annotations that are Uint8Arrays",
    );
    return [bytes(answer.ciphertext), answer.keyId, annotations.flatMap(([name, value]) => [name, bytes(value)])];
  },
  decrypt(answer) {
    demand(isBytes(answer?.plaintext), "decrypt", "Uint8Array plaintext");
    return [bytes(answer.plaintext)];
  },
};

/** The engine's function for each kind of answer. */
const COMPLETE = { status: "completeStatus", encrypt: "completeEncrypt", decrypt: "completeDecrypt" };

/** Whether a client has the required methods. KMS v1 has no Status. */
function isClient(client, version) {
  const methods = version === "v1" ? ["encrypt", "decrypt"] : ["status", "encrypt", "decrypt"];
  return methods.every((method) => typeof client?.[method] === "function");
}

/** Returns the request for a client of this version: KMS v1 has no key ID and no annotations. */
function requestFor(version, request) {
  if (version === "v2" || request === undefined) return request;
  const { keyId, annotations, ...v1 } = request;
  return v1;
}

/** The caller's clients, and the calls in progress. */
export class KmsCalls {
  #clients;
  #clock;
  #complete;
  #report;
  #providers = new Map();
  #calls = new Map();

  /**
   * @param clients by name, or a function that creates a client for a provider; such a client is closed with its provider
   * @param complete called with the name and the arguments of the engine's `complete…` function when a call has ended
   * @param report called with an event for each call that has ended
   */
  constructor(clients, clock, complete, report) {
    this.#clients = clients ?? {};
    this.#clock = clock;
    this.#complete = complete;
    this.#report = report;
  }

  /** Throws unless there is a client for each provider that a file names. */
  demandClients(named, added) {
    if (typeof (added ?? this.#clients) === "function") return;
    const clients = { ...this.#clients, ...added };
    for (const { name, version } of named) {
      const client = Object.hasOwn(clients, name) ? clients[name] : undefined;
      if (isClient(client, version)) continue;
      const methods = version === "v1" ? "encrypt and decrypt" : "status, encrypt and decrypt";
      throw invalidArgument(
        client === undefined
          ? `there is no client for the KMS provider ${JSON.stringify(name)}: pass one as kms[${JSON.stringify(name)}]`
          : `the client of the KMS ${version} provider ${JSON.stringify(name)} must have the methods ${methods}`,
      );
    }
  }

  /** Adds clients for a file with more providers. Providers in use keep their clients. */
  add(added) {
    if (added === undefined) return;
    this.#clients =
      typeof added === "function" || typeof this.#clients === "function" ? added : { ...this.#clients, ...added };
  }

  knows(id) {
    return this.#providers.has(id);
  }

  learn(providers) {
    for (const info of providers) {
      if (!this.#providers.has(info.id)) this.#providers.set(info.id, { info, client: undefined, owned: false });
    }
  }

  /** Closes a provider that is no longer in use. */
  close(id) {
    const provider = this.#providers.get(id);
    this.#providers.delete(id);
    for (const [call, { provider: of, abort }] of this.#calls) {
      if (of === id) {
        this.#end(call);
        abort.abort(new DOMException("the KMS provider was closed", "AbortError"));
      }
    }
    if (provider?.owned) quietly(() => provider.client.close?.());
  }

  closeAll() {
    for (const id of [...this.#providers.keys()]) this.close(id);
  }

  /** Starts a call. `secret` is erased when the call has ended. */
  place({ call, provider: id }, method, request, secret) {
    const provider = this.#providers.get(id);
    if (provider === undefined) {
      // The provider was closed, so the engine has forgotten the call too.
      secret?.fill(0);
      return;
    }
    const { info } = provider;
    const abort = new AbortController();
    const began = this.#clock.now();
    const timer = this.#clock.setTimeout(
      () => {
        end({ code: DEADLINE_EXCEEDED, message: "context deadline exceeded", grpcCode: DEADLINE_EXCEEDED });
        abort.abort(new DOMException("the deadline of the KMS call has passed", "TimeoutError"));
      },
      Math.min(info.timeoutMs, 2 ** 31 - 1),
    );
    // The driver's timer keeps the process alive while a caller waits.
    timer?.unref?.();
    const end = (error, args) => {
      if (!this.#end(call)) return;
      const milliseconds = this.#clock.now() - began;
      this.#report({ type: "kmsCall", provider: info.name, method, grpcCode: error?.grpcCode ?? 0, milliseconds });
      if (error === undefined) this.#complete(COMPLETE[method], [call, ...args]);
      else this.#complete("completeError", [call, method, error.code, error.message]);
    };
    this.#calls.set(call, { provider: id, abort, timer, secret });
    this.#callClient(provider, method, requestFor(info.version, request), abort.signal)
      .then((answer) => {
        const args = ANSWERS[method](answer, info.version);
        end(undefined, args);
        // A DEK or seed, which the engine has copied.
        if (method === "decrypt") args[0].fill(0);
      })
      .catch((fault) => end(callError(fault)));
  }

  async #callClient(provider, method, request, signal) {
    const { info } = provider;
    // Do not call the client from within the driver: the client may call the driver.
    await undefined;
    signal.throwIfAborted();
    if (provider.client === undefined) {
      provider.owned = typeof this.#clients === "function";
      provider.client = provider.owned ? this.#clients(info) : this.#clients[info.name];
      if (!isClient(provider.client, info.version)) {
        provider.client = undefined;
        throw Object.assign(new Error("there is no client for this KMS provider"), { code: UNIMPLEMENTED });
      }
    }
    return provider.client[method](...(method === "status" ? [{ signal }] : [request, { signal }]));
  }

  #end(call) {
    const known = this.#calls.get(call);
    if (known === undefined) return false;
    this.#calls.delete(call);
    this.#clock.clearTimeout(known.timer);
    known.secret?.fill(0);
    return true;
  }
}

/** Runs a caller's function without letting it disturb the driver. An exception is rethrown as an uncaught error. */
export function quietly(run) {
  try {
    run();
  } catch (fault) {
    queueMicrotask(() => {
      throw fault;
    });
  }
}
