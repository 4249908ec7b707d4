"""Find the files that a command reads and writes: several inputs, globs, folders, stdin and stdout.

`glic_deploy.cli.targets` decides which files a command may replace.
"""

from __future__ import annotations

import glob
import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from .exits import UsageError

STDIO = "-"
GLIC_SUFFIX = ".glic"
# fmt: off
IMAGE_SUFFIXES = frozenset({
    ".avif", ".bmp", ".dib", ".gif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".mpo",
    ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".psd", ".qoi", ".tga", ".tif", ".tiff", ".webp",
})
# fmt: on

_SHOWN = 4
_RUN_MANIFEST = "manifest.jsonl"
_WRITES = {"encode": GLIC_SUFFIX, "decode": ".png"}


@dataclass(frozen=True)
class Job:
    """Name one file to read and one file to write.

    Attributes:
        source: name of the file to read, or `-` for stdin.
        target: name of the file to write, or `-` for stdout.
        replace: whether an existing file with the target's name may be replaced.
        begin: function that is called with the target and the name of the complete hidden file, just before the
            hidden file is renamed to the target.
    """

    source: str
    target: str
    replace: bool = False
    begin: Callable[[str, str], None] | None = None


@dataclass(frozen=True)
class CommandLine:
    """Hold the parts of the user's command that messages repeat: the command, its inputs, OUT and the engine."""

    command: str
    inputs: Sequence[str]
    output: str
    engine: str | None = None

    def with_output(self, output: str, *more: str, inputs: Sequence[str] | None = None) -> str:
        """Return a shell command with another OUT, other inputs (None: the same ones) and further options."""
        inputs = self.inputs if inputs is None else inputs
        shown = [shlex.quote(name) for name in inputs[:_SHOWN]] + ["..."] * (len(inputs) > _SHOWN)
        engine = ["--engine", self.engine] if self.engine else []
        return " ".join(["glic", self.command, *shown, *map(shlex.quote, [output, *engine, *more])])


def plan(line: CommandLine, *, reads: frozenset[str], writes: str) -> list[Job]:
    """Pair every input file with its output.

    A single file (or stdin) is written to OUT, unless OUT is a folder. All other files are written into the folder OUT,
    under their own names with the suffix `writes`. An input folder stands for its files at any depth that have a suffix
    in `reads` and are not hidden; these files keep their subfolders.

    Raises UsageError if OUT does not name one output for each input.
    """
    inputs, output = line.inputs, line.output
    found = [pair for given in inputs for pair in _expand(given, reads)]
    single = len(inputs) == 1 and len(found) == 1 and found[0][0] == inputs[0]
    if single and not is_folder(output):
        jobs = [Job(inputs[0], output)]
    elif output == STDIO:
        raise UsageError(
            f"{len(found)} files cannot all go to stdout; name a folder as the output: {line.with_output('out/')}"
        )
    elif any(source == STDIO for source, _ in found):
        raise UsageError(
            "an input from stdin has no name in a folder; name the output file: "
            + line.with_output(f"out{writes}", inputs=[STDIO])
        )
    else:
        jobs = [Job(source, str(Path(output, place.with_suffix(writes)))) for source, place in found]
    return jobs


def sources(inputs: Sequence[str], reads: frozenset[str]) -> list[str]:
    """Return the files that the arguments name: files, matches of globs, and files of folders with a suffix in `reads`.

    Raises UsageError if a folder or a glob yields no file.
    """
    return [name for given in inputs for name, _ in _expand(given, reads)]


def passed_over(inputs: Sequence[str], reads: frozenset[str]) -> str:
    """Count the files of the input folders that have no suffix in `reads`.

    Returns a text such as `2 files passed over (.heic, .pdf)`, or "" if there are none.
    """
    others = [
        path
        for folder in inputs
        if folder != STDIO and os.path.isdir(folder)
        for path in map(Path, _visible_files(folder))
        if path.suffix.lower() not in reads and path.name != _RUN_MANIFEST
    ]
    suffixes = sorted({path.suffix.lower() or "no suffix" for path in others})
    more = ", ..." if len(suffixes) > _SHOWN else ""
    count = f"{len(others)} file{'s' * (len(others) > 1)}"
    return f"{count} passed over ({', '.join(suffixes[:_SHOWN])}{more})" if others else ""


def completed(command: str, typed: Sequence[str], message: str) -> str:
    """Complete the typed command with the arguments that `message` of argparse calls missing.

    Returns a shell command, or "" if no file and no engine is missing.
    """
    missing = message.partition("arguments are required: ")[2].split(", ")
    if not {"IN", "OUT", "IMAGES", "--engine"} & set(missing):
        return ""
    examples = {"encode": "photo.png", "decode": "photo.glic", "eval": "images/"}
    if command in examples and (not typed or {"IN", "IMAGES"} & set(missing)):
        typed = [*typed, examples[command]]
    files = [name for name in typed if _suffix(name) in IMAGE_SUFFIXES | {GLIC_SUFFIX}]
    if command in _WRITES and len(files) > 1 and _suffix(files[0]) == _WRITES[command] != _suffix(files[-1]):
        command = "decode" if command == "encode" else "encode"
    elif command in _WRITES and ("OUT" in missing or len(typed) == 1):
        single = len(files) == 1 and _suffix(files[0]) != _WRITES[command]
        typed = [*typed, os.path.splitext(files[0])[0] + _WRITES[command] if single else f"{command}d/"]
    engine = [] if any(text.partition("=")[0] == "--engine" for text in typed) else ["--engine", "DIR"]
    return shlex.join(["glic", command, *typed, *engine])


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def files_in(folder: str, reads: frozenset[str]) -> list[str]:
    """Return the files of `folder`, at any depth, that have a suffix in `reads` and are not hidden; sorted."""
    return sorted(name for name in _visible_files(folder) if _suffix(name) in reads)


def _visible_files(folder: str) -> Iterator[str]:
    for path in Path(folder).rglob("*"):
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts):
            yield str(path)


def is_folder(output: str) -> bool:
    """Check whether OUT is an existing folder, or ends with a slash."""
    return output != STDIO and (os.path.isdir(output) or output.endswith(("/", os.sep)))


def _expand(given: str, reads: frozenset[str]) -> Iterator[tuple[str, PurePath]]:
    """Yield each file that an argument stands for, with its relative path in an output folder."""
    if given != STDIO and os.path.isdir(given):
        files = files_in(given, reads)
        if not files:
            raise UsageError(f"folder {given} holds no file ending in {', '.join(sorted(reads))}")
        yield from ((name, PurePath(name).relative_to(given)) for name in files)
    elif not os.path.lexists(given) and glob.has_magic(given):
        files = [name for name in sorted(glob.glob(given, recursive=True)) if os.path.isfile(name)]
        if not files:
            raise UsageError(f"nothing matches {given}")
        yield from ((name, PurePath(PurePath(name).name)) for name in files)
    else:
        yield given, PurePath(PurePath(given).name)
