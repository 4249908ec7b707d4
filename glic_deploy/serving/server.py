"""Run the Triton Inference Server of pytriton's wheel as a child process, on a model repository."""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, NoReturn

from ..errors import EngineError

_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)
_SUPERVISION_PERIOD = 1.0
_LOADING_TIMEOUT = 600.0
# By default any client of Triton may change its log file, map shared memory and load models. Here these requests need
# a secret key, which this process generates for each server.
_PROTECTED = "shared-memory,model-repository,trace,logging"
_KEY = "glic-key"
_SHARED_MEMORY = Path("/dev/shm")
_DIRECTLY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class Address:
    """Name the host and the ports at which the server listens.

    The server does not authenticate clients: put it behind a proxy if other hosts are to reach it.
    """

    host: str = "127.0.0.1"
    http: int = 8000
    grpc: int = 8001
    metrics: int = 8002


@dataclass(frozen=True)
class Distribution:
    """Locate the server inside pytriton's wheel.

    Attributes:
        program: the server's executable.
        libraries: folder of its shared libraries.
        backend: files of the Python backend for this version of Python.
    """

    program: Path
    libraries: Path
    backend: tuple[Path, ...]

    @classmethod
    def installed(cls) -> Distribution:
        """Find the installed server. Raises EngineError if there is none, or none for this version of Python."""
        try:
            from pytriton.utils.distribution import get_libs_path, get_root_module_path, get_stub_path
        except ImportError as error:
            raise EngineError(
                "Triton Inference Server is not installed here; create an environment for it: make triton-env, or, in "
                "a new environment: pip install 'glic-deploy[cpu,serve]'"
            ) from error
        python = f"{sys.version_info.major}.{sys.version_info.minor}"
        stub: Path = get_stub_path(python)
        if not stub.exists():
            there = ", ".join(sorted(path.name for path in stub.parents[1].iterdir()))
            raise EngineError(
                f"this is Python {python}, but pytriton's server supports only Python {there}; use one of these"
            )
        root: Path = get_root_module_path() / "tritonserver"
        backend = (stub, *(root / "backends" / "python").glob("*triton_python*"))
        return cls(root / "bin" / "tritonserver", get_libs_path(), backend)


class Server:
    """Run a server until the end of the `with` block, or until the parent process dies."""

    def __init__(
        self, distribution: Distribution, repository: str | Path, address: Address, log: IO[bytes] | int | None = None
    ) -> None:
        self._address = address
        self._key = secrets.token_urlsafe(32)
        # Triton expects all files of a backend in one directory; the wheel has them in two.
        self._directory = tempfile.TemporaryDirectory(prefix="glic-serve-")
        backend = Path(self._directory.name, "python")
        backend.mkdir()
        for path in distribution.backend:
            (backend / path.name).symlink_to(path)
        environment = {
            **os.environ,
            "LD_LIBRARY_PATH": _prepend(str(distribution.libraries), "LD_LIBRARY_PATH"),
            # The models' processes run in the environment of the first Python in PATH.
            "PATH": _prepend(str(Path(sys.prefix, "bin")), "PATH"),
            # They import this package from its present folder, since it may not be installed.
            "PYTHONPATH": _prepend(str(Path(__file__).resolve().parents[2]), "PYTHONPATH"),
        }
        arguments = _arguments(Path(repository).resolve(), backend.parent, address, self._key)
        self._process = subprocess.Popen(
            [distribution.program, *arguments],
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def ready(self) -> None:
        """Wait until both models have coded their first image. Raises EngineError if the server ends before that."""
        while self._process.poll() is None:
            with contextlib.suppress(OSError):
                self._ask("health/ready", timeout=5)
                return
            time.sleep(0.1)
        raise self._ended()

    def supervise(self) -> NoReturn:
        """Replace killed instances, which Triton does not restart, until the server ends; then raise EngineError.

        The model is loaded again while its other instances go on serving.
        """
        known = self._instances()
        while self._process.poll() is None:
            time.sleep(_SUPERVISION_PERIOD)
            now = self._instances()
            for model in {known[process] for process in known.keys() - now.keys()}:
                self._load(model)
            known = self._instances()
        raise self._ended()

    def _instances(self) -> dict[int, str]:
        """Map the process of each instance to the name of its model."""
        found = {}
        for children in Path(f"/proc/{self._process.pid}/task").glob("*/children"):
            with contextlib.suppress(OSError):  # a thread or a process has just ended
                for process in children.read_text().split():
                    arguments = Path(f"/proc/{process}/cmdline").read_text().split("\0")
                    if arguments[0].endswith("triton_python_backend_stub"):
                        found[int(process)] = Path(arguments[1]).parents[1].name
        return found

    def _load(self, model: str) -> None:
        print(f"an instance of {model} has died; the model is loaded again", file=sys.stderr)
        try:
            self._ask(f"repository/models/{model}/load", timeout=_LOADING_TIMEOUT, method="POST")
        except OSError as error:
            if self._process.poll() is None:
                raise EngineError(f"{model} cannot be loaded again: {error}; the server's log says why") from error

    def _ask(self, path: str, timeout: float, method: str = "GET") -> None:
        """Send a request to the server. Raises OSError unless the server answers with success."""
        url = f"http://{self._address.host}:{self._address.http}/v2/{path}"
        _DIRECTLY.open(urllib.request.Request(url, method=method, headers={_KEY: self._key}), timeout=timeout).close()

    def _ended(self) -> EngineError:
        return EngineError(f"the server ended with exit code {self._process.wait()}; its log says why")

    def stop(self) -> None:
        """Stop the server. Triton first finishes running requests, for at most 30 seconds."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait()
        for path in _SHARED_MEMORY.glob(f"{Path(self._directory.name).name}*"):  # left by killed instances
            path.unlink()
        self._directory.cleanup()


def _arguments(repository: Path, backends: Path, address: Address, key: str) -> list[str]:
    protection = f"{_PROTECTED}:{_KEY}={key}"
    values = {
        "model-repository": repository,
        "model-control-mode": "explicit",
        "load-model": "*",
        "backend-directory": backends,
        "backend-config": f"python,shm-region-prefix-name={backends.name}",
        "http-address": address.host,
        "grpc-address": address.host,
        "metrics-address": address.host,
        "http-port": address.http,
        "grpc-port": address.grpc,
        "metrics-port": address.metrics,
        "http-restricted-api": protection,
        "grpc-restricted-protocol": protection,
    }
    return ["--disable-auto-complete-config", *(f"--{name}={value}" for name, value in values.items())]


def _prepend(directory: str, variable: str) -> str:
    return os.pathsep.join(filter(None, (directory, os.environ.get(variable))))


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGTERM)
