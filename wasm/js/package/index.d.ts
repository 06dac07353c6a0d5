/**
 * Kubernetes' encryption at rest: encrypts and decrypts byte for byte as kube-apiserver does. This package never uses the network; it calls KMS
 * plugins through clients that the caller provides.
 *
 * Any code that runs in the same JavaScript realm can read the module's memory, including the keys.
 *
 * @module
 */

export { DekkerError, type ErrorCode, type Finding, type KnownOfValue } from "./errors.js";
export {
  type Form,
  type FoundValue,
  type InputFault,
  type InputValue,
  inspectInput,
  readForms,
  resourceOf,
} from "./forms.js";
export { type Inspection, inspect, type KeyName, type NameOptions } from "./inspection.js";
export type {
  CallOptions,
  DecryptRequest,
  DecryptResponse,
  EncryptRequest,
  EncryptResponse,
  KmsClients,
  KmsProvider,
  KmsV1Client,
  KmsV2Client,
  StatusResponse,
} from "./kms.js";
export { checkConfig, openWithDek, sealWithDek, showConfig, valuePrefixes } from "./tools.js";
export {
  type Check,
  type Clock,
  type Decrypted,
  type LoadOptions,
  type Location,
  type MetricFamily,
  type OperationOptions,
  type PlainValue,
  type Status,
  type StoredValue,
  Transformer,
  type TransformerEvent,
} from "./transformer.js";
export { init, type ModuleSource } from "./wasm.js";
