// Writes the module into a JavaScript file, for bundlers that lose .wasm files: `node wasm/js/inline.js dist`.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const dist = process.argv[2];
const module = readFileSync(join(dist, "dekker_bg.wasm")).toString("base64");
writeFileSync(join(dist, "dekker_bg.wasm.js"), `export default "${module}";\n`);
