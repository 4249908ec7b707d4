"""`python -m benchmarks.metadata_sizes`: what metadata adds to the sample images as `.glic` files and as AVIF files.

The AVIF files are those of Pillow at quality 50. The metadata is of the kinds that cameras and programs write:

  EXIF       camera, lens, exposure, position and times
  thumbnail  the same with a preview of 160 pixels as JPEG, as cameras write it
  XMP        a packet of Adobe's form, with the 2 kB of white space that programs keep free for changes
  ICC        the sRGB profile of littleCMS

The last line is a JSON object: {"rows": [{"image", "metadata", "bytes", "glic", "glic_added", "avif", "avif_added"}]}.
"""

from __future__ import annotations

import argparse
import io
import json
import struct
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms

from glic_deploy import Codec, Metadata, read_metadata

PHOTOS = Path(__file__).resolve().parent.parent / "samples" / "photos"
AVIF_QUALITY = 50
_FIRST_DIRECTORY = 8  # Pillow writes it behind the header of EXIF
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Row:
    """Sizes in bytes.

    Attributes:
        image: the name of the image.
        metadata: its kind.
        bytes: of the metadata by itself.
        glic, avif: of the files with the metadata.
        glic_added, avif_added: of these, beyond the files without metadata.
    """

    image: str
    metadata: str
    bytes: int
    glic: int
    glic_added: int
    avif: int
    avif_added: int


def exif_of(pixels: Pixels, thumbnail: bool) -> bytes:
    """Return EXIF as a camera writes it, from its TIFF header on."""
    base, gps = ExifTags.Base, ExifTags.GPS
    exif = Image.Exif()  # without an orientation, as Pillow writes EXIF of AVIF files anew if there is one
    exif.endian = "<"
    exif.update({base.Make: "Camera Maker", base.Model: "Model 7 Mark III"})
    exif.update({base.Software: "1.0.2", base.DateTime: "2026:01:02 03:04:05", base.Artist: "A. Photographer"})
    exif.get_ifd(ExifTags.IFD.Exif).update({
        base.ExposureTime: 0.004, base.FNumber: 2.8, base.ISOSpeedRatings: 200, base.FocalLength: 35.0,
        base.DateTimeOriginal: "2026:01:02 03:04:05", base.DateTimeDigitized: "2026:01:02 03:04:05",
        base.OffsetTime: "+01:00", base.LensModel: "35mm F2.8", base.ColorSpace: 1, base.WhiteBalance: 0,
    })  # fmt: skip
    exif.get_ifd(ExifTags.IFD.GPSInfo).update({
        gps.GPSLatitudeRef: "N", gps.GPSLatitude: (48.0, 8.0, 14.25), gps.GPSLongitudeRef: "E",
        gps.GPSLongitude: (11.0, 34.0, 31.5), gps.GPSAltitude: 519.0,
    })  # fmt: skip
    written = exif.tobytes().removeprefix(b"Exif\0\0")
    if not thumbnail:
        return written
    preview = Image.fromarray(pixels)
    preview.thumbnail((160, 160))
    stream = io.BytesIO()
    preview.save(stream, "JPEG", quality=85)
    return with_thumbnail(written, stream.getvalue())


def with_thumbnail(exif: bytes, thumbnail: bytes) -> bytes:
    """Return little-endian EXIF with a second directory, which points to a thumbnail."""
    padded = bytearray(exif + bytes(len(exif) % 2))
    (entries,) = struct.unpack_from("<H", padded, _FIRST_DIRECTORY)
    struct.pack_into("<I", padded, _FIRST_DIRECTORY + 2 + 12 * entries, len(padded))
    start = len(padded) + 2 + 12 * 3 + 4
    tags = ((0x0103, 3, 6), (0x0201, 4, start), (0x0202, 4, len(thumbnail)))  # compression, place and size
    directory = struct.pack("<H", len(tags))
    for tag, kind, value in tags:
        directory += struct.pack(f"<HHI{'H2x' if kind == 3 else 'I'}", tag, kind, 1, value)
    return bytes(padded) + directory + bytes(4) + thumbnail


def xmp_of() -> bytes:
    """Return an XMP packet."""
    properties = {"xmp:CreateDate": "2026-01-02T03:04:05+01:00", "xmp:Rating": 5, "photoshop:City": "Munich"}
    properties |= {"dc:format": "image/jpeg", "crs:Exposure2012": "+0.35", "crs:Contrast2012": 12, "crs:Clarity2012": 8}
    body = "\n".join(f'    {name}="{value}"' for name, value in properties.items())
    packet = (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n<x:xmpmeta xmlns:x="adobe:ns:meta/">\n'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">\n'
        f'  <rdf:Description rdf:about=""\n{body}/>\n'
        f"</rdf:RDF>\n</x:xmpmeta>\n{(' ' * 99 + chr(10)) * 20}<?xpacket end='w'?>"
    )
    return packet.encode()


def kinds(pixels: Pixels) -> dict[str, Metadata]:
    """Return the metadata of each kind for an image."""
    exif, preview = exif_of(pixels, thumbnail=False), exif_of(pixels, thumbnail=True)
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return {
        "EXIF": Metadata(exif=exif),
        "EXIF with thumbnail": Metadata(exif=preview),
        "XMP": Metadata(xmp=xmp_of()),
        "ICC": Metadata(icc=icc),
        "all": Metadata(preview, xmp_of(), icc),
    }


def avif_size(pixels: Pixels, metadata: Metadata) -> int:
    """Return the size of the AVIF file of an image."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "AVIF", quality=AVIF_QUALITY, **metadata.pillow_info())
    return len(stream.getvalue())


def rows(codec: Codec, path: Path) -> Iterator[Row]:
    """Yield a row for each kind of metadata. Raises ValueError if metadata does not come back."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    plain, plain_avif = len(codec.encode(pixels)), avif_size(pixels, Metadata())
    for kind, metadata in kinds(pixels).items():
        data, avif = codec.encode(pixels, metadata=metadata), avif_size(pixels, metadata)
        if read_metadata(data) != metadata:
            raise ValueError(f"the metadata {kind} of {path.name} does not come back")
        size = sum(len(content) for _, content in metadata.items())
        yield Row(path.stem, kind, size, len(data), len(data) - plain, avif, avif - plain_avif)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path, nargs="*", default=sorted(PHOTOS.glob("*.png")))
    parser.add_argument("--engine", type=Path, default=Path("out/sample"))
    args = parser.parse_args()
    found: list[Row] = []
    print("| image | metadata | bytes | .glic file | added | AVIF file | added |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    with Codec(args.engine) as codec:
        for path in args.images:
            for row in rows(codec, path):
                found.append(row)
                shown = (f"{value:,}" if isinstance(value, int) else value for value in vars(row).values())
                print(f"| {' | '.join(shown)} |")
    print(json.dumps({"rows": [asdict(row) for row in found]}))


if __name__ == "__main__":
    main()
