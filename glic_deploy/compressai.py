"""Give an engine CompressAI's interface: `glic_deploy.compressai.EngineModel(engine)` is a `torch.nn.Module`.

The module has the methods that CompressAI's evaluation calls. It needs torch, but not CompressAI. See
docs/compressai.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from glic_deploy import container
from glic_deploy.backends import Backend, Precision
from glic_deploy.codec import Codec
from glic_deploy.entropy.passes import CodedPass, unpack_into
from glic_deploy.errors import BitstreamError, EngineError, ImageError
from glic_deploy.evaluation.rates import Tables, element_bits
from glic_deploy.limits import CODED_MULTIPLE, Limits
from glic_deploy.qualities import bundles_in

try:
    import torch
    from torch import Tensor, nn
except ImportError as error:
    raise EngineError(f"glic_deploy.compressai needs torch ({error}): pip install 'glic-deploy[compressai]'") from None

_Z_POSITIONS = CODED_MULTIPLE // 64
"""Number of positions of z along CODED_MULTIPLE pixels."""


class Compressed(TypedDict):
    """Hold the result of `EngineModel.compress`.

    Attributes:
        strings: a list of one list, which contains a whole `.glic` file for each image.
        shape: height and width of the hyper latent z.
    """

    strings: list[list[bytes]]
    shape: torch.Size


class EngineModel(nn.Module):
    """Code batches of images with an engine bundle through the methods of CompressAI's models.

    The model is for inference only: no output has a gradient, in training mode either. The weights are in the engine,
    and the backend selects the device that computes. `.to()`, `.cuda()` and `.half()` change only the device and the
    dtype of the images that `decompress` returns. A copied or unpickled model opens its engine again.

    Args:
        engine: path of an engine bundle, or of a folder of several bundles.
        quality: number of the bundle in a folder, 1 for the smallest files; None for the highest quality. Only this
            bundle is opened.
        backend, precision, threads, limits: as for `glic_deploy.Codec`.

    Raises EngineError if the engine lacks the quality, and the errors of `Codec`.
    """

    def __init__(
        self,
        engine: str | Path,
        *,
        quality: int | None = None,
        backend: str | Backend | None = None,
        precision: Precision | None = None,
        threads: int | None = None,
        limits: Limits | None = None,
    ) -> None:
        super().__init__()
        bundles = bundles_in(engine)
        if quality is not None and not 1 <= quality <= len(bundles):
            raise EngineError(f"quality is {quality}, but {engine} has {len(bundles)}; choose from 1 to {len(bundles)}")
        bundle = bundles[-1 if quality is None else quality - 1]
        self._tables = bundle.tables()
        self._path = bundle.path
        self._options: dict[str, Any] = {
            "backend": backend,
            "precision": precision,
            "threads": threads,
            "limits": limits,
        }
        self._codec = Codec(self._path, **self._options)
        # `.to()` moves this tensor. It is a parameter because CompressAI reads the device of the first parameter.
        self._place = nn.Parameter(torch.empty(0), requires_grad=False)
        self.eval()

    def compress(self, x: Tensor) -> Compressed:
        """Encode a batch of images.

        Args:
            x: floating point (N, 3, H, W), 0 to 1, on any device, of any height and width; the values are rounded to
                8 bits.

        Returns "strings", with a `.glic` file for each image, and "shape", the size of z.

        Raises ImageError for another tensor, LimitError for too large images, EngineError if the engine fails.
        """
        return {
            "strings": [list(self._codec.encode_many(_arrays(x)))],
            "shape": _hyper_shape(x.shape[2], x.shape[3]),
        }

    def decompress(self, strings: Sequence[Sequence[bytes]], shape: Iterable[int]) -> dict[str, Tensor]:
        """Decode a batch of images.

        Args:
            strings, shape: the result of `compress`.

        Returns "x_hat", (N, 3, H, W), multiples of 1/255 from 0 to 1, with the model's device and dtype.

        Raises BitstreamError for damaged files and for arguments of another form, ModelMismatchError for files of
        another engine, LimitError for too large images, EngineError if the engine fails.
        """
        files = _files_of(strings)
        self._check_sizes(files, tuple(map(int, shape)))
        return {"x_hat": _tensor(list(self._codec.decode_many(files)), self._place)}

    def forward(self, x: Tensor) -> dict[str, Any]:
        """Encode and decode a batch of images; argument and errors are those of `compress`.

        Returns "x_hat" as `decompress` does, but with the device and dtype of `x`, and "likelihoods".

        A likelihood is the probability of a coded symbol in the integer tables; that of an escape includes the bits
        that follow the escape. The sum of -log2 is the estimated rate of `glic eval`, in bits. The likelihoods are
        float32 on x's device: "y" of shape (N, M, h, w), and "z" of shape (N, N', h/4, w/4). For images in tiles, each
        tile has its own likelihoods: "y_tile0", "z_tile0", ...
        """
        arrays, likelihoods = [], []
        for file in self.compress(x)["strings"][0]:
            passes: list[CodedPass] = []
            arrays.append(self._codec.decode(file, passes=passes))
            likelihoods.append(likelihood_maps(passes, self._tables))
        return {
            "x_hat": _tensor(arrays, x),
            "likelihoods": {
                name: torch.from_numpy(np.concatenate([image[name] for image in likelihoods])).to(x.device)
                for name in likelihoods[0]
            },
        }

    def update(self, *args: Any, **options: Any) -> bool:
        """Return False, as CompressAI does if no table changed: the tables are in the engine. Ignores all arguments."""
        return False

    def aux_loss(self) -> Tensor:
        """Return zero, because no table can be trained."""
        return torch.zeros((), device=self._place.device)

    def close(self) -> None:
        """Free the backend. The model cannot be used afterwards."""
        self._codec.close()

    def __enter__(self) -> EngineModel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()  # type: ignore[no-untyped-call]
        del state["_codec"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._codec = Codec(self._path, **self._options)

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        """Save nothing, because `_place` has no weights."""

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *_: Any) -> None:
        names = [name for name in state_dict if name.startswith(prefix)]
        if names:
            raise EngineError(
                f"got {len(names)} weights ({names[0]}, ...), expected none: they are in the engine; export the "
                "checkpoint: python -m export.to_onnx --checkpoint C.pth --output DIR, then EngineModel(DIR)"
            )

    def _check_sizes(self, files: Sequence[bytes], shape: tuple[int, ...]) -> None:
        """Raise BitstreamError unless all files have one image size, and `shape` is the size of its hyper latent."""
        headers = [container.parse_header(file, self._codec.limits) for file in files]
        sizes = sorted({(header.width, header.height) for header in headers})
        if len(sizes) > 1:
            raise BitstreamError(
                f"the files of a batch are of {len(sizes)} sizes, {sizes[0]} and {sizes[1]} among them, expected one "
                "size; decompress the images one by one"
            )
        width, height = sizes[0]
        expected = tuple(_hyper_shape(height, width))
        if shape != expected:
            raise BitstreamError(
                f"shape is {shape}, files of {width} x {height} pixels have {expected}; pass the shape that compress "
                "returned with these strings"
            )


def _arrays(x: Tensor) -> list[NDArray[np.uint8]]:
    """Convert a batch to images, uint8 (H, W, 3). Raises ImageError for a tensor that `compress` does not accept."""
    if not isinstance(x, Tensor):
        raise ImageError(
            f"x is a {type(x).__name__}, expected a torch.Tensor (N, 3, H, W); convert: torch.as_tensor(x)"
        )
    if x.ndim != 4 or x.shape[1] != 3 or not x.numel():
        remedy = "check the code that made x"
        if x.ndim == 3:
            remedy = "add the axis of the batch: x.unsqueeze(0)"
        elif x.ndim == 4 and x.shape[1] == 1:
            remedy = "repeat grey as three channels: x.expand(-1, 3, -1, -1)"
        elif x.ndim == 4 and x.shape[3] == 3:
            remedy = "put the channels before the sides: x.permute(0, 3, 1, 2)"
        raise ImageError(f"x has shape {tuple(x.shape)}, expected (N, 3, H, W) with at least one pixel; {remedy}")
    if not x.is_floating_point():
        raise ImageError(f"x has dtype {x.dtype}, expected floating point, 0 to 1; convert 8 bits: x.float() / 255")
    if x.requires_grad and torch.is_grad_enabled():
        raise ImageError("x requires a gradient, but an engine computes none; call the model under torch.no_grad()")
    levels = torch.round(255 * x.detach().to("cpu", torch.float32))
    low, high = levels.min().item() / 255, levels.max().item() / 255
    if not (low >= 0 and high <= 1):  # this form also refuses NaN
        raise ImageError(
            f"x has values from {low:.4g} to {high:.4g}, expected 0 to 1; divide by the value of white, "
            "or clip the values: x.clamp(0, 1)"
        )
    return list(levels.to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy())


def _tensor(arrays: Sequence[NDArray[np.uint8]], like: Tensor) -> Tensor:
    """Convert images (H, W, 3) to one tensor (N, 3, H, W), 0 to 1, with the device and dtype of `like`."""
    batch = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).contiguous()
    return batch.to(like.device, like.dtype) / 255


def _hyper_shape(height: int, width: int) -> torch.Size:
    """Return the height and width of z for an image of this size, which the encoder pads."""
    return torch.Size(-(-side // CODED_MULTIPLE) * _Z_POSITIONS for side in (height, width))


def _files_of(strings: Sequence[Sequence[bytes]]) -> list[bytes]:
    """Return the files of a batch. Raises BitstreamError unless `strings` is a list of one list of files."""
    if isinstance(strings, (list, tuple)) and len(strings) == 1 and isinstance(strings[0], (list, tuple)):
        files = list(strings[0])
        if files and all(isinstance(file, bytes) for file in files):
            return files
    raise BitstreamError(
        "strings is not a list of one list of files, each of type bytes; pass it as compress returned it: "
        "model.decompress(out['strings'], out['shape'])"
    )


def likelihood_maps(passes: Iterable[CodedPass], tables: Tables) -> dict[str, NDArray[np.float32]]:
    """Compute the likelihoods of an image's symbols.

    Args:
        passes: all passes of the image, or of each of its tiles.
        tables: entropy tables of the bundle.

    Returns float32 maps, of shape (1, M, h, w) for y and (1, N', h/4, w/4) for z, with the names that `forward` uses.
    """
    tiles: list[list[CodedPass]] = []
    for coded in passes:
        if coded.part is None:
            tiles.append([])
        tiles[-1].append(coded)
    maps: dict[str, NDArray[np.float32]] = {}
    for number, (z, *slices) in enumerate(tiles):
        suffix = f"_tile{number}" if len(tiles) > 1 else ""
        maps[f"y{suffix}"] = _unpacked(slices, tables)
        maps[f"z{suffix}"] = _probabilities(z, tables)
    return maps


def _unpacked(slices: Sequence[CodedPass], tables: Tables) -> NDArray[np.float32]:
    """Compute the likelihoods (1, M, h, w) of the passes over y."""
    channels = max(coded.part.stop for coded in slices if coded.part)
    height, half_width = slices[0].symbols.shape[2:]
    full = np.empty((1, channels, height, 2 * half_width), np.float32)
    for coded in slices:
        if coded.part:
            unpack_into(full[:, coded.part.start : coded.part.stop], _probabilities(coded, tables), coded.part.parity)
    return full


def _probabilities(coded: CodedPass, tables: Tables) -> NDArray[np.float32]:
    """Compute the probability of each symbol of a pass. That of an escape includes the bits that follow the escape."""
    return np.exp2(-element_bits(coded, tables)).astype(np.float32)
