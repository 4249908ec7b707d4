"""An engine with CompressAI's interface: `glic_deploy.compressai.EngineModel(engine)` is a `torch.nn.Module`.

It needs torch, but not CompressAI: it has the methods that CompressAI's evaluation calls. See docs/compressai.md.
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
"""Positions of z along CODED_MULTIPLE pixels."""


class Compressed(TypedDict):
    """What `EngineModel.compress` returns.

    Attributes:
        strings: a list of one list, which holds a whole `.glic` file for each image.
        shape: height and width of the hyper latent z.
    """

    strings: list[list[bytes]]
    shape: torch.Size


class EngineModel(nn.Module):
    """Codes batches of images with an engine bundle, by the methods of CompressAI's models.

    Inference only: no output has a gradient, in training mode as in evaluation mode. The weights are in the engine, and
    the backend decides what computes; `.to()`, `.cuda()` and `.half()` only decide where `decompress` puts its images
    and which dtype they have. A copy or an unpickled model opens its engine again.

    Args:
        engine: directory of an engine bundle, or a folder of several.
        quality: of several bundles, 1 for the smallest files; None: the highest. No other bundle is opened.
        backend, precision, threads, limits: as of `glic_deploy.Codec`.

    Raises EngineError for a quality that the engine lacks, and as `Codec` does.
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
            raise EngineError(f"quality is {quality}, {engine} has {len(bundles)}: choose one of 1 to {len(bundles)}")
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
        # Follows `.to()`. It is a parameter because CompressAI asks the first one for the model's device.
        self._place = nn.Parameter(torch.empty(0), requires_grad=False)
        self.eval()

    def compress(self, x: Tensor) -> Compressed:
        """Encode a batch: "strings" holds a `.glic` file for each image, "shape" the size of z.

        x: floating point (N, 3, H, W), 0 to 1, on any device; rounded to 8 bits. Any H and W. Raises ImageError for
        another tensor, LimitError for too large images, EngineError.
        """
        return {
            "strings": [list(self._codec.encode_many(_arrays(x)))],
            "shape": _hyper_shape(x.shape[2], x.shape[3]),
        }

    def decompress(self, strings: Sequence[Sequence[bytes]], shape: Iterable[int]) -> dict[str, Tensor]:
        """Decode a batch: "x_hat" is (N, 3, H, W), multiples of 1/255, of the model's device and dtype.

        strings, shape: as `compress` returned them. Raises BitstreamError for others, and for damaged files;
        ModelMismatchError for files of another engine, LimitError for too large images, EngineError.
        """
        files = _files_of(strings)
        self._check_sizes(files, tuple(map(int, shape)))
        return {"x_hat": _tensor(list(self._codec.decode_many(files)), self._place)}

    def forward(self, x: Tensor) -> dict[str, Any]:
        """Encode and decode a batch: "x_hat" as of `decompress`, of x's device and dtype, and "likelihoods".

        The likelihoods are float32 on x's device: the probability of each coded symbol by the integer tables, "y" of
        (N, M, h, w) and "z" of (N, N', h/4, w/4). An escape's includes the bits that follow it, so the sum of -log2 is
        the estimated rate of `glic eval`. For images in tiles each tile has its own: "y_tile0", "z_tile0", ...

        x and errors: as of `compress`.
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
        """Nothing is updated, whatever is asked for: the engine has its tables. Returns False, as CompressAI does."""
        return False

    def aux_loss(self) -> Tensor:
        """Zero: no table is left to be trained."""
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
        """Nothing: `_place` holds no weights."""

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *_: Any) -> None:
        names = [name for name in state_dict if name.startswith(prefix)]
        if names:
            raise EngineError(
                f"got {len(names)} weights ({names[0]}, ...), expected none: they are in the engine; export the "
                "checkpoint: python -m export.to_onnx --checkpoint C.pth --output DIR, then EngineModel(DIR)"
            )

    def _check_sizes(self, files: Sequence[bytes], shape: tuple[int, ...]) -> None:
        """Raise BitstreamError unless the files are all of one size, and `shape` is that of its hyper latent."""
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
    """The images of a batch, uint8 (H, W, 3) each. Raises ImageError for another tensor than `compress` takes."""
    if not isinstance(x, Tensor):
        raise ImageError(
            f"x is a {type(x).__name__}, expected a torch.Tensor (N, 3, H, W); convert: torch.as_tensor(x)"
        )
    if x.ndim != 4 or x.shape[1] != 3 or not x.numel():
        remedy = "check how it was made"
        if x.ndim == 3:
            remedy = "add the axis of the batch: x.unsqueeze(0)"
        elif x.ndim == 4 and x.shape[1] == 1:
            remedy = "repeat grey as three channels: x.expand(-1, 3, -1, -1)"
        elif x.ndim == 4 and x.shape[3] == 3:
            remedy = "put the channels before the sides: x.permute(0, 3, 1, 2)"
        raise ImageError(f"x has shape {tuple(x.shape)}, expected (N, 3, H, W) with at least one pixel; {remedy}")
    if not x.is_floating_point():
        raise ImageError(f"x has dtype {x.dtype}, expected floating point, 0 to 1; of 8 bits, convert: x.float() / 255")
    if x.requires_grad and torch.is_grad_enabled():
        raise ImageError("x requires a gradient, which an engine does not have; call it under torch.no_grad()")
    levels = torch.round(255 * x.detach().to("cpu", torch.float32))
    low, high = levels.min().item() / 255, levels.max().item() / 255
    if not (low >= 0 and high <= 1):  # so that NaN is refused too
        raise ImageError(
            f"x has values from {low:.4g} to {high:.4g}, expected 0 to 1; divide by the value of white, "
            "or cut what overshoots: x.clamp(0, 1)"
        )
    return list(levels.to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy())


def _tensor(arrays: Sequence[NDArray[np.uint8]], like: Tensor) -> Tensor:
    """Images (H, W, 3) as one tensor (N, 3, H, W), 0 to 1, of the device and dtype of `like`."""
    batch = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).contiguous()
    return batch.to(like.device, like.dtype) / 255


def _hyper_shape(height: int, width: int) -> torch.Size:
    """Height and width of z for an image of this size, padded as its file is."""
    return torch.Size(-(-side // CODED_MULTIPLE) * _Z_POSITIONS for side in (height, width))


def _files_of(strings: Sequence[Sequence[bytes]]) -> list[bytes]:
    """The files of a batch. Raises BitstreamError unless `strings` is a list of one list of them."""
    if isinstance(strings, (list, tuple)) and len(strings) == 1 and isinstance(strings[0], (list, tuple)):
        files = list(strings[0])
        if files and all(isinstance(file, bytes) for file in files):
            return files
    raise BitstreamError(
        "strings is not a list of one list of files, each of type bytes; pass it as compress returned it: "
        "model.decompress(out['strings'], out['shape'])"
    )


def likelihood_maps(passes: Iterable[CodedPass], tables: Tables) -> dict[str, NDArray[np.float32]]:
    """Likelihoods of an image's symbols at the positions of y and z, (1, M, h, w) and (1, N', h/4, w/4).

    passes: all passes of an image, or of each of its tiles; tables: of the bundle. The names are those of `forward`.
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
    """Likelihoods (1, M, h, w) of the passes over y."""
    channels = max(coded.part.stop for coded in slices if coded.part)
    height, half_width = slices[0].symbols.shape[2:]
    full = np.empty((1, channels, height, 2 * half_width), np.float32)
    for coded in slices:
        if coded.part:
            unpack_into(full[:, coded.part.start : coded.part.stop], _probabilities(coded, tables), coded.part.parity)
    return full


def _probabilities(coded: CodedPass, tables: Tables) -> NDArray[np.float32]:
    """Probability of each symbol of a pass, of the shape of the pass; with the bits that follow it for an escape."""
    return np.exp2(-element_bits(coded, tables)).astype(np.float32)
