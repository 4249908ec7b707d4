// The exceptions and warnings of glic_deploy, by the same names. Each message says what was found, what was expected
// and what to do next.

export class GlicError extends Error {
  override name = "GlicError";
}

/** The data is not a `.glic` file or a range-coded stream, or it is cut short or altered. */
export class BitstreamError extends GlicError {
  override name = "BitstreamError";
}

/** A file was written with another model or another entropy arithmetic than the bundle has. */
export class ModelMismatchError extends GlicError {
  override name = "ModelMismatchError";
}

/** A bundle cannot be opened, or a backend cannot run it. */
export class EngineError extends GlicError {
  override name = "EngineError";
}

/** An image or a file exceeds the limits. */
export class LimitError extends GlicError {
  override name = "LimitError";
}

/** An image, a region or a colour profile has a form that the codec does not accept. */
export class ImageError extends GlicError {
  override name = "ImageError";
}

/** An item of a file's metadata is damaged or cut off, and was left out. */
export class DamagedMetadataWarning extends GlicError {
  override name = "DamagedMetadataWarning";
}

/** An image was decoded with `onError: "fill"`, and its damaged tiles were made grey. */
export class DamagedTilesWarning extends GlicError {
  override name = "DamagedTilesWarning";
}

export type Warning = DamagedMetadataWarning | DamagedTilesWarning;

const CLASSES: Record<string, new (message: string) => Error> = {
  GlicError,
  BitstreamError,
  ModelMismatchError,
  EngineError,
  LimitError,
  ImageError,
  DamagedMetadataWarning,
  DamagedTilesWarning,
};

export interface ErrorMessage {
  name: string;
  message: string;
}

/** Returns an error in a form that passes between threads. */
export function asMessage(error: unknown): ErrorMessage {
  const { name, message } = error instanceof Error ? error : new Error(String(error));
  return { name, message };
}

/** Makes an error as another thread raised it. */
export function fromMessage({ name, message }: ErrorMessage): Error {
  if (name in CLASSES) return new CLASSES[name](message);
  const error = new Error(message);
  error.name = name;
  return error;
}
