// The entry point for Node. Importing it reads the engine's module from disk, so that every function works at once.

import "./inspect.node.js";

import { readFileSync } from "node:fs";

import { useCipher } from "./cipher.js";
import { nodeCipher } from "./cipher-node.js";
import { useKernel } from "./random.js";
import { kernelRandom } from "./random-node.js";
import { engine } from "./wasm.js";

// Larger values go through OpenSSL, which is faster than WebAssembly for them.
if (process.env.DEKKER_CIPHER !== "wasm") useCipher(nodeCipher);

useKernel(kernelRandom());

const load = () => new WebAssembly.Module(readFileSync(new URL("./dekker_bg.wasm", import.meta.url)));

engine.setLoader(load);
engine.use(load());

export * from "./api.js";
