"""Codes images of any channels with a bundle, which codes three: red, green and blue.

A grey image is coded as equal red, green and blue, and its decoded brightness is their mean. Alpha is coded losslessly,
as a grey PNG image behind the range coder's stream (docs/format.md).
"""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .bundle_codec import BundleCodec, Latents
from .channels import Channels, as_rgb, colour_of
from .cuda_arrays import CudaImage
from .entropy.passes import CodedPass
from .entropy.quantizer import NEAREST, Weighing
from .errors import BitstreamError
from .image import box_reduced
from .refinement import SynthesisGradient, refine
from .stages import stage
from .varint import ALTERED, read_varint, write_varint


class Analysed:
    """An image to be coded in one way or in several. Its latents are computed once, when they are first needed.

    Args:
        pixels: uint8 of any channels, contiguous or not, on the host or on a GPU.
        stages: receives the seconds that each stage took.
    """

    def __init__(self, pixels: NDArray[np.uint8] | CudaImage, stages: dict[str, float] | None = None) -> None:
        self._colours = pixels if isinstance(pixels, CudaImage) else colour_of(pixels)
        self._latents: Latents | None = None
        self._alpha = None
        if not isinstance(pixels, CudaImage) and Channels.of(pixels).alpha:
            with stage(stages, "alpha"):
                self._alpha = _encode_alpha(pixels[..., -1])

    def refine(
        self,
        engine: BundleCodec,
        weighing: Weighing,
        gradient: SynthesisGradient,
        stages: dict[str, float] | None = None,
    ) -> None:
        """Refine the latents; see `glic_deploy.refinement.refine`."""
        latents = self._latents or engine.analyse(self._colours, stages)
        self._latents = refine(engine, latents, as_rgb(np.asarray(self._colours)), weighing, gradient, stages)

    def code(
        self, engine: BundleCodec, stages: dict[str, float] | None = None, weighing: Weighing = NEAREST
    ) -> tuple[bytes, int]:
        """Return the coded image, and the symbol checksum of its colours.

        Args:
            engine: codes the colours; in later calls, the same codec or another one of its bundle.
            stages: receives the seconds that each stage took.
            weighing: how bits are weighed against error.
        """
        if self._latents is None:
            self._latents, payload, checksum = engine.analyse_and_code(self._colours, stages, weighing)
        else:
            coded = engine.code(self._latents, stages, weighing)
            payload, checksum = coded.payload, coded.checksum
        if self._alpha is None:
            return payload, checksum
        return b"".join((write_varint(len(payload)), payload, self._alpha)), checksum


def encode(
    engine: BundleCodec,
    pixels: NDArray[np.uint8],
    stages: dict[str, float] | None = None,
    weighing: Weighing = NEAREST,
    gradient: SynthesisGradient | None = None,
) -> tuple[bytes, int]:
    """Return the coded image, and the symbol checksum of its colours; see `Analysed`. gradient: refines the latents."""
    analysed = Analysed(pixels, stages)
    if gradient is not None:
        analysed.refine(engine, weighing, gradient, stages)
    return analysed.code(engine, stages, weighing)


def decode(
    engine: BundleCodec,
    channels: Channels,
    coded: memoryview,
    checksum: int,
    height: int,
    width: int,
    stages: dict[str, float] | None = None,
    passes: list[CodedPass] | None = None,
    out: NDArray[np.uint8] | None = None,
    scale: int = 1,
) -> NDArray[np.uint8]:
    """Return the image that `encode` coded, uint8 of the shape that its channels have.

    Args:
        engine: decodes the colours.
        channels: those of the image.
        coded, checksum: what `encode` returned.
        height, width: the sides of the image.
        stages: receives the seconds that each stage took.
        passes: receives the symbols and indexes of each pass.
        out: receives the image.
        scale: that of `BundleCodec.decode`; the alpha of a preview is the mean of the pixels that it shows.

    Raises BitstreamError if `coded` is damaged, EngineError if a graph cannot be run.
    """
    if channels == Channels(grey=False, alpha=False):
        return engine.decode(coded, checksum, height, width, stages, passes, out, scale)
    stream, encoded_alpha = split(coded, channels.alpha)
    alpha = None
    if encoded_alpha is not None:
        with stage(stages, "alpha"):
            alpha = box_reduced(decode_alpha(encoded_alpha, height, width), scale)
    colour = engine.decode(stream, checksum, height, width, stages, passes, scale=scale)
    with stage(stages, "crop"):
        image = np.empty(channels.shape(*colour.shape[:2]), np.uint8) if out is None else out
        target = colour_of(image)
        target[...] = _brightness(colour) if channels.grey else colour
        if alpha is not None:
            image[..., -1] = alpha
    return image


def split(coded: memoryview, alpha: bool) -> tuple[memoryview, memoryview | None]:
    """Return the stream of the colours and the PNG file of the alpha, None if there is no `alpha`.

    Raises BitstreamError if the lengths do not fit.
    """
    if not alpha:
        return coded, None
    length, start = read_varint(coded, 0, "length of the colour's stream")
    end = start + length
    if end > len(coded):
        raise BitstreamError(f"the colour's stream has {length:,} bytes, {len(coded) - start:,} are left; {ALTERED}")
    return coded[start:end], coded[end:]


def _brightness(colour: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the mean of red, green and blue (H, W, 3), rounded to nearest (there are no ties)."""
    total = np.add(colour[..., 0], colour[..., 1], dtype=np.uint16)
    total += colour[..., 2]
    total += 1
    return (total // 3).astype(np.uint8)


def _encode_alpha(alpha: NDArray[np.uint8]) -> bytes:
    encoded = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(alpha)).save(encoded, "PNG", optimize=True)
    return encoded.getvalue()


def decode_alpha(encoded: memoryview, height: int, width: int) -> NDArray[np.uint8]:
    """Return the alpha (height, width) of a PNG file. Its size is checked before anything is allocated by it."""
    try:
        with Image.open(io.BytesIO(encoded), formats=["PNG"]) as image:
            if image.size != (width, height) or image.mode != "L":
                raise BitstreamError(
                    f"the alpha image has {image.width} x {image.height} pixels of mode {image.mode}, expected "
                    f"{width} x {height} of mode L; {ALTERED}"
                )
            return np.asarray(image)
    except MemoryError:
        raise
    except BitstreamError:
        raise
    except Exception as error:  # Pillow raises many types for damaged files
        raise BitstreamError(f"the alpha image cannot be read: {error or type(error).__name__}; {ALTERED}") from error
