"""Count the instructions of the kernels on ARM64, on an emulator, beside those of plain C++.

    python -m benchmarks.arm64_instructions [--toolchain 'g++ for ARM64'|'zig for ARM64'] [KERNEL ...]

A count is no time: processors differ in how many instructions of which kind they complete in a cycle. The shapes are
those of `run` in tests/native: parts of the released models at some positions. QEMU logs the blocks of instructions
that it translates and each block that it executes. The count of a kernel is the difference between two runs of it and
one, so that neither the start of the program nor the random inputs count.

The last line is a JSON object of the counts.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from pathlib import Path

from tests.native_programs import PROCESSORS, TOOLCHAINS, build, emulated

PROCESSOR = "max"
NEON = PROCESSORS["cortex-a53"]
# The program, its command and the instruction sets, after the plain C++ that they are compared with.
KERNELS = {
    "integer products": ("test_integer", "run", "portable", PROCESSORS[PROCESSOR]),
    "range coder, encoding": ("test_rans", "encode", "scalar", NEON),
    "range coder, decoding": ("test_rans", "decode", "scalar", NEON),
    "attention": ("test_scatter_aggregate", "run", "portable", NEON),
    "neighbour selection": ("test_dynamic_knn", "run", "portable", NEON),
    "depthwise gate": ("test_gate", "run", "portable", NEON),
    "depthwise mix": ("test_depthwise_mix", "run", "portable", NEON),
    "residual norm": ("test_residual_norm", "run", "portable", NEON),
    "Winograd": ("test_winograd", "run", "portable", NEON),
}


def instructions(command: list[str]) -> int:
    """Return how many instructions an emulated program executes. command: with QEMU's -d in_asm,exec,nochain."""
    sizes: dict[str, int] = {}
    total, start = 0, ""
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("Trace"):
                total += sizes[line.split("/", 2)[1]]
            elif line.startswith("IN:"):
                start = ""
            elif line.startswith("0x"):
                if not start:
                    start = line[2:].split(":", 1)[0].zfill(16)
                    sizes[start] = 0
                sizes[start] += 1
    if process.returncode != 0:
        raise subprocess.CalledProcessError(process.returncode, command)
    return total


def count(program: Path, command: str, isa: str) -> int:
    """Return how many instructions one run of a kernel executes."""
    options = ("-d", "in_asm,exec,nochain")
    once, twice = (
        instructions([*emulated(program, PROCESSOR, *options), command, isa, str(times)]) for times in (1, 2)
    )
    return twice - once


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kernels", nargs="*", metavar="KERNEL", help=f"of {', '.join(KERNELS)}; all by default")
    parser.add_argument("--toolchain", choices=TOOLCHAINS[1:], default=TOOLCHAINS[1])
    options = parser.parse_args()
    folder = build(options.toolchain)
    print("| kernel | instruction set | million instructions | of plain C++ |\n| --- | --- | --- | --- |")
    counts: dict[str, dict[str, int]] = {}
    for name in options.kernels or KERNELS:
        program, command, plain, others = KERNELS[name]
        counts[name] = {isa: count(folder / program, command, isa) for isa in (plain, *others)}
        for isa, number in counts[name].items():
            share = number / counts[name][plain]
            print(f"| {name} | `{isa}` | {number / 1e6:,.1f} | {share:.0%} |", flush=True)
    print(json.dumps(counts))


if __name__ == "__main__":
    main()
