"""One instance of a model of a Triton repository, without Triton: its Python backend simulated, and every call checked.

The server's side is read from the model's files as the server reads them: config.pbtxt by Triton's own protobuf schema,
1/model.py by import with `triton_python_backend_utils` standing in for the module of that name.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from google.protobuf import json_format, text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

NUMPY_TYPES = {"TYPE_UINT8": np.uint8}


class Refused(Exception):
    """A response with an error: Triton's code and its message."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Tensor:
    def __init__(self, name: str, array: np.ndarray) -> None:
        assert isinstance(name, str)
        assert isinstance(array, np.ndarray)
        self._name, self._array = name, np.ascontiguousarray(array)
        self._array.flags.writeable = False

    def name(self) -> str:
        return self._name

    def as_numpy(self) -> np.ndarray:
        return self._array


class TritonError:
    UNKNOWN, INTERNAL, NOT_FOUND, INVALID_ARG, UNAVAILABLE, UNSUPPORTED, ALREADY_EXISTS, CANCELLED = range(8)

    def __init__(self, message: str, code: int = INTERNAL) -> None:
        assert isinstance(message, str)
        self.message, self.code = message, code

    def as_exception(self) -> Refused:
        names = {value: name for name, value in vars(TritonError).items() if isinstance(value, int)}
        return Refused(names[self.code], self.message)


@dataclass
class InferenceResponse:
    output_tensors: list[Tensor]
    error: TritonError | None = None

    def __post_init__(self) -> None:
        assert isinstance(self.output_tensors, list)
        assert self.error is None or not self.output_tensors


@dataclass
class InferenceRequest:
    inputs: Mapping[str, Tensor]
    cancelled: bool = False

    def is_cancelled(self) -> bool:
        return self.cancelled


@dataclass
class Instance:
    """An initialized model. `log` has what it told the server, by severity."""

    config: Mapping[str, Any]
    log: list[tuple[str, str]] = field(default_factory=list)
    model: Any = None

    def request(self, *, cancelled: bool = False, **inputs: np.ndarray) -> InferenceRequest:
        """A request that Triton would let through: its inputs are those that the configuration tells."""
        expected = {tensor["name"]: tensor for tensor in self.config["input"]}
        assert inputs.keys() <= expected.keys()
        for name, tensor in expected.items():
            if name in inputs:
                _check(inputs[name], tensor)
            else:
                assert tensor.get("optional"), f"{name} is missing"
        return InferenceRequest({name: Tensor(name, value) for name, value in inputs.items()}, cancelled)

    def execute(self, *requests: InferenceRequest) -> list[np.ndarray | Refused]:
        """What each request is answered with."""
        responses = self.model.execute(list(requests))
        assert len(responses) == len(requests)
        return [self._answer(response) for response in responses]

    def infer(self, **inputs: np.ndarray) -> np.ndarray:
        """The output for one request. Raises Refused."""
        (answer,) = self.execute(self.request(**inputs))
        if isinstance(answer, Refused):
            raise answer
        return answer

    def _answer(self, response: InferenceResponse) -> np.ndarray | Refused:
        assert isinstance(response, InferenceResponse)
        if response.error is not None:
            return response.error.as_exception()
        (expected,) = self.config["output"]
        (tensor,) = response.output_tensors
        assert tensor.name() == expected["name"]
        _check(tensor.as_numpy(), expected)
        return tensor.as_numpy()


def read_config(path: Path) -> dict[str, Any]:
    """config.pbtxt as the JSON that Triton hands to a model."""
    message = text_format.Parse(path.read_text(), ModelConfig())
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


@contextmanager
def load(model_directory: Path, monkeypatch: Any, *, kind: str = "CPU", device: int = 0) -> Iterator[Instance]:
    """The model's first instance, from initialize to finalize."""
    instance = Instance(read_config(model_directory / "config.pbtxt"))
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", _backend_utils(instance))
    monkeypatch.delitem(sys.modules, "glic_deploy.serving.triton", raising=False)
    spec = importlib.util.spec_from_file_location(f"served_{model_directory.name}", model_directory / "1" / "model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    instance.model = module.TritonPythonModel()
    instance.model.initialize(
        {
            "model_config": json.dumps(instance.config),
            "model_instance_kind": kind,
            "model_instance_name": f"{model_directory.name}_0_0",
            "model_instance_device_id": str(device),
            "model_repository": str(model_directory),
            "model_version": "1",
            "model_name": model_directory.name,
        }
    )
    try:
        yield instance
    finally:
        instance.model.finalize()


def _backend_utils(instance: Instance) -> ModuleType:
    class Logger:
        log_info = staticmethod(lambda message: instance.log.append(("info", message)))
        log_error = staticmethod(lambda message: instance.log.append(("error", message)))

    module = ModuleType("triton_python_backend_utils")
    module.Tensor = Tensor
    module.TritonError = TritonError
    module.InferenceResponse = InferenceResponse
    module.Logger = Logger
    module.get_input_tensor_by_name = lambda request, name: request.inputs.get(name)
    return module


def _check(array: np.ndarray, expected: Mapping[str, Any]) -> None:
    """Assert that Triton would take the array for the tensor that a configuration tells of."""
    dims = [int(dim) for dim in expected["dims"]]
    assert array.dtype == NUMPY_TYPES[expected["data_type"]]
    assert len(array.shape) == len(dims)
    assert all(dim in (-1, size) for dim, size in zip(dims, array.shape, strict=True))
