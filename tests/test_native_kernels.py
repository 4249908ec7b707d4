"""The builds of the kernels for each instruction set against plain C++, as programs: ARM64 on an emulator."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from glic_deploy import doctor
from glic_deploy.entropy.rans import InstructionSet
from release import avx512

from . import kernels
from .conftest import ROOT
from .native_programs import ARM64, PROCESSORS, TOOLCHAINS, MissingToolError, build, emulated

_SETS = {
    folder: entry["instruction_sets"]
    for folder, entry in json.loads((ROOT / "glic_deploy/ops.json").read_text()).items()
}
FLOATS = [folder for folder, sets in _SETS.items() if "avx512" in sets]
CROSS = pytest.mark.parametrize("toolchain", TOOLCHAINS[1:])


def programs(toolchain: str) -> Path:
    try:
        return build(toolchain)
    except MissingToolError as error:
        pytest.skip(str(error))
    except subprocess.CalledProcessError as error:
        pytest.fail(f"{error}\n{error.stdout}\n{error.stderr}")


def compared(command: Sequence[str | Path]) -> tuple[str, ...]:
    """The instruction sets that a program compared with plain C++."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return tuple(done.stdout.split())


@pytest.mark.slow
@pytest.mark.parametrize("name", [*FLOATS, "integer"])
def test_every_instruction_set_of_this_processor(name: str) -> None:
    of_library = kernels.INTEGER_ISAS if name == "integer" else kernels.ISAS
    expected = set()
    for isa in of_library:
        with kernels.isa(isa) as available:
            expected |= {isa} if available else set()
    assert expected - {"portable"} <= set(compared([programs("host") / f"test_{name}"]))


@pytest.mark.slow
@CROSS
@pytest.mark.parametrize("name", [*FLOATS, "simd_neon"])
def test_neon(name: str, toolchain: str) -> None:
    """On a processor without any extension of ARMv8.0."""
    assert compared(emulated(programs(toolchain) / f"test_{name}", "cortex-a53")) == ("neon",)


@pytest.mark.slow
@CROSS
@pytest.mark.parametrize("processor", PROCESSORS)
def test_integer_products_with_and_without_extensions(processor: str, toolchain: str) -> None:
    """What the processor lacks is not chosen: it would end the program."""
    assert compared(emulated(programs(toolchain) / "test_integer", processor)) == PROCESSORS[processor]


@pytest.mark.slow
@CROSS
def test_the_range_coder(toolchain: str) -> None:
    assert compared(emulated(programs(toolchain) / "test_rans", "cortex-a53")) == ("scalar", "neon")


@pytest.mark.slow
@CROSS
@pytest.mark.parametrize("target", ["decode", "damage", "round_trip"])
def test_the_range_coders_fuzz_targets(target: str, toolchain: str) -> None:
    """All paths agree on the files of the corpus and, for some seconds, on mutations of them."""
    command = emulated(programs(toolchain) / f"fuzz_{target}", "cortex-a53")
    corpus = ROOT / "plugins_cpp" / "rans" / "fuzz" / "corpus" / target
    done = subprocess.run([*command, corpus, "5"], capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert "mutations" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("processor", avx512.PROCESSORS)
def test_avx512(processor: str) -> None:
    """`make avx512-check` does the same. It also makes the emulated machine, since that takes minutes."""
    if reason := avx512.lacking():
        pytest.skip(f"needs {reason}")
    if not avx512.prepared():
        pytest.skip("needs the emulated processors: make avx512-check")
    avx512.write_cd(avx512.programs())
    ended = list(avx512.results(processor, avx512.programs()))
    assert [result for result in ended if avx512.wrong(*result[1:])] == []


def test_the_architecture_decides_which_sets_there_are() -> None:
    for isa in ("neon", "neondotprod", "neoni8mm", "avx2", "avx512"):
        with kernels.isa(isa) as available:
            assert not available or isa.startswith("neon") == ARM64
    assert InstructionSet.NEON.available() == ARM64


def test_doctor_names_the_instruction_sets() -> None:
    (finding,) = [finding for finding in doctor.examine() if finding.name == "instruction sets"]
    assert f"{kernels.library().glic_selected_isa().decode()} for the CPU kernels" in finding.detail
    assert finding.detail.endswith(" for the range coder")
