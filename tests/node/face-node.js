// Answers requests, one on each line, on standard input and output. Nothing else runs at the same time, so it reads and writes synchronously.

import { readSync, writeSync } from "node:fs";

// The package's own entry loads the modules.
import "dekker";

import * as bindings from "../../dist/dekker.js";
import { inspector } from "../../dist/inspect-wasm.js";
import { makeHandler } from "./face.js";

const { inspect } = inspector.current().bindings;
const handle = makeHandler(
  { ...bindings, inspect },
  {
    encode: (bytes) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("base64"),
    decode: (text) => new Uint8Array(Buffer.from(text, "base64")),
  },
);

const block = Buffer.alloc(1 << 16);
let waiting = [];
for (;;) {
  const length = readSync(0, block);
  if (length === 0) break;
  let from = 0;
  for (;;) {
    const end = block.subarray(0, length).indexOf(10, from);
    if (end < 0) break;
    const line = Buffer.concat([...waiting, block.subarray(from, end)]).toString();
    waiting = [];
    const answer = Buffer.from(`${handle(line)}\n`);
    for (let at = 0; at < answer.length; ) at += writeSync(1, answer, at);
    from = end + 1;
  }
  if (from < length) waiting.push(Buffer.from(block.subarray(from, length)));
}
