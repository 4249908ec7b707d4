"""Convert images from the colours of an ICC profile to sRGB, and check profiles."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .errors import ImageError

if TYPE_CHECKING:
    from PIL.ImageCms import ImageCmsProfile


def to_srgb(image: Image.Image, profile: bytes) -> tuple[Image.Image, bool]:
    """Convert an image from the colours of its ICC profile to sRGB, relative colorimetric.

    An image whose profile is sRGB keeps its exact values.

    Args:
        image: the image, of mode L, RGB or CMYK.
        profile: the ICC profile.

    Returns the image, of mode L if it was grey, else RGB, and whether the profile differs from sRGB.

    Raises ImageError if the profile is damaged or belongs to another kind of image.
    """
    from PIL import ImageCms

    grey = image.mode == "L"
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space.strip() == "RGB":
            if image.mode == "CMYK" or grey:  # a grey image may have a colour profile
                image = image.convert("RGB")
            if _is_srgb(source):
                return (image.getchannel("G") if grey else image), False
        converted = _converted(image, source)
        return (converted.getchannel("G") if grey else converted), True
    except (ImageCms.PyCMSError, OSError, ValueError) as error:
        raise ImageError(
            f"the ICC colour profile ({len(profile):,} bytes) does not convert from {image.mode} to sRGB: {error}; "
            "remove the profile if the colours are sRGB, or convert the image with the program that wrote it"
        ) from error


def array_to_srgb(pixels: NDArray[np.uint8], profile: bytes) -> NDArray[np.uint8]:
    """Convert pixels (H, W) or (H, W, 3) from the colours of an ICC profile to sRGB, as `to_srgb` does."""
    return np.asarray(to_srgb(Image.fromarray(pixels), profile)[0])


def check_profile(image: Image.Image, profile: bytes) -> Image.Image:
    """Check that a profile describes the pixels of a grey or RGB image, and return the image.

    A grey image is converted to RGB if the profile is for RGB. Raises ImageError if the profile is damaged or belongs
    to another kind of image.
    """
    from PIL import ImageCms

    try:
        space = ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile.xcolor_space.strip()
    except (ImageCms.PyCMSError, OSError, ValueError) as error:
        raise ImageError(
            f"the ICC colour profile ({len(profile):,} bytes) cannot be read: {error}; remove the profile if the "
            "colours are sRGB"
        ) from error
    if space == "RGB" and image.mode == "L":
        return image.convert("RGB")
    if {"L": "GRAY", "RGB": "RGB"}.get(image.mode) != space:
        raise ImageError(
            f"the image has mode {image.mode} and an ICC profile for {space}, expected grey or RGB pixels with a "
            "profile of that kind, to keep the colours as they are; convert them to sRGB (--color srgb, color='srgb')"
        )
    return image


def _converted(image: Image.Image, source: ImageCmsProfile) -> Image.Image:
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
    """Return whether `source` equals sRGB: it changes no colour of a 17 x 17 x 17 lattice by more than one level."""
    levels = np.linspace(0, 255, 17).astype(np.uint8)
    lattice = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(17, 17 * 17, 3)
    moved = np.asarray(_converted(Image.fromarray(lattice), source))
    return bool(np.abs(moved.astype(np.int16) - lattice).max() <= 1)
