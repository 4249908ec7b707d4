"""Encode and decode with a server, which `glic serve --engine ENGINE` starts. The client needs no glic-deploy.

python examples/ask_server.py localhost:8000 IMAGE OUTPUT.png
"""

import sys

import numpy as np
import tritonclient.http as triton  # pip install 'tritonclient[http]'; tritonclient.grpc, with port 8001, is the same
from PIL import Image

url, source, output = sys.argv[1:]
client = triton.InferenceServerClient(url)


def ask(model: str, name: str, value: np.ndarray, result: str) -> np.ndarray:
    """Send one uint8 array to a model and return its result."""
    tensor = triton.InferInput(name, value.shape, "UINT8")
    tensor.set_data_from_numpy(value)
    return client.infer(model, [tensor]).as_numpy(result)


glic = ask("glic_encode", "file", np.fromfile(source, np.uint8), "glic")  # the bytes of a PNG or JPEG file
image = ask("glic_decode", "glic", glic, "image")  # uint8 (height, width, 3)

Image.fromarray(image).save(output)
print(f"{glic.size:,} bytes, {image.shape[1]}x{image.shape[0]} pixels")
