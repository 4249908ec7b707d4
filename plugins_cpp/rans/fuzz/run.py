#!/usr/bin/env python3
"""Builds the coder's fuzz targets with AddressSanitizer and UndefinedBehaviorSanitizer, and runs each for a while.

    python plugins_cpp/rans/fuzz/run.py [--seconds 60] [--build build/fuzz] [--engine auto|libfuzzer|replay]

With clang and its runtime, libFuzzer explores; else g++ builds the same targets, which then run over the corpus and
mutations of it. Inputs that libFuzzer finds worth keeping go to the build folder; a crash leaves its input there.
"""

from __future__ import annotations

import argparse
import platform
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
CODER = HERE.parent
TARGETS = ("decode", "damage", "tables", "round_trip")
VECTOR_FLAGS = {
    "RANS_X86": {
        "kernels_avx2": ["-mavx2", "-mbmi2"],
        "kernels_avx512": ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mbmi2", "-Wno-maybe-uninitialized"],
    },
    "RANS_ARM64": {"kernels_neon": []},
}
PROCESSORS = {"x86_64": "RANS_X86", "AMD64": "RANS_X86", "aarch64": "RANS_ARM64", "arm64": "RANS_ARM64"}


def build(folder: Path, libfuzzer: bool) -> dict[str, Path]:
    """Compile the coder once and link each target with it; the programs by target. CalledProcessError on failure."""
    folder.mkdir(parents=True, exist_ok=True)
    compiler = "clang++" if libfuzzer else "g++"
    sanitizers = "address,undefined" + (",fuzzer" if libfuzzer else "")
    processor = PROCESSORS.get(platform.machine(), "")
    vector_flags = VECTOR_FLAGS.get(processor, {})
    foreign = {source for sources in VECTOR_FLAGS.values() for source in sources} - vector_flags.keys()
    flags = ["-std=c++17", "-O2", "-g", "-fno-omit-frame-pointer", "-fno-sanitize-recover=all", f"-I{CODER}"]
    flags += ["-Wno-unknown-warning-option", *([f"-D{processor}"] if processor else [])]
    instrument = f"-fsanitize={sanitizers.replace('fuzzer', 'fuzzer-no-link')}"
    newest_header = max(header.stat().st_mtime for header in CODER.glob("*.h"))
    objects = []
    for source in sorted(CODER.glob("*.cpp")):
        if source.stem in foreign:
            continue
        objects.append(folder / f"{source.stem}.o")
        if objects[-1].exists() and objects[-1].stat().st_mtime > max(newest_header, source.stat().st_mtime):
            continue
        options = [*flags, *vector_flags.get(source.stem, []), instrument]
        subprocess.run([compiler, *options, "-c", source, "-o", objects[-1]], check=True)
    programs = {}
    for target in TARGETS:
        programs[target] = folder / f"fuzz_{target}"
        sources = [HERE / f"{target}.cpp", *([] if libfuzzer else [HERE / "replay.cpp"])]
        subprocess.run(
            [compiler, *flags, f"-fsanitize={sanitizers}", *sources, *objects, "-o", programs[target]], check=True
        )
    return programs


def run(target: str, program: Path, libfuzzer: bool, seconds: float) -> int:
    """Run one target; its exit status, 0 when nothing was found."""
    corpus, found = HERE / "corpus" / target, program.parent / "found" / target
    found.mkdir(parents=True, exist_ok=True)
    command = [program, corpus, str(seconds)]
    if libfuzzer:
        command = [program, f"-max_total_time={max(1, round(seconds))}", "-max_len=4096", "-rss_limit_mb=2048"]
        command += ["-timeout=10", "-print_final_stats=1", f"-artifact_prefix={found.parent}/{target}-", found, corpus]
    return subprocess.run(command, check=False).returncode


def has_libfuzzer(folder: Path) -> bool:
    """Whether clang links a program with libFuzzer and the sanitizers here."""
    if not shutil.which("clang++"):
        return False
    folder.mkdir(parents=True, exist_ok=True)
    source = 'extern "C" int LLVMFuzzerTestOneInput(const unsigned char*, unsigned long) { return 0; }'
    command = ["clang++", "-fsanitize=address,undefined,fuzzer", "-x", "c++", "-", "-o", folder / "probe"]
    return subprocess.run(command, input=source, text=True, capture_output=True, check=False).returncode == 0


def main() -> int:
    parser = argparse.ArgumentParser(description="Fuzz the range coder.")
    parser.add_argument("--seconds", type=float, default=60, help="for all targets together")
    parser.add_argument("--build", type=Path, default=Path("build/fuzz"))
    parser.add_argument("--engine", choices=("auto", "libfuzzer", "replay"), default="auto")
    options = parser.parse_args()
    libfuzzer = options.engine == "libfuzzer" or (options.engine == "auto" and has_libfuzzer(options.build))
    print("with libFuzzer" if libfuzzer else "replaying the corpus; install clang and its libclang-rt for libFuzzer")
    programs = build(options.build.resolve() / ("libfuzzer" if libfuzzer else "replay"), libfuzzer)
    failed = [t for t, p in programs.items() if run(t, p, libfuzzer, options.seconds / len(programs))]
    if failed:
        print(f"failed: {', '.join(failed)}; the inputs are in {options.build}", file=sys.stderr)
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())
