// Creates what the reader of forms has found, for the module. Byte arrays are views of the module's memory.

const lines = (text) => text.split("\n").slice(0, -1);

/** Leaves out what is `undefined`. */
export const given = (members) =>
  Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined));

/** `within` has the names of forms, each followed by a line end. */
export function value(key, revision, bytes, form, within, line, offset, content, removed, cutShort, crlfUndone) {
  return {
    ...given({ type: "value", key: key?.slice(), revision, form, within: lines(within), line, offset, content }),
    bytes: bytes.slice(),
    removed: [...removed],
    cutShort,
    crlfUndone,
  };
}

export const fault = (key, form, within, line, offset, error, command) =>
  given({ type: "fault", key: key?.slice(), form, within: lines(within), line, offset, error, command });

export const resource = (text, certain) => ({ resource: text, certain });
