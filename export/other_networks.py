"""Guess the network of a checkpoint that is not GLIC's, so that a user recognises a mistaken file.

A codec is named only if its keys distinguish it from all other codecs known to this module.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from .checkpoint_file import listed
from .schema import Shape


def guess(shapes: Mapping[str, Shape]) -> str:
    """Guess the kind of network from its tensors' names and shapes, and return a part of a sentence."""
    if any(".grapher." in name for name in shapes):
        return "a part of one, or a variant"
    keys = _Keys(shapes)
    codec = next((name for name, belongs in _CODECS.items() if belongs(keys)), None)
    if codec:
        return f"it looks like {codec}, another learned image codec"
    if any("entropy_bottleneck" in name or "gaussian_conditional" in name for name in shapes):
        return "it looks like another learned image codec"
    if any(name.endswith("running_mean") for name in shapes):
        return "it looks like a convolutional classifier"
    if any("attn" in name or "attention" in name for name in shapes):
        return "it looks like a transformer"
    return f"it looks like something else: {listed(shapes)}"


class _Keys:
    """Search the names of a file's tensors by their beginnings."""

    def __init__(self, shapes: Mapping[str, Shape]) -> None:
        self.shapes = shapes
        self._beginnings = {
            ".".join(parts[:count]) for name in shapes for parts in [name.split(".", 4)[:4]] for count in range(1, 5)
        }

    def has(self, *beginnings: str) -> bool:
        """Return whether each of `beginnings` is a name, or the first parts (at most four) of a name."""
        return all(beginning.rstrip(".") in self._beginnings for beginning in beginnings)

    def rows(self, name: str) -> int:
        """Return the first dimension of a tensor, or 0 if it is missing or a scalar."""
        return next(iter(self.shapes.get(name, ())), 0)


def _hyperprior(keys: _Keys, parameters: int) -> bool:
    """Return whether this is a hyperprior of convolutions and GDN with `parameters` parameters for each latent."""
    latent = keys.rows("g_a.6.weight")
    return (
        keys.has("g_a.1.beta", "h_a.4.weight", "gaussian_conditional.", "entropy_bottleneck.")
        and latent > 0
        and keys.rows("h_s.4.weight") == parameters * latent
    )


def _cheng2020(keys: _Keys) -> bool:
    return keys.has("g_a.0.gdn.beta", "g_a.0.conv1.weight", "h_a.8.weight", "context_prediction.weight")


_CODECS: dict[str, Callable[[_Keys], bool]] = {
    "DCAE": lambda keys: keys.has("dt", "dt_cross_attention.0", "cc_mean_transforms.0"),
    "TCM": lambda keys: keys.has("atten_mean.0", "atten_scale.0", "cc_mean_transforms.0", "g_a.1.trans_block"),
    "FTIC": lambda keys: keys.has("tca.TCA.layers", "tca.hyper_trans", "h_mean_s.0"),
    "CCA": lambda keys: keys.has("mean_NAF_transforms.0", "scale_NAF_transforms.0", "mean_cc_transforms.0"),
    "MLIC++ (or another of the MLIC family)": lambda keys: keys.has(
        "local_context.0", "global_inter_context.1", "entropy_parameters_anchor.0", "lrp_anchor.0"
    ),
    "ELIC": lambda keys: (
        (
            keys.has("g_a.analysis_transform.0", "local_context.0.weight", "entropy_parameters_anchor.0")
            and not keys.has("global_inter_context.")
        )
        or keys.has("g_a.1.conv3.weight", "latent_codec.y.channel_context.y1", "latent_codec.y.latent_codec.y0")
    ),
    "cheng2020-attn": lambda keys: _cheng2020(keys) and keys.has("g_a.3.conv_a.0"),
    "cheng2020-anchor": lambda keys: _cheng2020(keys) and not keys.has("g_a.3.conv_a"),
    "mbt2018": lambda keys: _hyperprior(keys, 2) and keys.has("context_prediction.weight", "entropy_parameters.4"),
    "mbt2018-mean": lambda keys: _hyperprior(keys, 2) and not keys.has("context_prediction"),
    "bmshj2018-hyperprior": lambda keys: _hyperprior(keys, 1) and not keys.has("context_prediction"),
    "bmshj2018-factorized": lambda keys: (
        keys.has("g_a.1.beta", "g_a.6.weight", "entropy_bottleneck.")
        and not any(keys.has(other) for other in ("h_a", "h_s", "gaussian_conditional", "context_prediction"))
    ),
}
