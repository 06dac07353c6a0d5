// Writes a module into a JavaScript file, for bundlers that lose .wasm files: `node wasm/js/inline.js dist/dekker_bg.wasm`.
import { readFileSync, writeFileSync } from "node:fs";

const path = process.argv[2];
const module = readFileSync(path).toString("base64");
writeFileSync(`${path}.js`, `export default "${module}";\n`);
