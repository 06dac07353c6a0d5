// Faults, each with a stable code; index.d.ts lists them.

export class DekkerError extends Error {
  /**
   * @param {string} code
   * @param {string} message
   * @param {{ grpcCode?: number, findings?: object[], isTransient?: boolean, cause?: unknown }} [more]
   */
  constructor(code, message, more = {}) {
    super(message, "cause" in more ? { cause: more.cause } : undefined);
    this.code = code;
    this.isTransient = more.isTransient ?? false;
    if (more.grpcCode !== undefined) this.grpcCode = more.grpcCode;
    if (more.findings !== undefined) this.findings = more.findings;
  }
}

// On the prototype, as Error's own name: it does not show as a property of each fault.
Object.defineProperty(DekkerError.prototype, "name", {
  value: "DekkerError",
  writable: true,
  configurable: true,
});

/** A fault as the engine tells it. */
function fromEngine({ code, message, isTransient, grpcCode }) {
  return new DekkerError(code, message, { isTransient, grpcCode });
}

/** What an operation gave; throws the fault if that is what it gave. */
export function unwrap(outcome) {
  if (outcome.error !== undefined) throw fromEngine(outcome.error);
  return outcome;
}

/** A refused configuration. */
export function invalidConfig(findings) {
  const lines = findings.map(({ line, column, path, message }) => {
    const place = line === undefined ? "" : `${line}:${column}: `;
    return place + (path === "" ? message : `${path}: ${message}`);
  });
  const message = `the encryption configuration is not valid: ${lines.join("; ")}`;
  return new DekkerError("INVALID_CONFIG", message, { findings });
}

/** The caller's mistake. */
export function invalidArgument(message) {
  return new DekkerError("INVALID_ARGUMENT", message);
}
