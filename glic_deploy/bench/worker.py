"""Run one contender in a process of its own: answer requests, one line of JSON each, until standard input ends.

    {"describe": true}                           → {"start_s", "open_s", "codec"}
    {"round_trip": "image.png"}                → {"encode", "decode", "bytes", "peak_resident_bytes"}
    {"batch": ["a.png", "b.png"], "in_flight": 2} → {"encode_s", "decode_s", "pixels", "bytes"}

`encode` measures from the image file to the `.glic` file, `decode` from the `.glic` file to an uncompressed image file
(PPM): {"total": seconds, "stages": {name: seconds}}. The answer to a request that fails is
{"error": message, "error_types": names of the error's classes, its own first, "attributes": the error's attributes}.
The worker writes nothing else to standard output.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from PIL import Image

from ..codec import Codec
from ..limits import Limits
from ..stages import mark_ranges, stage

Answer = dict[str, Any]


def serve(open_codec: Callable[[], Codec], started: float | None) -> None:
    """Answer the requests on standard input.

    Args:
        open_codec: function that opens the codec.
        started: `time.monotonic()` at which the parent started this process, or None.
    """
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # output of libraries must not mix with the answers
    _mark_ranges_for_profilers()
    ready = time.monotonic()
    try:
        codec = open_codec()
    except Exception as error:
        _answer(answers, _failure(error))
        return
    opened = {
        "start_s": None if started is None else ready - started,
        "open_s": time.monotonic() - ready,
        "codec": codec.describe(),
    }
    with codec, tempfile.TemporaryDirectory(prefix="glic-bench-") as directory:
        for line in sys.stdin:
            request = json.loads(line)
            try:
                if "round_trip" in request:
                    answer = _round_trip(codec, Path(request["round_trip"]), Path(directory))
                elif "batch" in request:
                    answer = _batch(codec, request["batch"], request["in_flight"])
                else:
                    answer = opened
            except Exception as error:  # reported to the parent, which raises it
                answer = _failure(error)
            _answer(answers, answer)


def _round_trip(codec: Codec, source: Path, directory: Path) -> Answer:
    coded, decoded = directory / "coded.glic", directory / "decoded.ppm"

    start = time.perf_counter()
    encoding: dict[str, float] = {}
    data = codec.encode(source, stages=encoding)
    with stage(encoding, "write"):
        coded.write_bytes(data)
    encoded = time.perf_counter()

    decoding: dict[str, float] = {}
    with stage(decoding, "read"):
        data = coded.read_bytes()
    image = codec.decode(data, stages=decoding)
    with stage(decoding, "write"):
        Image.fromarray(image).save(decoded, "PPM")
    done = time.perf_counter()
    return {
        "encode": {"total": encoded - start, "stages": encoding},
        "decode": {"total": done - encoded, "stages": decoding},
        "bytes": len(data),
        "peak_resident_bytes": peak_resident_bytes(),
    }


def _batch(codec: Codec, sources: list[str], in_flight: int) -> Answer:
    """Code images, `in_flight` at a time: the range coder of one image overlaps with the network of the next."""
    start = time.perf_counter()
    coded = list(codec.encode_many(sources, workers=in_flight))
    encoded = time.perf_counter()
    pixels = sum(image[..., 0].size for image in codec.decode_many(coded, workers=in_flight))
    done = time.perf_counter()
    return {
        "encode_s": encoded - start,
        "decode_s": done - encoded,
        "pixels": pixels,
        "bytes": sum(map(len, coded)),
    }


def peak_resident_bytes() -> int | None:
    """Return this process's peak resident memory in bytes; None if the system does not report it.

    `ru_maxrss` would be wrong: a process inherits it from its parent.
    """
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    return None


def _mark_ranges_for_profilers() -> None:
    with suppress(ImportError):
        import nvtx

        mark_ranges(nvtx.annotate)


def _failure(error: Exception) -> Answer:
    return {
        "error": str(error) or type(error).__name__,
        "error_types": [kind.__name__ for kind in type(error).__mro__],
        "attributes": vars(error),
    }


def _answer(stream: Any, answer: Mapping[str, Any]) -> None:
    stream.write(json.dumps(answer, default=str) + "\n")
    stream.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", required=True)
    parser.add_argument("--backend")
    parser.add_argument("--precision")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--device", type=int)
    parser.add_argument("--started", type=float)
    args = parser.parse_args()
    whole = Limits(max_memory=1 << 62)  # the other contenders do not cut images into tiles
    options: dict[str, Any] = {"backend": args.backend, "threads": args.threads, "limits": whole}
    options |= {name: value for name in ("precision", "device") if (value := getattr(args, name)) is not None}
    serve(lambda: Codec(args.engine, **options), args.started)


if __name__ == "__main__":
    main()
