"""Encode a large image in tiles, then decode one region of it without decoding the rest.

python examples/read_region.py ENGINE IMAGE REGION.png
"""

import sys
from pathlib import Path

from PIL import Image

from glic_deploy import Codec

engine, source, output = sys.argv[1:]

with Codec(engine) as codec:
    file = Path(output).with_suffix(".glic")
    file.write_bytes(codec.encode(source, tile=256))

    x, y, width, height = 64, 32, 128, 96
    stages: dict[str, float] = {}
    region = codec.decode(file.read_bytes(), region=(x, y, width, height), stages=stages)  # uint8 (96, 128, 3)

Image.fromarray(region).save(output)
print(f"{width}x{height} pixels at {x}, {y} in {sum(stages.values()):.2f} s")
