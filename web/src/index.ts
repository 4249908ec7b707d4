// What pages import.

export { Codec } from "./codec.js";
export { readHeader } from "./container.js";
export {
  BitstreamError, DamagedMetadataWarning, DamagedTilesWarning, EngineError, GlicError, ImageError, LimitError,
  ModelMismatchError, type Warning,
} from "./errors.js";
export type { Limits } from "./limits.js";
export { readMetadata } from "./metadata.js";
export type {
  BackendName, Bytes, DecodeOptions, Description, EncodeOptions, Field, FileInfo, Header, Inspection, Metadata,
  OpenOptions, Progress, Region, Stages,
} from "./types.js";
