// Browsers, and bundlers for them: the module is fetched by init(), which Transformer.load() awaits.

import { setLoader } from "./wasm.js";

setLoader(async (source = new URL("./dekker_bg.wasm", import.meta.url)) => {
  if (source instanceof ArrayBuffer || ArrayBuffer.isView(source)) return WebAssembly.compile(source);
  const answer = source instanceof Response ? source : await fetch(source);
  if (!answer.ok) throw new Error(`${answer.url} answered ${answer.status}`);
  // Compiling as it arrives demands `application/wasm` of the server; compiling what has arrived does not.
  return WebAssembly.compile(await answer.arrayBuffer());
});

export * from "./api.js";
