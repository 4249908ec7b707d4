"""Load `glic serve` for a minute, over HTTP and gRPC on loopback, with bad input in between: `make bench-serving`.

For each protocol and direction, clients send their next request as soon as the last is answered (a closed loop). Other
clients send a damaged file or an oversized image every second. `wrong` counts unexpected answers. The last line is a
JSON array with the rows of the table, times in milliseconds.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

from glic_deploy import Codec, machine
from glic_deploy.image import load_image
from glic_deploy.serving.repository import DECODE, ENCODE

PHOTO = Path(__file__).resolve().parent.parent / "samples" / "photos" / "kodim23.png"
PROTOCOLS = ("http", "grpc")
MOST_REQUESTS = 10_000
_START_UP = 120


@dataclass(frozen=True)
class Served:
    """Hold the ports of a running `glic serve` on this machine."""

    http: int
    grpc: int
    metrics: int

    def arguments(self) -> list[str]:
        """Return the arguments of `glic serve` for these ports."""
        return [f"--{name}-port={port}" for name, port in vars(self).items()]

    def client(self, protocol: str) -> Client:
        return Client(protocol, f"127.0.0.1:{getattr(self, protocol)}")


class Client:
    """Send requests to both models over one protocol, `http` or `grpc`, from a single thread."""

    def __init__(self, protocol: str, url: str) -> None:
        self._api = importlib.import_module(f"tritonclient.{protocol}")
        self.connection = self._api.InferenceServerClient(url)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def infer(self, model: str, output: str, **inputs: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Run a model, and return its output. Raises tritonclient.utils.InferenceServerException."""
        tensors = []
        for name, value in inputs.items():
            tensors.append(self._api.InferInput(name, value.shape, "UINT8"))
            tensors[-1].set_data_from_numpy(value)
        return self.connection.infer(model, tensors).as_numpy(output)

    def expect_refusal(self, request: Callable[[], object], message: str) -> None:
        """Raise ValueError unless the server refuses the request with a text that contains `message`."""
        try:
            request()
        except InferenceServerException as error:
            if message in error.message():
                return
            raise
        raise ValueError(f"the server accepted a bad request, expected a refusal: {message}")

    def encode(self, **inputs: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return self.infer(ENCODE, "glic", **inputs)

    def decode(self, glic: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return self.infer(DECODE, "image", glic=glic)


@contextlib.contextmanager
def serve(python: str | Path, *arguments: str, log: Path) -> Iterator[Served]:
    """Run `glic serve` of an interpreter on free ports during the block, which begins when the server is ready.

    The server's messages go to the file `log`. Raises RuntimeError if the server does not start.
    """
    served = Served(*free_ports(3))
    command = [str(python), "-m", "glic_deploy", "serve", *arguments, *served.arguments()]
    with open(log, "wb") as stream:
        process = subprocess.Popen(command, stderr=stream)
    try:
        end = time.monotonic() + _START_UP
        while "glic serve: ready" not in log.read_text():
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(
                    f"glic serve is not ready, exit code {process.returncode}: {log.read_text()[-2000:]}"
                )
            time.sleep(0.1)
        yield served
    finally:
        process.terminate()
        process.wait()


def free_ports(count: int) -> list[int]:
    """Return ports of this machine on which no program listens now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@dataclass
class Row:
    """Collect the outcomes of one kind of request.

    Attributes:
        title: title of the row.
        seconds: duration of each request with the expected answer.
        wrong: messages of the other answers.
    """

    title: str
    seconds: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def drive(self, client: Client, work: Callable[[Client], None], end: float, pause: float) -> None:
        """Send requests one after another until `end` of the monotonic clock."""
        with client:
            self._drive(partial(work, client), end, pause)

    def _drive(self, request: Callable[[], None], end: float, pause: float) -> None:
        while time.monotonic() < end and len(self.seconds) + len(self.wrong) < MOST_REQUESTS:
            start = time.perf_counter()
            try:
                request()
            except Exception as error:
                self.wrong.append(f"{type(error).__name__}: {error}")
            else:
                self.seconds.append(time.perf_counter() - start)
            time.sleep(pause)


def load(served: Served, image: NDArray[np.uint8], clients: int, duration: float) -> list[Row]:
    """Keep the server busy for `duration` seconds, with `clients` clients for each kind of request."""
    with served.client("http") as client:
        glic = client.encode(image=image)
    oversized = np.zeros((4097, 4097, 3), np.uint8)

    def encode(client: Client) -> None:
        if not np.array_equal(client.encode(image=image), glic):
            raise ValueError("the same image gave other bytes")

    def decode(client: Client) -> None:
        if client.decode(glic).shape != image.shape:
            raise ValueError("the image has another size")

    def cut_short(client: Client) -> None:
        client.expect_refusal(lambda: client.decode(glic[:-9]), "cut short")

    def too_large(client: Client) -> None:
        client.expect_refusal(lambda: client.encode(image=oversized), "at most")

    kinds = [(work, protocol, 0.0, clients) for work in (encode, decode) for protocol in PROTOCOLS]
    kinds += [(work, protocol, 1.0, 1) for work in (cut_short, too_large) for protocol in PROTOCOLS]
    rows, threads = [], []
    end = time.monotonic() + duration
    for work, protocol, pause, count in kinds:
        rows.append(Row(f"{work.__name__.replace('_', ' ')}, {protocol}"))
        for _ in range(count):
            arguments = (served.client(protocol), work, end, pause)
            threads.append(threading.Thread(target=rows[-1].drive, args=arguments))
            threads[-1].start()
    for thread in threads:
        thread.join()
    return rows


def here(codec: Codec, image: NDArray[np.uint8], count: int) -> list[Row]:
    """Time the same codec in this process, without a server."""
    rows = [Row("encode, no server"), Row("decode, no server")]
    with codec:
        data = codec.encode(image)
        for _ in range(count):
            for row, work in zip(rows, (lambda: codec.encode(image), lambda: codec.decode(data)), strict=True):
                start = time.perf_counter()
                work()
                row.seconds.append(time.perf_counter() - start)
    return rows


def report(rows: list[Row], duration: float) -> list[dict[str, float | str]]:
    """Print the table, and return its numbers."""
    print(f"{'milliseconds':22}{'n':>6}{'wrong':>7}{'per s':>8}{'p50':>8}{'p90':>8}{'p99':>8}{'max':>8}")
    results: list[dict[str, float | str]] = []
    for row in rows:
        p50, p90, p99, most = (1000 * np.percentile(row.seconds, (50, 90, 99, 100))).round(1).tolist()
        rate = round(len(row.seconds) / duration, 2)
        print(f"{row.title:22}{len(row.seconds):6}{len(row.wrong):7}{rate:8}{p50:8}{p90:8}{p99:8}{most:8}")
        result: dict[str, float | str] = {"request": row.title, "n": len(row.seconds), "wrong": len(row.wrong)}
        results.append(result | {"per_second": rate, "p50": p50, "p90": p90, "p99": p99, "max": most})
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", required=True, help="the engine bundle to serve")
    parser.add_argument("--python", default=sys.executable, help="interpreter with pytriton (default: this one)")
    parser.add_argument("--image", default=str(PHOTO), help="image to code (default: a 768x512 photograph)")
    parser.add_argument("--seconds", type=float, default=60, help="duration, at most 60 (default: 60)")
    parser.add_argument("--clients", type=int, default=1, help="clients of each protocol and direction (default: 1)")
    parser.add_argument("--instances", type=int, default=1, help="instances of each model (default: 1)")
    parser.add_argument("--threads", type=int, help="threads of each instance (default: cores / instances)")
    parser.add_argument("--backend", help="backend to serve with (default: the best that works)")
    args = parser.parse_args()
    image = load_image(args.image)
    duration = min(args.seconds, 60)
    chosen = {"instances": args.instances, "threads": args.threads, "backend": args.backend}
    settings = [f"--{name}={value}" for name, value in chosen.items() if value is not None]
    print(machine.summary(machine.describe()))
    print(
        f"{args.image}, {image.shape[1]}x{image.shape[0]}; {args.engine}; glic serve {' '.join(settings)}; "
        f"{duration:.0f} s with {args.clients} client(s) at a time of each kind of request, one of each bad kind\n"
    )
    alone = here(Codec(args.engine, backend=args.backend, threads=args.threads), image, count=5)
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory, "serve.log")
        with serve(args.python, "--engine", args.engine, *settings, log=log) as served:
            rows = load(served, image, args.clients, duration)
    results = report(alone + rows, duration)
    for row in rows:
        for message in sorted(set(row.wrong))[:3]:
            print(f"{row.title}: {message}", file=sys.stderr)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
