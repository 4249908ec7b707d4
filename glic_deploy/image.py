"""Reads images as uint8 RGB arrays in sRGB, and writes decoded arrays as image files.

Nothing is guessed silently. If the conversion to opaque 8-bit sRGB needs a decision (transparency, floats, several
frames), the image is refused with an error that names the choices.
"""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from collections.abc import Iterator, Sequence
from typing import IO, TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL import __version__ as pillow_version

from .arguments import path_text, shown
from .arrays import DlpackArray, to_numpy
from .errors import ImageError, LimitError
from .files import atomic_writer, seekable
from .limits import CODED_MULTIPLE, DEFAULT_LIMITS, Limits, raised

if TYPE_CHECKING:
    from PIL.ImageCms import ImageCmsProfile

Source = NDArray[Any] | DlpackArray | memoryview | Image.Image | str | os.PathLike[str] | IO[bytes]
Background = Sequence[int]

# Programs that draw: Pillow renders them with Ghostscript or the operating system.
_VECTOR_FORMATS = frozenset({"EPS", "WMF"})
# In these formats the first frame is the image. The other frames of a multi-picture JPEG, which phones and cameras
# write, are previews and depth maps; those of a Photoshop file are layers.
_FIRST_FRAME_FORMATS = frozenset({"MPO", "PSD"})
# Mode I has 32 bits, of which the readers of these formats use 16.
_SIXTEEN_BIT_FORMATS = frozenset({"PNG", "PPM"})
_SAVE_OPTIONS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"lossless": True},
}
_PERCEPTUAL = b"\0"  # the rendering intent for photographs, for the sRGB chunk of PNG


def load_image(
    source: Source, *, background: Background | None = None, limits: Limits = DEFAULT_LIMITS
) -> NDArray[np.uint8]:
    """Return an image as C-contiguous uint8 (height, width, 3) in sRGB. A `source` of that form is not copied.

    Args:
        source: an array, uint8 or uint16 (rounded to 8 bits), of shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) with
            alpha last, any strides, of numpy or of a library with DLPack such as torch; or a PIL image, the path of an
            image file, or a seekable binary file. PIL images and files are turned upright (EXIF), and converted to sRGB
            if they have an ICC profile.
        background: (r, g, b), each 0 to 255, on which transparent pixels are composited in sRGB, like in browsers.
            None: an image with transparent pixels is refused.
        limits: the sizes to refuse, checked from the header before pixels are decoded.

    Raises ImageError if the image cannot be read or needs a decision of the caller, LimitError if it is too large.
    """
    colour = check_background(background)
    if isinstance(source, Image.Image):
        with _pillow_errors("the PIL image"):
            return _from_pillow(source, colour, limits)
    if not isinstance(source, (str, os.PathLike)) and not hasattr(source, "read"):
        array = to_numpy(source)
        if array is not None:
            return _from_array(array, colour, limits)
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
        return _from_pillow(image, colour, limits)


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


def save_image(
    image: NDArray[np.uint8], target: str | os.PathLike[str] | BinaryIO, *, format: str | None = None
) -> None:
    """Write uint8 (height, width, 3) as an image file, with high quality if the format is lossy.

    A path is written atomically. PNG files state that their colours are sRGB. Files of other formats state no colour
    space, and readers assume sRGB.

    Args:
        image: the image, in sRGB.
        target: a path, or a binary file.
        format: Pillow's name of the format, such as "PNG". None: the format of the path's suffix; PNG for a file.

    Raises ImageError if the format cannot be written, OSError if writing fails.
    """
    if isinstance(target, (str, os.PathLike)):
        encoded = _encode_image_file(image, format or format_of(target))
        with atomic_writer(target) as stream:
            stream.write(encoded)
    else:
        target.write(_encode_image_file(image, format or "PNG"))


def _encode_image_file(image: NDArray[np.uint8], format: str) -> memoryview:
    format = format.upper()
    Image.init()
    if format not in Image.SAVE:
        raise ImageError(f"cannot write images of format {format}; use one of PNG, TIFF, PPM, BMP, WEBP, JPEG")
    encoded = io.BytesIO()
    try:
        Image.fromarray(image).save(encoded, format, **_save_options(format))
    except (OSError, ValueError) as error:
        height, width = image.shape[:2]
        raise ImageError(f"{format} cannot hold this image of {width} x {height} pixels: {error}; use PNG") from error
    return encoded.getbuffer()


def _save_options(format: str) -> dict[str, Any]:
    if format != "PNG":
        return _SAVE_OPTIONS.get(format, {})
    from PIL.PngImagePlugin import PngInfo

    chunks = PngInfo()
    chunks.add(b"sRGB", _PERCEPTUAL)
    return {"pnginfo": chunks}


def format_of(path: str | os.PathLike[str]) -> str:
    """Return Pillow's name of the format of a path's suffix. Raises ImageError for an unknown suffix."""
    suffix = os.path.splitext(path)[1].lower()
    formats = Image.registered_extensions()
    if suffix not in formats:
        raise ImageError(
            f"{os.fspath(path)}: {f'suffix {suffix}' if suffix else 'a name without suffix'} names no image format; "
            "use one such as .png"
        )
    return formats[suffix]


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


def _from_array(array: NDArray[Any], background: NDArray[np.uint16] | None, limits: Limits) -> NDArray[np.uint8]:
    if array.dtype.newbyteorder("=") not in (np.uint8, np.uint16):
        remedy = {
            "b": "multiply by 255 as uint8: array.astype(numpy.uint8) * 255",
            "f": "if 1.0 is white: numpy.rint(255 * array.clip(0, 1)).astype(numpy.uint8)",
        }.get(array.dtype.kind, "convert to numpy.uint8")
        raise ImageError(f"array has dtype {array.dtype}, expected uint8 or uint16; {remedy}")
    if array.ndim == 2:
        array = array[:, :, np.newaxis]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4):
        remedy = "encode one item of the batch at a time" if array.ndim == 4 else "put channels last"
        if array.ndim == 3 and array.shape[0] in (1, 3, 4):
            remedy = "put channels last: numpy.moveaxis(array, 0, -1)"
        raise ImageError(f"array has shape {array.shape}, expected (H, W), (H, W, 1), (H, W, 3) or (H, W, 4); {remedy}")
    height, width, channels = array.shape
    if not height or not width:
        raise ImageError(f"array has shape {array.shape}, expected at least one pixel; check how the image was cropped")
    limits.check_image(width, height)
    pixels = _to_eight_bits(array)
    if channels == 4:
        return _composite(pixels[:, :, :3], pixels[:, :, 3], background)
    return np.ascontiguousarray(np.broadcast_to(pixels, (height, width, 3)))


def _from_pillow(image: Image.Image, background: NDArray[np.uint16] | None, limits: Limits) -> NDArray[np.uint8]:
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
    colour, alpha = _split(ImageOps.exif_transpose(image))
    profile = image.info.get("icc_profile")
    srgb = _to_srgb(colour, profile) if profile else _as_mode(colour, "RGB")
    pixels = np.asarray(srgb)
    return pixels if alpha is None else _composite(pixels, np.asarray(alpha), background)


def _split(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Return 8-bit colour, of mode L, RGB or CMYK, and alpha, of mode L; None if the image has no transparency."""
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.uint16, copy=False)
        key = image.info.get("transparency")
        alpha = None if key is None else Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8))
        return Image.fromarray(_to_eight_bits(values)), alpha
    grey = image.mode in ("1", "L", "LA")
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
    return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _composite(
    colour: NDArray[np.uint8], alpha: NDArray[np.uint8], background: NDArray[np.uint16] | None
) -> NDArray[np.uint8]:
    """Composite `colour` (H, W, 3) over `background` by `alpha` (H, W), rounded; return opaque images unchanged."""
    if alpha.min() == 255:
        return np.ascontiguousarray(colour)
    if background is None:
        raise ImageError(
            f"{100 * np.mean(alpha < 255):.3g} % of the pixels are not opaque, expected no transparent pixels; "
            "select the background that shows through (--background white, background=(255, 255, 255))"
        )
    weight = alpha[:, :, np.newaxis].astype(np.uint16)
    return ((colour * weight + background * (255 - weight) + 127) // 255).astype(np.uint8)


def _to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Convert `image` (L, RGB or CMYK) from the colours of its ICC `profile` to sRGB, relative colorimetric."""
    from PIL import ImageCms

    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space.strip() == "RGB":
            image = _as_mode(image, "RGB")  # a grey image may have a colour profile
            if _is_srgb(source):
                return image
        return _cms(image, source)
    except (ImageCms.PyCMSError, OSError, ValueError) as error:
        raise ImageError(
            f"the ICC colour profile ({len(profile):,} bytes) does not convert from {image.mode} to sRGB: {error}; "
            "remove the profile if the colours are sRGB, or convert the image with the program that wrote it"
        ) from error


def _cms(image: Image.Image, source: ImageCmsProfile) -> Image.Image:
    from PIL import ImageCms

    converted = ImageCms.profileToProfile(
        image,
        source,
        ImageCms.createProfile("sRGB"),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        outputMode="RGB",
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    assert converted is not None  # inPlace is False
    return converted


def _is_srgb(source: ImageCmsProfile) -> bool:
    """Return whether `source` equals sRGB: it changes no colour of a 17 x 17 x 17 lattice by more than one level.

    Images with such a profile keep their exact values.
    """
    levels = np.linspace(0, 255, 17).astype(np.uint8)
    lattice = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(17, 17 * 17, 3)
    moved = np.asarray(_cms(Image.fromarray(lattice), source))
    return bool(np.abs(moved.astype(np.int16) - lattice).max() <= 1)
