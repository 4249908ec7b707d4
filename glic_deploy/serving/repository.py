"""Write a Triton model repository of two models, glic_encode and glic_decode, with or without the bundle inside.

docs/serving.md describes the files.
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
    """Write a model repository to the directory `output`, completely or not at all.

    A repository that this function wrote before is replaced.

    Args:
        engine: path of the bundle.
        output: path of the repository.
        settings: settings of the models; None for the defaults.
        reference: if true, the models read the bundle at its present path. Otherwise each model contains a copy of
            the bundle; the second copy consists of hard links if the file system has them.

    Raises EngineError if `output` exists and is no such repository, or if the bundle cannot be opened or cannot encode
    the warm-up image.
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
# glic-deploy wrote this file. You may change all values except the names and types of tensors.
name: "{name}"
backend: "python"

# Images are coded one by one: in a batch, an image would only wait for the others.
max_batch_size: 0
{tensors}

# Each instance is a process with its own codec. The parameter "threads" sets how the instances share the cores.
instance_group [ {instances} ]

# Sets the bound of the queue; further requests are refused at once. Nothing is batched (see max_batch_size).
dynamic_batching {{ default_queue_policy {{ max_queue_size: {queue} }} }}

# An instance is ready when it has coded one image.
model_warmup [
  {{ name: "image" batch_size: 1 inputs {{ key: "{input}" value {{ data_type: TYPE_UINT8 {warm_up} }} }} }}
]

# engine: path of the bundle, relative to the version's directory.
# backend, precision: "" selects the best backend that works, and its default precision.
# threads: CPU threads of an instance; 0 shares the machine's cores among the instances.
# max_...: limits above which an image or a file is refused.
parameters [
{parameters}
]
"""

_TENSORS = {
    ENCODE: """
# Send one of image and file.
# image: pixels (height, width, channels).
# file: bytes of an image file (PNG, JPEG, ...).
# background: colour (red, green, blue) that shows through transparent pixels.
# quality: selects one of several served bundles; 1 gives the smallest files.
# options: JSON object with alpha, color, metadata, tile, target_bpp, target_psnr.
input [
  { name: "image" data_type: TYPE_UINT8 dims: [ -1, -1, -1 ] optional: true },
  { name: "file" data_type: TYPE_UINT8 dims: [ -1 ] optional: true },
  { name: "background" data_type: TYPE_UINT8 dims: [ 3 ] optional: true },
  { name: "quality" data_type: TYPE_UINT8 dims: [ 1 ] optional: true },
  { name: "options" data_type: TYPE_UINT8 dims: [ -1 ] optional: true }
]
output [ { name: "glic" data_type: TYPE_UINT8 dims: [ -1 ] } ]""",
    DECODE: """
# glic: bytes of a .glic file.
# image: pixels (height, width, channels), with 1 channel for grey, 3 for colour, and one more for alpha.
# options: JSON object with color, region.
input [
  { name: "glic" data_type: TYPE_UINT8 dims: [ -1 ] },
  { name: "options" data_type: TYPE_UINT8 dims: [ -1 ] optional: true }
]
output [ { name: "image" data_type: TYPE_UINT8 dims: [ -1, -1, -1 ] } ]""",
}


def _config(name: str, settings: Settings, engine: str, warm_up_bytes: int) -> str:
    """Return the text of a model's config.pbtxt."""
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
    """Return a value as a string of protobuf's text format. It escapes as JSON does, but has no \\u."""
    return json.dumps(str(value), ensure_ascii=False)
