// What graphs read and write, and what runs them.

export interface TypedArrays {
  float32: Float32Array;
  int32: Int32Array;
  uint8: Uint8Array;
}

export interface Tensor<Type extends keyof TypedArrays = keyof TypedArrays> {
  readonly type: Type;
  readonly data: TypedArrays[Type];
  readonly dims: readonly number[];
}

/** Runs a graph: inputs and outputs by name. Throws EngineError. */
export type RunGraph = (graph: string, inputs: Record<string, Tensor>) => Promise<Record<string, Tensor>>;

export function tensor<Type extends keyof TypedArrays>(
  type: Type,
  data: TypedArrays[Type],
  dims: readonly number[],
): Tensor<Type> {
  return { type, data, dims };
}
