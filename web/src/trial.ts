// The trial of WebGPU, at the first visit of a browser that offers it.

import { EngineError } from "./errors.js";
import type { Sessions } from "./sessions.js";
import { tensor } from "./tensors.js";

/** The sides of the latents in the trial of WebGPU: those of 256 x 256 pixels. */
const TRIAL_SIDE = 16;
/** Mean difference of two images, in levels, that costs an image of 40 dB at most 0.02 dB. */
const TRIAL_DIFFERENCE = 0.137;

/** Returns the sessions that synthesise faster; those of the CPU where the GPU fails or gives another image. */
export async function trial(onCpu: Sessions, onGpu: Sessions, channels: number): Promise<Sessions> {
  const data = Float32Array.from({ length: channels * TRIAL_SIDE ** 2 }, (_, i) => ((i * 7919) % 5) - 2);
  const inputs = { y_hat: tensor("float32", data, [1, channels, TRIAL_SIDE, TRIAL_SIDE]) };
  const timed = async (sessions: Sessions): Promise<[Uint8Array, number]> => {
    await sessions.run("synthesis", inputs); // the first run compiles
    const start = performance.now();
    const { image } = await sessions.run("synthesis", inputs);
    return [image.data as Uint8Array, performance.now() - start];
  };
  try {
    const [[image, cpu], [other, gpu]] = [await timed(onCpu), await timed(onGpu)];
    const difference = image.reduce((sum, value, i) => sum + Math.abs(value - other[i]), 0) / image.length;
    return gpu < cpu && difference <= TRIAL_DIFFERENCE ? onGpu : onCpu;
  } catch (error) {
    if (!(error instanceof EngineError)) throw error;
    return onCpu;
  }
}
