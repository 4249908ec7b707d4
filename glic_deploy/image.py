"""Reads images as uint8 arrays, with the metadata that a `.glic` file of them carries.

Nothing is guessed silently. If the conversion to 8-bit pixels needs a decision (transparency, floats, several frames),
the image is refused with an error that names the choices. What is lost in the conversion is a warning.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import IO, Any, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError
from PIL import __version__ as pillow_version

from . import colour, metadata
from .arguments import one_of, path_text, shown
from .arrays import DlpackArray, to_numpy
from .errors import ImageError, LimitError, ReducedImageWarning
from .files import seekable
from .limits import CODED_MULTIPLE, DEFAULT_LIMITS, Limits, raised
from .metadata import Metadata, MetadataOption

Source = NDArray[Any] | DlpackArray | memoryview | Image.Image | str | os.PathLike[str] | IO[bytes]
Background = Sequence[int]
Alpha = Literal["refuse", "keep"]
Colour = Literal["srgb", "keep"]

_SIXTEEN_BITS = "the image has 16 bits a channel and was reduced to 8, which is what .glic files hold"

# Programs that draw: Pillow renders them with Ghostscript or the operating system.
_VECTOR_FORMATS = frozenset({"EPS", "WMF"})
# In these formats the first frame is the image. The other frames of a multi-picture JPEG, which phones and cameras
# write, are previews and depth maps; those of a Photoshop file are layers.
_FIRST_FRAME_FORMATS = frozenset({"MPO", "PSD"})
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Mode I has 32 bits, of which the readers of these formats use 16.
_SIXTEEN_BIT_FORMATS = frozenset({"PNG", "PPM"})


def check_colour(color: object) -> None:
    """Raise ImageError unless `color` is "srgb" or "keep"."""
    one_of("color", color, get_args(Colour), ImageError)


@dataclass(frozen=True)
class Handling:
    """What becomes of those parts of an image that not every `.glic` file has.

    Raises ImageError if an argument is wrong.

    Attributes:
        background: (r, g, b), each 0 to 255, on which transparent pixels are composited, like in browsers.
        alpha: "refuse" refuses transparent pixels unless there is a background; "keep" keeps the channel.
        color: "srgb" converts the pixels from the colours of their ICC profile to sRGB; "keep" keeps the pixels and
            the profile.
        metadata: "keep" keeps EXIF, XMP and an ICC profile that describes the pixels; "strip" drops EXIF and XMP, and
            a profile that says sRGB; Metadata replaces that of the image.
    """

    background: Background | None = None
    alpha: Alpha = "refuse"
    color: Colour = "srgb"
    metadata: MetadataOption = "keep"

    @classmethod
    def among(cls, options: Mapping[str, Any]) -> Handling:
        """Return the handling that the keyword arguments of `Codec.encode` ask for."""
        return cls(**{field.name: options[field.name] for field in fields(cls) if field.name in options})

    def __post_init__(self) -> None:
        check_background(self.background)
        one_of("alpha", self.alpha, get_args(Alpha), ImageError)
        check_colour(self.color)
        metadata.check_option(self.metadata)
        if self.alpha == "keep" and self.background is not None:
            raise ImageError(
                "got alpha='keep' and a background, expected at most one of them; a background makes the image opaque"
            )


@dataclass(frozen=True)
class SourceImage:
    """An image to encode.

    Attributes:
        pixels: uint8 (H, W) grey, (H, W, 2) grey and alpha, (H, W, 3) RGB, or (H, W, 4) RGB and alpha; C-contiguous.
        metadata: what the file shall carry.
        profiled: the colours are those of `metadata.icc`, not sRGB.
    """

    pixels: NDArray[np.uint8]
    metadata: Metadata
    profiled: bool


def read_image(source: Source, handling: Handling | None = None, limits: Limits = DEFAULT_LIMITS) -> SourceImage:
    """Read an image. The pixels of an array of the right form are not copied.

    Args:
        source: an array, uint8 or uint16 (rounded to 8 bits), of shape (H, W), (H, W, 1), (H, W, 2), (H, W, 3) or
            (H, W, 4) with alpha last, any strides, of numpy or of a library with DLPack such as torch; or a PIL image,
            the path of an image file, or a seekable binary file. PIL images and files are turned upright (EXIF).
        handling: what becomes of alpha, colours and metadata. None: `Handling()`.
        limits: the sizes to refuse, checked from the header before pixels are decoded.

    A ReducedImageWarning is issued if bits or colours are lost. Raises ImageError if the image cannot be read or needs
    a decision of the caller, LimitError if it is too large.
    """
    handling = handling or Handling()
    if isinstance(source, Image.Image):
        with _pillow_errors("the PIL image"):
            return _from_pillow(source, handling, limits)
    if not isinstance(source, (str, os.PathLike)) and not hasattr(source, "read"):
        array = to_numpy(source)
        if array is not None:
            return _from_array(array, handling, limits)
        raise ImageError(
            f"got a {type(source).__name__}, expected a numpy array, a PIL image, a path or a binary file; "
            + (
                "wrap the bytes of an image file in io.BytesIO"
                if isinstance(source, (bytes, bytearray, memoryview))
                else "convert it with numpy.asarray"
            )
        )
    if isinstance(source, (str, os.PathLike)):
        name = source = path_text("the path of the image", source, "a text that is not empty", ImageError)
    else:
        name = getattr(source, "name", "the file")
    with (
        _pillow_errors(str(name)),
        _opened(source) as stream,
        Image.open(seekable(stream, limits.max_image_bytes)) as image,
    ):
        return _from_pillow(image, handling, limits)


def load_image(
    source: Source, *, background: Background | None = None, limits: Limits = DEFAULT_LIMITS
) -> NDArray[np.uint8]:
    """Return an image as C-contiguous uint8 (height, width, 3) in sRGB. A `source` of that form is not copied.

    Arguments and errors are those of `read_image`; `background` is that of `Handling`.
    """
    pixels = read_image(source, Handling(background=background, metadata="strip"), limits).pixels
    return np.ascontiguousarray(np.broadcast_to(pixels[:, :, None], (*pixels.shape, 3))) if pixels.ndim == 2 else pixels


def _opened(source: Source) -> contextlib.AbstractContextManager[IO[bytes]]:
    """Open a path, to be closed at the end, or return an open file unchanged."""
    if isinstance(source, (str, os.PathLike)):
        return open(source, "rb")
    return contextlib.nullcontext(cast(IO[bytes], source))


def lift_pillow_limit(max_pixels: int) -> None:
    """Raise Pillow's own limit to `max_pixels` and silence its warnings, so that only `Limits` decide.

    This changes Pillow for the whole process.
    """
    Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS or 0, max_pixels)
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)


def pad(image: NDArray[np.uint8], multiple: int = CODED_MULTIPLE) -> NDArray[np.uint8]:
    """Repeat the last row and column of `image` (height, width, 3) until both sides are multiples of `multiple`.

    Returns `image` itself if no padding is needed.
    """
    height, width = image.shape[:2]
    bottom, right = -height % multiple, -width % multiple
    if not bottom and not right:
        return image
    return np.pad(image, ((0, bottom), (0, right), (0, 0)), mode="edge")


def check_background(background: Background | None) -> NDArray[np.uint16] | None:
    """Return the colour as an array (3,), None for None. Raises ImageError unless it is three integers of 0 to 255."""
    if background is None:
        return None
    try:
        colour = list(background)
    except TypeError:
        colour = []
    if len(colour) != 3 or not all(isinstance(v, (int, np.integer)) and 0 <= v <= 255 for v in colour):
        raise ImageError(
            f"background is {shown(background)}, expected three integers of 0 to 255 such as (255, 255, 255)"
        )
    return np.array(colour, np.uint16)


@contextlib.contextmanager
def _pillow_errors(name: str) -> Iterator[None]:
    """Add the name of the image to errors; raise Pillow's errors about bad input as ImageError or LimitError."""
    try:
        yield
    except (ImageError, LimitError) as error:
        raise type(error)(f"{name}: {error}") from error
    except MemoryError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise LimitError(
            f"{name}: {error} If you trust the image, {raised('max_pixels', '...')}, and in Python PIL's own limit, "
            "PIL.Image.MAX_IMAGE_PIXELS, too"
        ) from error
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{name}: not an image that Pillow {pillow_version} can read; convert it to PNG, or import the Pillow "
            "plugin of its format first"
        ) from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:  # an error of the operating system, not of Pillow
            raise ImageError(f"{name}: {error.strerror}; check the path and its permissions") from error
        raise ImageError(
            f"{name}: cannot be read: {error or type(error).__name__}; get a complete copy of the file"
        ) from error


def _from_array(array: NDArray[Any], handling: Handling, limits: Limits) -> SourceImage:
    if array.dtype.newbyteorder("=") not in (np.uint8, np.uint16):
        remedy = {
            "b": "multiply by 255 as uint8: array.astype(numpy.uint8) * 255",
            "f": "if 1.0 is white: numpy.rint(255 * array.clip(0, 1)).astype(numpy.uint8)",
        }.get(array.dtype.kind, "convert to numpy.uint8")
        raise ImageError(f"array has dtype {array.dtype}, expected uint8 or uint16; {remedy}")
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (2, 3, 4)):
        remedy = "encode one item of the batch at a time" if array.ndim == 4 else "put channels last"
        if array.ndim == 3 and array.shape[0] in (1, 3, 4):
            remedy = "put channels last: numpy.moveaxis(array, 0, -1)"
        raise ImageError(
            f"array has shape {array.shape}, expected (H, W), (H, W, 1), (H, W, 2), (H, W, 3) or (H, W, 4); {remedy}"
        )
    height, width = array.shape[:2]
    if not height or not width:
        raise ImageError(f"array has shape {array.shape}, expected at least one pixel; check how the image was cropped")
    limits.check_image(width, height)
    pixels = _to_eight_bits(array)
    alpha = pixels[:, :, -1] if array.ndim == 3 and array.shape[2] in (2, 4) else None
    planes = pixels if alpha is None else pixels[:, :, 0] if array.shape[2] == 2 else pixels[:, :, :3]
    chosen = handling.metadata if isinstance(handling.metadata, Metadata) else Metadata()
    if not chosen.icc:
        return SourceImage(_with_alpha(planes, alpha, handling), chosen, profiled=False)
    with _pillow_errors("the array"):
        return _in_colours(Image.fromarray(np.ascontiguousarray(planes)), alpha, chosen, handling)


def _from_pillow(image: Image.Image, handling: Handling, limits: Limits) -> SourceImage:
    width, height = image.size
    if not width or not height:
        raise ImageError(
            f"the image has {width} x {height} pixels, expected at least one; check how the image was cropped"
        )
    limits.check_image(width, height)
    if image.format in _VECTOR_FORMATS:
        raise ImageError(f"the image is a drawing ({image.format}), expected pixels; render it to PNG first")
    if getattr(image, "is_animated", False) and image.format not in _FIRST_FRAME_FORMATS:
        raise ImageError(
            "the image has more than one frame, a .glic file holds one; select a frame and save it as a separate "
            "image, in Python with PIL: image.seek(n), image.copy()"
        )
    if (image.mode == "I" and image.format not in _SIXTEEN_BIT_FORMATS) or image.mode in ("F", "LAB"):
        raise ImageError(
            f"the image has mode {image.mode}, whose range of values is unknown; convert it to 8-bit RGB first"
        )
    chosen = handling.metadata if isinstance(handling.metadata, Metadata) else metadata.of_pillow(image)
    form, sixteen_bits = _stored_form(image)
    if sixteen_bits and not image.mode.startswith("I"):
        _warn_reduced(_SIXTEEN_BITS)  # Pillow reads the upper 8 bits
    planes, alpha = _split(_upright(image), grey=form.startswith("LA"))
    return _in_colours(planes, None if alpha is None else np.asarray(alpha), chosen, handling)


def _in_colours(
    planes: Image.Image, alpha: NDArray[np.uint8] | None, described: Metadata, handling: Handling
) -> SourceImage:
    """Return the image in the colours that `handling` asks for, with the metadata that describes it then.

    Args:
        planes: the colours, of mode L, RGB or CMYK.
        alpha: the opacity (H, W), if there is any.
        described: the metadata of the image before conversion.
        handling: what becomes of alpha, colours and metadata.
    """
    kept = Metadata(icc=described.icc) if handling.metadata == "strip" else described
    profiled = False
    if described.icc and handling.color == "keep":
        planes, profiled = colour.check_profile(planes, described.icc), True
    elif described.icc:
        planes, converted = colour.to_srgb(planes, described.icc)
        if converted:
            _warn_reduced(
                "the colours were converted to sRGB, and the ICC profile is not kept; to keep both, encode with "
                "color='keep' (--color keep)"
            )
        if converted or handling.metadata == "strip":
            kept = replace(kept, icc=None)
    else:
        planes = _as_mode(planes, "L" if planes.mode == "L" else "RGB")
    return SourceImage(_with_alpha(np.asarray(planes), alpha, handling), kept, profiled)


def _stored_form(image: Image.Image) -> tuple[str, bool]:
    """Return the form of the samples in an image's file, by Pillow's name if it is known, and if they have 16 bits."""
    tiles = getattr(image, "tile", None)  # empty once the pixels are loaded
    arguments = tiles[0][3] if tiles else None  # the name `args` came with Pillow 11
    form, *others = arguments if isinstance(arguments, tuple) and arguments else (arguments,)
    if not isinstance(form, str):
        return "", False
    largest = others[0] if image.format == "PPM" and others else 0
    return form, ";16" in form or (isinstance(largest, int) and largest > 255)


def _upright(image: Image.Image) -> Image.Image:
    """Return an image turned as its EXIF says. A ReducedImageWarning is issued if the EXIF is damaged."""
    image.load()
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception as error:  # Pillow raises many types for damaged EXIF
        _warn_reduced(
            "the EXIF is damaged, and the image was not turned as its orientation says: "
            f"{error or type(error).__name__}"
        )
        return image
    turn = _TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)


def _split(image: Image.Image, *, grey: bool) -> tuple[Image.Image, Image.Image | None]:
    """Return 8-bit colour, of mode L, RGB or CMYK, and alpha, of mode L; None if the image has no transparency.

    grey: whether the image is grey even if Pillow's mode does not say so.
    """
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.uint16, copy=False)
        key = image.info.get("transparency")
        alpha = None if key is None else Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8))
        return Image.fromarray(_to_eight_bits(values)), alpha
    grey = grey or image.mode in ("1", "L", "LA")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return (rgba.getchannel("R") if grey else rgba.convert("RGB")), rgba.getchannel("A")
    if image.mode == "CMYK":
        return image, None
    return _as_mode(image, "L" if grey else "RGB"), None


def _as_mode(image: Image.Image, mode: str) -> Image.Image:
    return image if image.mode == mode else image.convert(mode)


def _to_eight_bits(array: NDArray[Any]) -> NDArray[np.uint8]:
    """Return uint16 / 257, rounded to nearest (257 is odd, so there are no ties); uint8 unchanged."""
    if array.dtype == np.uint8:
        return array
    _warn_reduced(_SIXTEEN_BITS)
    return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _warn_reduced(message: str) -> None:
    warnings.warn(ReducedImageWarning(message), stacklevel=2)


def _with_alpha(planes: NDArray[np.uint8], alpha: NDArray[np.uint8] | None, handling: Handling) -> NDArray[np.uint8]:
    """Return `planes`, (H, W) or (H, W, 3), with `alpha` (H, W) as the last channel, or composited by `alpha`."""
    if alpha is None:
        return np.ascontiguousarray(planes)
    if handling.alpha == "keep":
        return np.dstack((planes, alpha))
    if alpha.min() == 255:
        return np.ascontiguousarray(planes)
    background = check_background(handling.background)
    if background is None:
        raise ImageError(
            f"{100 * np.mean(alpha < 255):.3g} % of the pixels are not opaque, expected no transparent pixels; "
            "keep them (--alpha keep, alpha='keep'), or select the background that shows through "
            "(--background white, background=(255, 255, 255))"
        )
    weight = alpha.astype(np.uint16)
    if planes.ndim == 2 and background.min() == background.max():
        return _composited(planes, weight, background[0])
    planes = planes if planes.ndim == 3 else planes[:, :, np.newaxis]
    return _composited(planes, weight[:, :, np.newaxis], background)


def _composited(
    planes: NDArray[np.uint8], weight: NDArray[np.uint16], background: NDArray[np.uint16] | np.uint16
) -> NDArray[np.uint8]:
    return ((planes * weight + background * (255 - weight) + 127) // 255).astype(np.uint8)


def box_reduced(pixels: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    """Return an image of any channels at 1/scale size: each pixel is the mean of those that it shows."""
    if scale == 1:
        return pixels
    if pixels.ndim == 3:
        return np.dstack([box_reduced(channel, scale) for channel in np.moveaxis(pixels, -1, 0)])
    return np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).reduce(scale))
