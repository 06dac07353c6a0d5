// Writes a batch of values for each byte that it reads. This is the writer of `../tests/restored_memory_node.rs`, which restores its memory.

import { readSync, writeSync } from "node:fs";

import { Transformer } from "dekker";

import { AT, bytes, TestKms } from "./kms.js";

const [provider, config, batch] = process.argv.slice(2);
const dekSource = provider === "seed" ? "hkdf-seed" : "counter";
const transformer = await Transformer.load(config, { kms: { a: new TestKms() }, dekSource });

function print(text) {
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length; ) at += writeSync(1, bytes, at);
}

print("ready\n");
const byte = Buffer.alloc(1);
while (readSync(0, byte) === 1) {
  let lines = "";
  for (let value = 0; value < Number(batch); value++) {
    lines += `${Buffer.from(await transformer.toStorage(AT, bytes("text"))).toString("hex")}\n`;
  }
  print(`${lines}done\n`);
}
transformer.free();
