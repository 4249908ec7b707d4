"""Writes a Triton model repository of two models, glic_encode and glic_decode, with or without the bundle inside.

What the files are: docs/serving.md.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path

import numpy as np

from ..codec import Codec
from ..errors import EngineError
from ..files import atomic_directory
from ..limits import CODED_MULTIPLE
from .settings import Settings

ENCODE, DECODE = "glic_encode", "glic_decode"
_VERSION = "1"
_ENGINE = "engine"
_WARM_UP_FILE = "image.glic"


def write_repository(
    engine: str | Path, output: str | Path, settings: Settings | None = None, *, reference: bool = False
) -> None:
    """Write a model repository for the bundle `engine` to the directory `output`, whole or not at all.

    With `reference` the models read the bundle where it is now; otherwise each has it inside (the same files, linked,
    where the file system can). A repository that this function wrote before is replaced. Raises EngineError when
    `output` is anything else, or the bundle cannot be opened here or cannot code the image of the warm-up.
    """
    settings = settings or Settings()
    engine, output = Path(engine).resolve(), Path(output).resolve()
    if output.exists() and not _is_ours(output):
        raise EngineError(
            f"{output} exists and is not a repository of {ENCODE} and {DECODE} alone; name another --output, then move "
            "these two directories to your other models"
        )
    with Codec(engine, limits=settings.limits) as codec:
        warm_up = codec.encode(np.full((CODED_MULTIPLE, CODED_MULTIPLE, 3), 128, np.uint8))
    with atomic_directory(output) as directory:
        inside = directory / ENCODE / _VERSION / _ENGINE
        for name, model in ((ENCODE, "EncodeModel"), (DECODE, "DecodeModel")):
            version = directory / name / _VERSION
            version.mkdir(parents=True)
            (version / "model.py").write_text(_MODEL.format(model=model))
            place = str(engine) if reference else _ENGINE
            (directory / name / "config.pbtxt").write_text(_config(name, settings, place, len(warm_up)))
        if not reference:
            shutil.copytree(engine, inside)
            shutil.copytree(inside, directory / DECODE / _VERSION / _ENGINE, copy_function=_link)
        (directory / DECODE / "warmup").mkdir()
        (directory / DECODE / "warmup" / _WARM_UP_FILE).write_bytes(warm_up)


def _is_ours(output: Path) -> bool:
    return output.is_dir() and {path.name for path in output.iterdir()} in (set(), {ENCODE, DECODE})


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without links
        shutil.copy2(source, target)


_MODEL = '''"""Triton loads this file; what it runs is installed with glic-deploy."""

from glic_deploy.serving.triton import {model} as TritonPythonModel

__all__ = ["TritonPythonModel"]
'''

_CONFIG = """\
# Written by glic-deploy; every value may be changed, but for the names and types of tensors.
name: "{name}"
backend: "python"

# An image is coded alone and as fast as its instance can: a batch would only make it wait for others.
max_batch_size: 0
{tensors}

# Each is a process with a codec of its own; parameter "threads" says how they share the cores.
instance_group [ {instances} ]

# Batches nothing (see above): it is where Triton looks for the bound of the queue. Requests beyond are refused at once.
dynamic_batching {{ default_queue_policy {{ max_queue_size: {queue} }} }}

# An instance is ready when it has coded one image.
model_warmup [
  {{ name: "image" batch_size: 1 inputs {{ key: "{input}" value {{ data_type: TYPE_UINT8 {warm_up} }} }} }}
]

# engine: the bundle, relative to the version's directory; backend and precision: "" is the best that works; threads: of
# an instance, 0 shares the machine's cores among them; max_...: the limits above which an image or a file is refused.
parameters [
{parameters}
]
"""

_TENSORS = {
    ENCODE: """
# One of image (height, width, channels) and file (the bytes of an image file: PNG, JPEG, ...); background is the
# colour (red, green, blue) that shows through transparent pixels; quality, 1 for the smallest files, chooses among the
# bundles where several are served; options is a JSON object of alpha, color, metadata, tile, target_bpp, target_psnr.
input [
  { name: "image" data_type: TYPE_UINT8 dims: [ -1, -1, -1 ] optional: true },
  { name: "file" data_type: TYPE_UINT8 dims: [ -1 ] optional: true },
  { name: "background" data_type: TYPE_UINT8 dims: [ 3 ] optional: true },
  { name: "quality" data_type: TYPE_UINT8 dims: [ 1 ] optional: true },
  { name: "options" data_type: TYPE_UINT8 dims: [ -1 ] optional: true }
]
output [ { name: "glic" data_type: TYPE_UINT8 dims: [ -1 ] } ]""",
    DECODE: """
# The bytes of a .glic file to an image (height, width, channels): 1 for grey, 3 for colour, and one more with alpha.
# options is a JSON object of color, region.
input [
  { name: "glic" data_type: TYPE_UINT8 dims: [ -1 ] },
  { name: "options" data_type: TYPE_UINT8 dims: [ -1 ] optional: true }
]
output [ { name: "image" data_type: TYPE_UINT8 dims: [ -1, -1, -1 ] } ]""",
}


def _config(name: str, settings: Settings, engine: str, warm_up_bytes: int) -> str:
    """The text of a model's config.pbtxt."""
    tensor, warm_up = {
        ENCODE: ("image", f"dims: [ {CODED_MULTIPLE}, {CODED_MULTIPLE}, 3 ] random_data: true"),
        DECODE: ("glic", f"dims: [ {warm_up_bytes} ] input_data_file: {_quoted(_WARM_UP_FILE)}"),
    }[name]
    parameters = {
        "engine": engine,
        "backend": settings.backend or "",
        "precision": settings.precision or "",
        "threads": settings.threads or 0,
        **dataclasses.asdict(settings.limits),
    }
    return _CONFIG.format(
        name=name,
        tensors=_TENSORS[name],
        instances=_instance_group(settings),
        queue=settings.queue,
        input=tensor,
        warm_up=warm_up,
        parameters=",\n".join(
            f"  {{ key: {_quoted(key)} value {{ string_value: {_quoted(value)} }} }}"
            for key, value in parameters.items()
        ),
    )


def _instance_group(settings: Settings) -> str:
    if not settings.gpus:
        return f"{{ count: {settings.instances} kind: KIND_CPU }}"
    return f"{{ count: {settings.instances} kind: KIND_GPU gpus: {list(settings.gpus)} }}"


def _quoted(value: object) -> str:
    """A string of protobuf's text format, which escapes as JSON does (but JSON's \\u is left out)."""
    return json.dumps(str(value), ensure_ascii=False)
