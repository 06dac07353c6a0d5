// Errors, each with a stable code. errors.d.ts lists the codes.

export class DekkerError extends Error {
  /**
   * @param {string} code
   * @param {string} message
   * @param {{ grpcCode?: number, findings?: object[], isTransient?: boolean, known?: object, cause?: unknown }} [more]
   */
  constructor(code, message, more = {}) {
    super(message, "cause" in more ? { cause: more.cause } : undefined);
    this.code = code;
    this.isTransient = more.isTransient ?? false;
    if (more.grpcCode !== undefined) this.grpcCode = more.grpcCode;
    if (more.findings !== undefined) this.findings = more.findings;
    if (more.known !== undefined) this.known = more.known;
  }
}

// Defined on the prototype, as for Error's own name, so that it is not a property of each error.
Object.defineProperty(DekkerError.prototype, "name", {
  value: "DekkerError",
  writable: true,
  configurable: true,
});

/** Converts an error from the engine. */
export function fromEngine({ code, message, isTransient, grpcCode }) {
  return new DekkerError(code, message, { isTransient, grpcCode });
}

/** Returns the result of an operation, or throws its error. */
export function unwrap(outcome) {
  if (outcome.error !== undefined) throw fromEngine(outcome.error);
  return outcome;
}

/** Creates the error for a configuration that is not valid. */
export function invalidConfig(findings) {
  const lines = findings.map(({ line, column, path, message }) => {
    const place = line === undefined ? "" : `${line}:${column}: `;
    return place + (path === "" ? message : `${path}: ${message}`);
  });
  const message = `the encryption configuration is not valid: ${lines.join("; ")}`;
  return new DekkerError("INVALID_CONFIG", message, { findings });
}

/** Creates the error for bytes that are not a stored value. The core describes them as far as they are known. */
export function invalidValue({ error, ...known }) {
  return new DekkerError("INVALID_VALUE", error, { known });
}

/** Creates the error for an invalid argument. */
export function invalidArgument(message) {
  return new DekkerError("INVALID_ARGUMENT", message);
}
