// Loading a module in a browser.

/** Compiles the module that `source` contains, or names. */
export async function compile(source) {
  if (source instanceof ArrayBuffer || ArrayBuffer.isView(source)) return WebAssembly.compile(source);
  const answer = source instanceof Response ? source : await fetch(source);
  if (!answer.ok) throw new Error(`${answer.url} answered with HTTP status ${answer.status}`);
  // Compiling while the file arrives would require the server to send `application/wasm`. Compiling afterwards does not.
  return WebAssembly.compile(await answer.arrayBuffer());
}
