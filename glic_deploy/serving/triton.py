"""The encode and decode models on Triton's Python backend: requests' tensors to `Codec` and back.

Triton runs each model instance in a process of its own, one request at a time; each owns a codec. Importable only in
such a process, where the server provides `triton_python_backend_utils`.
"""

from __future__ import annotations

import dataclasses
import io
import json
import os
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
from numpy.typing import NDArray

from ..arguments import shown
from ..codec import Codec
from ..errors import BitstreamError, GlicError, ImageError, LimitError, ModelMismatchError
from ..image import Source, lift_pillow_limit
from ..limits import Limits


class RequestError(GlicError, ValueError):
    """The inputs of a request do not go together, or one is out of its range."""


_CALLERS_FAULT = (BitstreamError, ImageError, LimitError, ModelMismatchError, RequestError)


class CodecModel:
    """What both models share: opening the codec, and one answer to each request, whatever it holds."""

    output: str

    def initialize(self, args: Mapping[str, str]) -> None:
        """Open the codec that the model's configuration asks for. Raises EngineError, which Triton shows and logs."""
        config = json.loads(args["model_config"])
        parameters = {name: value["string_value"] for name, value in config["parameters"].items()}
        limits = Limits(**{field.name: int(parameters[field.name]) for field in dataclasses.fields(Limits)})
        if args["model_instance_kind"] == "GPU":
            _use_gpu(int(args["model_instance_device_id"]))
        lift_pillow_limit(limits.max_pixels)
        self._codec = Codec(
            Path(args["model_repository"], args["model_version"], parameters["engine"]),
            backend=parameters["backend"] or None,
            precision=parameters["precision"] or None,
            threads=int(parameters["threads"]) or share_of_cores(config["instance_group"]),
            limits=limits,
        )
        pb_utils.Logger.log_info(f"{args['model_instance_name']}: {self._codec.describe()['backend']}")

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """One response for each request, in their order."""
        return [self._respond(request) for request in requests]

    def finalize(self) -> None:
        self._codec.close()

    def _respond(self, request: Any) -> Any:
        if request.is_cancelled():
            return _refusal("the client cancelled the request", "CANCELLED")
        try:
            result = self.work(request)
        except _CALLERS_FAULT as error:
            return _refusal(f"{type(error).__name__}: {error}", "INVALID_ARG")
        except MemoryError:
            return _refusal("out of memory; send smaller images or fewer at once", "UNAVAILABLE")
        except GlicError as error:
            return _refusal(f"{type(error).__name__}: {error}", "INTERNAL")
        except Exception as error:
            pb_utils.Logger.log_error(traceback.format_exc())
            return _refusal(f"unexpected {type(error).__name__}, see the server's log", "INTERNAL")
        return pb_utils.InferenceResponse(output_tensors=[pb_utils.Tensor(self.output, result)])

    def work(self, request: Any) -> NDArray[np.uint8]:
        """The output tensor for one request. Raises GlicError."""
        raise NotImplementedError


class EncodeModel(CodecModel):
    """Codes `image` (H, W, C) or `file`, an image file, to `glic`; all tensors are uint8.

    Optional inputs: `background` (3,), `quality` (1,), and `options`, a JSON object of keywords of `Codec.encode`.
    """

    output = "glic"
    _options = frozenset({
        "alpha", "color", "metadata", "tile", "effort", "strict", "target_bpp", "target_bytes", "target_psnr"
    })  # fmt: skip

    def work(self, request: Any) -> NDArray[np.uint8]:
        image, file, background, quality = (
            _input(request, name) for name in ("image", "file", "background", "quality")
        )
        source: Source
        if file is None and image is not None:
            source = image
        elif image is None and file is not None:
            source = io.BytesIO(file.data)
        else:
            raise RequestError(
                f"got {'neither' if image is None else 'both'} of the inputs image (pixels) and file (an image file's "
                "bytes), expected one of them"
            )
        data = self._codec.encode(
            source,
            background=None if background is None else background.tolist(),
            quality=None if quality is None else self._checked(quality),
            **_options(request, self._options),
        )
        return np.frombuffer(data, np.uint8)

    def _checked(self, quality: NDArray[np.uint8]) -> int:
        qualities = len(self._codec.fingerprints)
        if quality.shape != (1,):
            raise RequestError(f"quality has shape {quality.shape}, expected (1,), one number from 1 to {qualities}")
        if not 1 <= quality[0] <= qualities:
            raise RequestError(f"quality is {quality[0]}, expected 1 to {qualities}, the bundles that are served")
        return int(quality[0])


class DecodeModel(CodecModel):
    """Decodes `glic`, the bytes of a `.glic` file, to `image` (H, W, C), C being 1 to 4; both tensors are uint8.

    Optional input: `options`, a JSON object of keywords of `Codec.decode`.
    """

    output = "image"
    _options = frozenset({"color", "region"})

    def work(self, request: Any) -> NDArray[np.uint8]:
        data = _input(request, "glic")
        assert data is not None  # the input is not optional: Triton refuses requests without it
        image = self._codec.decode(data.data, device=None, **_options(request, self._options))
        return image if image.ndim == 3 else image[:, :, np.newaxis]


def share_of_cores(instance_group: Sequence[Mapping[str, Any]]) -> int:
    """Threads of one instance when all, of this model and as many of the other, divide this process's cores.

    More threads than cores cost much, because those of onnxruntime wait for each other by spinning.
    """
    instances: int = sum(group.get("count", 1) * max(1, len(group.get("gpus", ()))) for group in instance_group)
    return max(1, len(os.sched_getaffinity(0)) // (2 * instances))


def _use_gpu(number: int) -> None:
    """Show this process only that of the GPUs which the server sees; CUDA has not been started in it yet."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    os.environ["CUDA_VISIBLE_DEVICES"] = visible.split(",")[number] if visible else str(number)


def _input(request: Any, name: str) -> NDArray[np.uint8] | None:
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    return None if tensor is None else tensor.as_numpy()


def _options(request: Any, names: frozenset[str]) -> dict[str, Any]:
    """Return the keyword arguments of the input `options`. Raises RequestError for other ones than `names`."""
    text = _input(request, "options")
    if text is None:
        return {}
    try:
        options = json.loads(text.tobytes())
    except (ValueError, RecursionError):
        options = None
    if not isinstance(options, dict) or not options.keys() <= names:
        raise RequestError(
            f"options is {shown(text.tobytes())}, expected a JSON object of some of: {', '.join(sorted(names))}"
        )
    return options


def _refusal(message: str, code: str) -> Any:
    error = pb_utils.TritonError(message, getattr(pb_utils.TritonError, code))
    return pb_utils.InferenceResponse(output_tensors=[], error=error)
