"""Check all parts of the GPU path that can be checked without a GPU: `make tensorrt-check`.

The program compiles the kernels for all architectures. It loads the plugin library into the TensorRT flavours that can
be installed here. It parses and builds every graph of the sample network, and of a network of the released size, for
three compute capabilities. It runs the source of the kernels on the CPU against the oracle, and counts what the
codec launches on a simulated GPU and how often it waits. The last line is a JSON object with the results.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from export.checkpoint import load_checkpoint
from export.progress import Progress
from export.tensorrt_bundle import add_graphs
from export.to_onnx import export_bundle
from glic_deploy.bundle import TENSORRT, Bundle
from glic_deploy.errors import GlicError
from glic_deploy.native import library_path
from glic_deploy.ops import OPS
from glic_deploy.tensorrt import BuildOptions, Profile, build_plan, load
from tests.tensorrt_simulation import counted

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "gpu"
CAPABILITIES = ((8, 0), (8, 9), (12, 0))
LEAN = {"10": ("tensorrt-lean-cu12", "<11"), "11": ("tensorrt-lean-cu13", ">=11,<12")}
"""Runtimes of TensorRT that pip can install completely. They load plugins, but have no parser."""

_LOAD = """
import sys, tensorrt_lean_bindings as trt
registry = trt.get_plugin_registry()
registry.load_library(sys.argv[1])
ops = {creator.name for creator in registry.all_creators if creator.plugin_namespace == "glic"}
print(trt.__version__ if ops >= set(sys.argv[2:]) else "")
"""


def say(line: str) -> None:
    print(line, flush=True)


def compile_kernels() -> list[str]:
    """Compile the kernels again, print the registers that they use, and return the architectures.

    Exits if a kernel does not compile or spills registers.
    """
    for compiled in BUILD.glob("**/glic_cuda_kernels.dir/**/*.o"):
        compiled.unlink()
    command = ["cmake", "--build", str(BUILD), "--target", "glic_tensorrt", "glic_rtx_alias", "glic_cuda"]
    log = subprocess.run(command, capture_output=True, text=True)
    text = log.stdout + log.stderr
    if log.returncode:
        sys.exit(text)
    pattern = r"entry function '(\S+)' for 'sm_(\d+)'.*?(\d+) bytes spill stores.*?Used (\d+) registers"
    found: dict[str, list[tuple[str, int, int]]] = defaultdict(list)
    for kernel, architecture, spilled, registers in re.findall(pattern, text, re.DOTALL):
        found[architecture].append((kernel, int(spilled), int(registers)))
    for architecture, kernels in sorted(found.items(), key=lambda item: int(item[0])):
        registers = [count for _, _, count in kernels]
        spilled = [name for name, bytes_, _ in kernels if bytes_]
        say(
            f"sm_{architecture}: {len(kernels)} kernels, {min(registers)} to {max(registers)} registers, "
            f"{len(spilled)} that spill {spilled or ''}"
        )
        if spilled:
            sys.exit("a kernel spills registers")
    return sorted(found, key=int)


def runtimes() -> Iterator[str]:
    """Yield the flavours and versions of TensorRT that load the plugin library."""
    yield f"TensorRT-RTX {load('rtx').version}"
    library = library_path("glic_tensorrt")
    for major, (package, versions) in LEAN.items():
        with tempfile.TemporaryDirectory() as folder:
            pip = [sys.executable, "-m", "pip", "install", "-q", "--target", folder]
            pip += [f"{package}-{part}{versions}" for part in ("libs", "bindings")]
            if subprocess.run(pip, capture_output=True).returncode:
                say(f"the lean runtime of TensorRT {major} does not install here: {package}")
                continue
            run = subprocess.run(
                [sys.executable, "-c", _LOAD, library, *(op.name for op in OPS.values() if "tensorrt" in op.libraries)],
                capture_output=True,
                text=True,
                env=os.environ | {"PYTHONPATH": folder},
            )
            version = run.stdout.strip()
            say(f"TensorRT {major}: {version or run.stderr.strip()[-300:] or 'does not take the library'}")
            if version:
                yield f"TensorRT {version} (lean runtime)"


def bundles(engines: list[Path]) -> Iterator[Path]:
    """Yield the bundles to build plans of: `engines`, or by default the sample network and one of the released size."""
    yield from engines
    if engines:
        return
    folder = ROOT / "out" / "tensorrt_check"
    full_size = folder / "full_size.pth"
    folder.mkdir(parents=True, exist_ok=True)
    if not full_size.exists():
        subprocess.run([sys.executable, "-m", "benchmarks.full_size_checkpoint", full_size], check=True, cwd=ROOT)
    for name, checkpoint in (("sample", ROOT / "samples" / "glic_tiny.pth"), ("full_size", full_size)):
        if not (folder / name / "manifest.json").exists():
            export_bundle(load_checkpoint(checkpoint), folder / name, Progress(sys.stderr))
        yield folder / name


def build_engines(engine: Path) -> tuple[int, int, int, int]:
    """Build the engines of a bundle.

    Returns the numbers of graphs, of graphs with the right plugins, of engines, and of the nodes of the exact entropy
    path whose sums are left to TensorRT.
    """
    add_graphs(engine, "fp16")
    bundle, flavour = Bundle.open(engine), load("rtx")
    complete = built = left = 0
    for name in bundle.graphs():
        form = bundle.form(name, TENSORRT)
        inputs, _ = bundle.ports(name)
        exact = name in bundle.exact_graphs()
        left += (form.library_sums or 0) if exact else 0
        before = built
        for capability in CAPABILITIES:
            try:
                options = BuildOptions(Profile(), (capability,))
                build_plan(flavour, bundle.graph(name, [TENSORRT]), inputs, form.plugins, options, exact=exact)
            except GlicError as error:
                say(f"{engine.name} {name} for {capability}: {error}")
            else:
                built += 1
        needs_plugins = exact or name in bundle.image_graphs()
        complete += built > before and (form.plugins > 0 or not needs_plugins)
        precision = form.precision if name in bundle.transforms() else "exact integers"
        say(f"{engine.name} {name}: {precision}, {form.plugins} plugins, {built - before} engines")
    return len(bundle.graphs()), complete, built, left


def passes(*tests: str) -> bool:
    """Return whether all tests of these files pass, also the slow ones."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "slow or not slow", *tests]
    return subprocess.run(command, cwd=ROOT).returncode == 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tensorrt_check", description=__doc__)
    parser.add_argument("--engine", type=Path, action="append", default=[], help="a bundle to build instead")
    args = parser.parse_args()
    architectures = compile_kernels()
    loads_in = list(runtimes())
    engines_of = [*bundles(args.engine)]
    counts = [build_engines(engine) for engine in engines_of]
    graphs, complete, engines, left = (sum(column) for column in zip(*counts, strict=True))
    matches = passes("tests/test_cuda_kernels.py")
    exact = passes("tests/test_integer_cuda.py", "tests/test_gpu_steps.py")
    waits = counted(engines_of[0])
    result = {
        "architectures": architectures,
        "library_loads_in": loads_in,
        "graphs": graphs,
        "graphs_with_all_plugins": complete,
        "engines_built": engines,
        "kernels_match_oracle": matches,
        "exact_in_emulator": exact,
        "entropy_products_left_to_libraries": left,
        **waits,
    }
    print(json.dumps(result))
    built = graphs == complete and engines == graphs * len(CAPABILITIES)
    return 0 if matches and exact and built and left == 0 and set(waits.values()) == {1} else 1


if __name__ == "__main__":
    sys.exit(main())
