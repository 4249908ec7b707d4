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


def files_in(folder: str, reads: frozenset[str]) -> list[str]:
    """Files of `folder` at any depth with a suffix in `reads`, sorted, without hidden ones."""
    return sorted(
        str(path)
        for path in Path(folder).rglob("*")
        if path.suffix.lower() in reads
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


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
