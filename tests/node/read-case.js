// Reads a value of tests/vectors/cases with the package, in Node or in a browser.

const TOKEN = "/registry/secrets/default/token";

/** Splits an input into chunks of seven bytes, so that no chunk has a whole value. */
function* chunksOf(bytes) {
  for (let at = 0; at < bytes.length; at += 7) yield bytes.subarray(at, at + 7);
}

/**
 * Reads one file with the package: returns what it finds, what it finds in a stream, and the plaintexts that the configuration opens. All of it is JSON.
 */
export async function read({ inspectInput, readForms, Transformer }, input, config) {
  const found = inspectInput(input);
  const streamed = [];
  const opened = [];
  const transformer = await Transformer.load(config);
  for await (const item of readForms(chunksOf(input))) {
    const { type, form, line, offset, readings = [] } = item;
    streamed.push({ type, form, line, offset });
    for (const { stored } of readings) {
      const key = item.key ?? TOKEN;
      const read = await transformer.fromStorage({ resource: "secrets", key }, stored).catch((fault) => fault);
      if (read instanceof Error) continue;
      opened.push(new TextDecoder("latin1").decode(read.plaintext));
      break;
    }
  }
  transformer.free();
  return { found, streamed, opened };
}
