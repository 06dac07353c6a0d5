// Loading a module that is inside JavaScript.

/** Compiles the module that base64 encodes. */
export const compileText = (encoded) =>
  WebAssembly.compile(Uint8Array.from(atob(encoded), (char) => char.charCodeAt(0)));
