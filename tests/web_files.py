"""Write the files that the tests of the browser's decoder read (web/test)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from export.bundle import updating
from glic_deploy import web_bundle
from glic_deploy.bundle import BASE

from . import rans_golden

GOLDEN, RANS = "golden", "rans"


def write(folder: Path, golden: Path) -> None:
    """Write the golden network as a web bundle, with a stand-in for the synthesis, and streams of the range coder.

    golden: the engine bundle that `tests.golden_files.write_bundle` wrote.
    """
    engine = shutil.copytree(golden, folder / "engine")
    with updating(engine) as update:
        update.add_graph("synthesis", BASE, synthesis(), weights="graphs/synthesis.bin")
    web_bundle.write(engine, folder / GOLDEN)
    places = web_bundle._write_arrays(folder / f"{RANS}.bin", dict(np.load(rans_golden.PATH)))
    (folder / f"{RANS}.json").write_text(json.dumps(places))


def synthesis(latent: int = 64) -> ModelProto:
    """Return `tests.standin.synthesis` as a graph."""
    cells = numpy_helper.from_array(np.arange(256) % latent, "cells")
    numbers = {"fraction": np.float32(4096), "byte": np.float32(256), "spatial": np.array([0, 1])}
    last = numpy_helper.from_array(np.array([-1]), "last")
    nodes = [
        helper.make_node("Mul", ["y_hat", "fraction"], ["scaled"]),
        helper.make_node("Round", ["scaled"], ["fixed"]),
        helper.make_node("Gather", ["fixed", "cells"], ["blocks"], axis=1),
        helper.make_node("DepthToSpace", ["blocks"], ["plane"], blocksize=16),
        helper.make_node("Squeeze", ["plane", "spatial"], ["rest0"]),
    ]
    for place in range(3):  # the lower three bytes, of two's complement
        nodes += [
            helper.make_node("Div", [f"rest{place}", "byte"], [f"quotient{place}"]),
            helper.make_node("Floor", [f"quotient{place}"], [f"rest{place + 1}"]),
            helper.make_node("Mul", [f"rest{place + 1}", "byte"], [f"floored{place}"]),
            helper.make_node("Sub", [f"rest{place}", f"floored{place}"], [f"low{place}"]),
            helper.make_node("Unsqueeze", [f"low{place}", "last"], [f"channel{place}"]),
        ]
    nodes += [
        helper.make_node("Concat", [f"channel{place}" for place in range(3)], ["colours"], axis=-1),
        helper.make_node("Cast", ["colours"], ["image"], to=TensorProto.UINT8),
    ]
    graph = helper.make_graph(
        nodes,
        "synthesis",
        [helper.make_tensor_value_info("y_hat", TensorProto.FLOAT, [1, latent, "h", "w"])],
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["H", "W", 3])],
        [cells, last, *(numpy_helper.from_array(np.asarray(value), name) for name, value in numbers.items())],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
