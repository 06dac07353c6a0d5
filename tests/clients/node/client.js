// @grpc/grpc-js, with its defaults, as a client of a KMS v2 plugin: `node client.js unix:///PATH`. Each line of standard input is
// `rounds N PARALLEL`, and each line of standard output is the result.

import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";

const proto = fileURLToPath(new URL("../../../proto/proto/kms/v2.proto", import.meta.url));
const { v2 } = grpc.loadPackageDefinition(protoLoader.loadSync(proto, { defaults: true }));
const client = new v2.KeyManagementService(process.argv[2], grpc.credentials.createInsecure());

const call = (method, request) =>
  new Promise((resolve, reject) => {
    client[method](request, (fault, answer) => (fault ? reject(fault) : resolve(answer)));
  });

/** Makes a Status, an Encrypt and a Decrypt call. */
async function round(number) {
  const uid = String(number);
  const seed = Buffer.from(`a seed of 32 bytes, number ${uid.padStart(6, "0")}`);
  const { healthz } = await call("status", {});
  const { ciphertext, keyId } = await call("encrypt", { uid, plaintext: seed });
  const { plaintext } = await call("decrypt", { uid, ciphertext, keyId });
  if (healthz !== "ok" || !seed.equals(plaintext)) throw new Error("another answer came back");
}

for await (const line of createInterface({ input: process.stdin })) {
  const [, rounds, parallel] = line.split(" ").map(Number);
  const faults = {};
  let [next, done] = [0, 0];
  const work = async () => {
    while (next < rounds) {
      try {
        await round(next++);
        done++;
      } catch ({ message }) {
        faults[message] = (faults[message] ?? 0) + 1;
      }
    }
  };
  await Promise.all(Array.from({ length: parallel }, work));
  console.log(JSON.stringify({ done, faults }));
}
client.close();
