"""Writes the seeds that code can make: `python -m tests.fuzz.make_seeds`. Files there by other names stay."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
from PIL import Image

from glic_deploy.container import Header, pack
from glic_deploy.fields import Field
from glic_deploy.limits import Limits
from glic_deploy.metadata import Metadata, attach
from glic_deploy.tiles import table
from glic_deploy.tiles.geometry import Grid

from .. import profiles
from .target import SEEDS


def image() -> Image.Image:
    """A small image with edges and noise."""
    noise = np.random.default_rng(1).integers(0, 60, (11, 13, 3))
    ramp = np.linspace(0, 195, 13)[None, :, None].astype(int)
    return Image.fromarray((noise + ramp).astype(np.uint8))


def saved(made: Image.Image, format: str, **options: object) -> bytes:
    written = io.BytesIO()
    made.save(written, format, **options)
    return written.getvalue()


def images() -> dict[str, bytes]:
    rgb = image()
    grey16 = Image.fromarray(np.asarray(rgb.convert("L")).astype(np.uint16) * 257)
    profile, lab = profiles.srgb(), profiles.lab()
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    exif.get_ifd(0x8769)[0x9003] = "2026:01:02 03:04:05"
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/" tiff:Orientation="6"/>'
    return {
        "rgb.png": saved(rgb, "PNG"),
        "palette.png": saved(rgb.quantize(7), "PNG"),
        "alpha.png": saved(rgb.convert("RGBA"), "PNG"),
        "transparent.png": saved(rgb.quantize(7), "PNG", transparency=2),
        "grey16.png": saved(grey16, "PNG"),
        "bilevel.png": saved(rgb.convert("1"), "PNG"),
        "profile.png": saved(rgb, "PNG", icc_profile=profile),
        "lab_profile.png": saved(rgb, "PNG", icc_profile=lab),
        "animated.png": saved(rgb, "PNG", save_all=True, append_images=[rgb.rotate(180)]),
        "rgb.jpg": saved(rgb, "JPEG", quality=50),
        "described.jpg": saved(rgb, "JPEG", exif=exif, xmp=xmp, icc_profile=profile),
        "described.png": saved(rgb, "PNG", exif=exif, icc_profile=profile),
        "described.webp": saved(rgb, "WEBP", exif=exif, xmp=xmp),
        "described.tif": saved(rgb, "TIFF", exif=exif),
        "described.avif": saved(rgb, "AVIF", exif=exif, xmp=xmp),
        "grey_alpha.png": saved(rgb.convert("LA"), "PNG"),
        "progressive.jpg": saved(rgb, "JPEG", quality=50, progressive=True, exif=exif),
        "cmyk.jpg": saved(rgb.convert("CMYK"), "JPEG", quality=50),
        "profile.jpg": saved(rgb, "JPEG", quality=50, icc_profile=profile),
        "lossy.webp": saved(rgb, "WEBP", quality=50),
        "alpha.webp": saved(rgb.convert("RGBA"), "WEBP", lossless=True),
        "rgb.gif": saved(rgb, "GIF"),
        "animated.gif": saved(rgb, "GIF", save_all=True, append_images=[rgb.rotate(180)]),
        "rgb.tif": saved(rgb, "TIFF"),
        "deflate.tif": saved(rgb, "TIFF", compression="tiff_adobe_deflate"),
        "lzw16.tif": saved(grey16, "TIFF", compression="tiff_lzw"),
        "rgb.bmp": saved(rgb, "BMP"),
        "rgb.ppm": saved(rgb, "PPM"),
        "rgb.tga": saved(rgb, "TGA"),
        "rgb.jp2": saved(rgb, "JPEG2000"),
    }


def headers() -> dict[str, bytes]:
    fingerprints = {"model_fingerprint": b"mode", "arithmetic_fingerprint": b"arit"}
    whole = Header(width=300, height=200, exact=True, tiled=False, **fingerprints)
    tiled = Header(width=300, height=200, exact=True, tiled=True, **fingerprints)
    wide = Header(width=40000, height=129, exact=True, tiled=True, **fingerprints)
    fields, attachments = attach(Metadata(exif=b"II*\0\x08\0\0\0\0\0\0\0\0\0", xmp=b"<x/>", icc=b"icc"), Limits())
    described = replace(whole, profiled=True, fields=(*fields, Field(4 * 4096, b"private")))
    few, many = Grid.of(300, 200, 256, 128, 16), Grid.of(40000, 129, 128, 128, 16)
    return {
        "empty.glic": pack(whole, b"", 0),
        "whole.glic": pack(whole, bytes(range(40)), 7),
        "described.glic": pack(described, bytes(range(40)), 7, attachments),
        "tiled.glic": table.pack(tiled, few, [(bytes(5), 3)] * len(few)),
        "many.glic": table.pack(wide, many, [(b"x", 1)] * len(many)),
    }


def main() -> None:
    for folder, files in (("images", images()), ("headers", headers())):
        (SEEDS / folder).mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (SEEDS / folder / name).write_bytes(content)


if __name__ == "__main__":
    main()
