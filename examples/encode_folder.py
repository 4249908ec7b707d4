"""Encode all PNG images of a folder, several at a time.

python examples/encode_folder.py ENGINE IMAGES OUTPUT
"""

import sys
from pathlib import Path

from glic_deploy import Codec

engine, images, output = map(Path, sys.argv[1:])
output.mkdir(parents=True, exist_ok=True)
sources = sorted(images.glob("*.png"))

with Codec(engine, threads=1) as codec:  # one thread for each image, as many images at a time as there are cores
    for source, data in zip(sources, codec.encode_many(sources, on_error="yield"), strict=True):
        if isinstance(data, Exception):  # this image failed, the others go on
            print(f"{source}: {data}", file=sys.stderr)
            continue
        (output / source.with_suffix(".glic").name).write_bytes(data)
        print(f"{source.name}: {len(data):,} bytes")
