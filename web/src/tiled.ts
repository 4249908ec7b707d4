// Images in tiles. The worker loads this part for the first of them.

import { flat } from "./bytes.js";
import { timed } from "./engine.js";
import { BitstreamError, DamagedTilesWarning } from "./errors.js";
import { type Call, counted } from "./files.js";
import { type Box, reduced, regionBox } from "./geometry.js";
import { blank, boxReduced, type Pixels } from "./pixels.js";
import type { DecodeRequest } from "./protocol.js";
import { joined } from "./seams.js";
import { parseTiled, type TiledFile } from "./tiles.js";
import type { Header } from "./types.js";

const FILL = 128;

/** Decodes a tiled file, or a region of it. */
export async function decodeTiled(
  call: Call, request: Omit<DecodeRequest, "data">, data: Uint8Array,
): Promise<{ header: Header; image: Pixels }> {
  const { engine, limits, context } = call;
  const partial = request.region !== undefined || request.onError === "fill";
  const file = timed(context, "container", () => parseTiled(data, limits, partial));
  engine.checkFits(file.header);
  engine.checkScale(request.scale);
  const box = regionBox(request.region, file.header.width, file.header.height);
  return { header: file.header, image: await decodeTiles(call, request, file, box, request.scale) };
}

async function decodeTiles(
  call: Call, request: Pick<DecodeRequest, "onError">, file: TiledFile, box: Box, scale: number,
): Promise<Pixels> {
  const { engine, context } = call;
  const { grid, header } = file;
  const smallBox = reduced(box, scale);
  if (grid.overlap % scale) {
    // Of another encoder: a preview's pixels would lie across the edges of its tiles.
    const [x, y] = [smallBox.x * scale, smallBox.y * scale];
    const whole = {
      x, y,
      width: Math.min((smallBox.x + smallBox.width) * scale, header.width) - x,
      height: Math.min((smallBox.y + smallBox.height) * scale, header.height) - y,
    };
    const image = await decodeTiles(call, request, file, whole, 1);
    const planes = { data: flat(image.data), width: image.width, height: image.height, channels: 4 };
    const small = boxReduced(planes, scale);
    return { data: new Uint8ClampedArray(small.data), width: small.width, height: small.height };
  }
  const needed = grid.touching(box).flat();
  counted(call, needed.length);
  const small = grid.reduced(scale);
  const damaged: Box[] = [];
  const image = await joined(small, smallBox, async (index) => {
    const { width, height } = grid.box(index);
    try {
      const payload = file.payload(index);
      return await engine.decode(header, payload, file.symbolChecksum(index), width, height, scale, context);
    } catch (error) {
      if (!(error instanceof BitstreamError)) throw error;
      if (request.onError === "raise") throw new BitstreamError(`${file.place(index)}: ${error.message}`);
      damaged.push(grid.box(index));
      const size = small.box(index);
      return blank(size.width, size.height, FILL);
    }
  });
  if (damaged.length) {
    const places = damaged.map(({ x, y, width, height }) => `${width} x ${height} pixels at ${x}, ${y}`);
    call.warn(
      new DamagedTilesWarning(
        `${damaged.length} of ${needed.length} tiles are damaged and grey in the image: ${places.join(", ")}; get an ` +
          "unaltered copy",
      ),
    );
  }
  return image;
}
