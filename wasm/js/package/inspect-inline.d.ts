export * from "./inspect.js";
