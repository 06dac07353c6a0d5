// The entry point for browsers and their bundlers. init(), which Transformer.load() awaits, fetches the module.

import { setLoader } from "./wasm.js";

setLoader(async (source = new URL("./dekker_bg.wasm", import.meta.url)) => {
  if (source instanceof ArrayBuffer || ArrayBuffer.isView(source)) return WebAssembly.compile(source);
  const answer = source instanceof Response ? source : await fetch(source);
  if (!answer.ok) throw new Error(`${answer.url} answered with HTTP status ${answer.status}`);
  // Compiling while the file arrives would require the server to send `application/wasm`. Compiling afterwards does not.
  return WebAssembly.compile(await answer.arrayBuffer());
});

export * from "./api.js";
