"""Which files a command reads and writes: several inputs, globs, folders, stdin and stdout.

What may be written where is `glic_deploy.cli.targets`.
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
    """One file to read and one to write; `-` is stdin or stdout.

    Attributes:
        source, target: their names.
        replace: whether what has the target's name already may be replaced.
        begin: what is called with the target and the whole hidden file before the file gets the target's name.
    """

    source: str
    target: str
    replace: bool = False
    begin: Callable[[str, str], None] | None = None


@dataclass(frozen=True)
class CommandLine:
    """What was typed, in so far as it is to be typed again: the command, its inputs, OUT, and the engine."""

    command: str
    inputs: Sequence[str]
    output: str
    engine: str | None = None

    def with_output(self, output: str, *more: str, inputs: Sequence[str] | None = None) -> str:
        """The same with another OUT, other inputs and further options, as a line for a shell."""
        inputs = self.inputs if inputs is None else inputs
        shown = [shlex.quote(name) for name in inputs[:_SHOWN]] + ["..."] * (len(inputs) > _SHOWN)
        engine = ["--engine", self.engine] if self.engine else []
        return " ".join(["glic", self.command, *shown, *map(shlex.quote, [output, *engine, *more])])


def plan(line: CommandLine, *, reads: frozenset[str], writes: str) -> list[Job]:
    """Pair every input file with its output.

    One file (or stdin) goes to OUT itself, unless that is a folder. Everything else goes into the folder OUT, under its
    own name with the suffix `writes`; the files of an input folder (at any depth, with a suffix in `reads`, not hidden)
    keep their places in it.

    Raises UsageError where that does not name one output for each input.
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
            "what is read from stdin has no name in a folder; name the output file: "
            + line.with_output(f"out{writes}", inputs=[STDIO])
        )
    else:
        jobs = [Job(source, str(Path(output, place.with_suffix(writes)))) for source, place in found]
    return jobs


def sources(inputs: Sequence[str], reads: frozenset[str]) -> list[str]:
    """Files that the arguments name: themselves, the matches of globs, and those of folders with a suffix in `reads`.

    Raises UsageError for a folder or glob without any.
    """
    return [name for given in inputs for name, _ in _expand(given, reads)]


def passed_over(inputs: Sequence[str], reads: frozenset[str]) -> str:
    """What the input folders hold beside files with a suffix in `reads`: `2 files passed over (.heic, .pdf)`, or ""."""
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
    """What was typed with what `message` of argparse calls missing, as a line for a shell; "" if that is no file."""
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
    """Files of `folder` at any depth with a suffix in `reads`, sorted, without hidden ones."""
    return sorted(name for name in _visible_files(folder) if _suffix(name) in reads)


def _visible_files(folder: str) -> Iterator[str]:
    for path in Path(folder).rglob("*"):
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts):
            yield str(path)


def is_folder(output: str) -> bool:
    """Whether OUT is a folder already, or says by a slash at its end that it is to be one."""
    return output != STDIO and (os.path.isdir(output) or output.endswith(("/", os.sep)))


def _expand(given: str, reads: frozenset[str]) -> Iterator[tuple[str, PurePath]]:
    """Files that an argument stands for, and where each belongs in an output folder."""
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
