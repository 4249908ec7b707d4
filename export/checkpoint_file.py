"""Read named tensors from `.pth` and `.safetensors` files without trusting the files: no code in them is run."""

from __future__ import annotations

import pickle
import re
import stat
import warnings
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from glic_deploy.errors import CheckpointError

ADVICE = "pass a GLIC checkpoint as its authors release it (for example 0.0130checkpoint_best.pth.tar)"
_AGAIN = "download the file again"
_NESTED = ("state_dict", "model_state_dict")  # keys under which weights may be nested
_ZIP = b"PK\x03\x04"
_BLOCK = 1 << 20
_SHARED = 1 << 24  # bytes by which tensors may exceed their file, since small constants may share a storage
_SHOWN = 4
_NAME_LENGTH = 200


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint file, unchanged and by their names in the file.

    Supports safetensors files and files of `torch.save` with the weights at the top, or under `state_dict` or
    `model_state_dict`. The file's first bytes decide its format. Values are memory-mapped if the format allows it.

    `torch.save` of PyTorch 1.6 and later writes a ZIP archive; the CRC-32 of every member is compared. Older `.pth`
    files and safetensors files have no checksum: a flipped bit in their values is not noticed.

    Raises CheckpointError if the file cannot be read safely, is damaged, or contains no named tensors.
    """
    head, size = _open(path)
    if head.startswith(_ZIP):
        _check_archive(path, size)
        tensors = _tensors(_unpickle(path, size, mmap=True), path)
    elif path.suffix == ".safetensors" or _is_safetensors(head, size):
        tensors = _read_safetensors(path)
    else:
        tensors = _tensors(_unpickle(path, size, mmap=None), path)
    if sum(map(_stored_bytes, tensors.values())) > size + _SHARED:
        raise CheckpointError(f"{path}: its tensors overlap, they claim more than the file's {size} bytes; {ADVICE}")
    return tensors


def listed(items: Iterable[str]) -> str:
    """List the first few names and their number, for an error message."""
    names = list(items)
    return ", ".join(map(shown, names[:_SHOWN])) + (f", ... ({len(names)} in all)" if len(names) > _SHOWN else "")


def shown(name: str) -> str:
    """Make a name from a file safe to print in a message: one line, of bounded length, without control codes."""
    short = name if len(name) <= _NAME_LENGTH else name[:_NAME_LENGTH] + "..."
    return "".join(letter if letter.isprintable() else "?" for letter in short)


def storage_bytes(tensor: Tensor) -> int | None:
    """Return the bytes of the memory behind a tensor, or None for a sparse or meta tensor, which has none."""
    if tensor.layout != torch.strided or tensor.device.type == "meta":
        return None
    try:
        return tensor.untyped_storage().nbytes()
    except (NotImplementedError, RuntimeError):
        return None


def _stored_bytes(tensor: Tensor) -> int:
    return min(tensor.numel() * tensor.element_size(), storage_bytes(tensor) or 0)


def _open(path: Path) -> tuple[bytes, int]:
    """Return the first 16 bytes and the size of a regular file. Devices and pipes are refused: they may never end."""
    try:
        found = path.stat()
        regular = stat.S_ISREG(found.st_mode)
        if regular:
            with path.open("rb") as stream:
                head = stream.read(16)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file; {ADVICE}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CheckpointError(f"{shown(str(path))}: cannot be opened ({reason}); {ADVICE}") from None
    if not regular:
        kind = "a directory" if stat.S_ISDIR(found.st_mode) else "a device, pipe or socket"
        raise CheckpointError(f"{path}: is {kind}, expected a file; {ADVICE}")
    if not head:
        raise CheckpointError(f"{path}: is empty; {_AGAIN}")
    return head, found.st_size


def _check_archive(path: Path, size: int) -> None:
    """Compare each member of a ZIP archive with its CRC-32, block by block.

    Compressed and overlapping members are refused: `torch.save` does not write them, and they may expand to more bytes
    than the file has. An archive without any CRC (`torch.serialization.set_crc32_options(False)`) is accepted.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            problem = _not_written_by_torch(members, size)
            if problem is None and any(member.CRC for member in members):
                for member in members:
                    with archive.open(member) as stream:
                        while stream.read(_BLOCK):
                            pass
    except Exception as error:  # zipfile raises many types for damaged and hostile archives
        raise CheckpointError(f"{path}: damaged or cut short ({shown(str(error))}); {_AGAIN}") from None
    if problem:
        raise CheckpointError(f"{path}: {problem}; {ADVICE}")


def _not_written_by_torch(members: list[zipfile.ZipInfo], size: int) -> str | None:
    if any(member.filename.endswith("/constants.pkl") for member in members):
        return "is a TorchScript program, expected a file of tensors"
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        return "is a compressed archive, expected what torch.save writes"
    if sum(max(member.file_size, member.compress_size) for member in members) > size:
        return f"its members overlap, they claim more than the file's {size} bytes"
    return None


def _unpickle(path: Path, size: int, mmap: bool | None) -> Any:
    """Load a file of `torch.save`. PyTorch's own messages are not shown, since they advise to run the file's code."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL (\S+)", str(error))
        requested = f": it asks for {shown(named[1])}" if named else ""
        raise CheckpointError(
            f"{path}: refused, it is not a plain file of tensors (nothing in it was run){requested}; {ADVICE}, or have "
            "its owner save the state_dict alone"
        ) from None
    except MemoryError:
        raise CheckpointError(f"{path}: asks for more memory than there is, at {size} bytes; {ADVICE}") from None
    except Exception:  # torch and its constructors raise many types for damaged pickles
        raise CheckpointError(f"{path}: not a checkpoint, or cut short at {size} bytes; {ADVICE}") from None


def _tensors(content: Any, path: Path) -> dict[str, Tensor]:
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: holds a {type(content).__name__}, expected a dict of tensors; {ADVICE}")
    content = next((content[name] for name in _NESTED if isinstance(content.get(name), dict)), content)
    tensors = {key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, Tensor)}
    if not tensors:
        names = (key if isinstance(key, str) else f"<{type(key).__name__}>" for key in content)
        raise CheckpointError(
            f"{path}: no tensors at the top nor under {' or '.join(_NESTED)}; found keys {listed(names)}; {ADVICE}"
        )
    return tensors


def _is_safetensors(head: bytes, size: int) -> bool:
    """Return whether a file begins with the length of a header that fits in the file, and a JSON object."""
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= size - 8


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        from safetensors import safe_open
    except ImportError:
        raise CheckpointError(f"{path}: safetensors files need a package: pip install safetensors") from None
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (it is no dict)
    except Exception as error:  # a header that lies about lengths, types or offsets, or a file cut short
        raise CheckpointError(f"{path}: not a safetensors file, or damaged ({shown(str(error))}); {_AGAIN}") from None
    if not tensors:
        raise CheckpointError(f"{path}: a safetensors file without tensors; {ADVICE}")
    return tensors
