"""A whole evaluation: every engine and every other codec over the same images."""

from __future__ import annotations

import datetime
import hashlib
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import __version__, machine
from ..bundle import Bundle
from ..codec import Codec
from ..errors import GlicError
from ..files import temporary_directory
from ..image import Background, load_image
from ..limits import DEFAULT_LIMITS, Limits
from .codecs import PillowCodec, choose
from .curves import BD_RATE_REMEDY, PUBLISHED, Curve, Point, bd_rate, bd_rate_installed, psnr_at
from .families import grouped
from .measure import ImageArray, Row, Similarity, measure_engine, measure_other
from .quality import MS_SSIM_REMEDY, MsSsim, ms_ssim_installed
from .results import Store, key_of, mean

SCHEMA = "glic-eval/1"
SCHEMA_FILE = Path(__file__).with_name("schema.json")

_SKIPPED = (GlicError, OSError, MemoryError)

Say = Callable[[str], None]


@dataclass(frozen=True)
class Settings:
    """What to evaluate; the fields are the options of `glic eval`.

    Attributes:
        engines: bundles, each a point of a curve; images: paths of images.
        families: the title of each engine's curve; none: all are points of one.
        external: curves that were measured elsewhere, as `load_external` reads them.
        device: the number of the GPU; None for the default.
        codecs: names of other codecs; None is all that are installed.
        published: name of a set in PUBLISHED that the images are; None: Kodak if their names are those 24.
        effort: that of `Codec.encode`; None is the default. checkpoint: that of the engine, which only effort 2 needs.
        keep: folder for the `.glic` files and what was measured, from which a later run resumes; None keeps nothing.
    """

    engines: Sequence[str]
    images: Sequence[str]
    backend: str | None = None
    precision: str | None = None
    threads: int | None = None
    device: int | None = None
    background: Background | None = None
    limits: Limits = DEFAULT_LIMITS
    codecs: list[str] | None = None
    published: str | None = None
    effort: int | None = None
    checkpoint: str | None = None
    keep: str | None = None
    families: Sequence[str] = ()
    external: Sequence[Mapping[str, Any]] = ()


class Evaluation:
    """Measures, and gathers what failed: an image that cannot be read or coded is reported and left out of means.

    Attributes:
        errors: what images failed with.
        coded: files of the first engine by image, so far as they are at hand.
    """

    def __init__(self, settings: Settings, say: Say) -> None:
        self.settings = settings
        self.errors: list[BaseException] = []
        self.coded: dict[str, bytes] = {}
        self._say = say
        self._failures: dict[str, Row] = {}

    def run(self) -> dict[str, Any]:
        """The result, as docs/eval.md and schema.json describe it. Raises GlicError when an engine does not open."""
        others = choose(self.settings.codecs)
        with ExitStack() as stack:
            folder = Path(self.settings.keep or stack.enter_context(temporary_directory("glic-eval-")))
            folder.mkdir(parents=True, exist_ok=True)
            store = Store(folder / "results.jsonl")
            similarity = stack.enter_context(MsSsim()) if ms_ssim_installed() else None
            if similarity is None:
                self._say(f"MS-SSIM is left out: {MS_SSIM_REMEDY}")
            if not bd_rate_installed():
                self._say(f"BD-rates are left out: {BD_RATE_REMEDY}")
            engines = [self._engine(engine, folder, store, similarity) for engine in self.settings.engines]
            for entry, family in zip(engines, self.settings.families, strict=False):
                entry["family"] = family
            codecs = [self._other(codec, store, similarity) for codec in others]
        for entry in [*engines, *(point for codec in codecs for point in codec["points"])]:
            entry["rows"] = [row for row in entry["rows"] if row["image"] not in self._failures]
            entry["mean"] = mean(entry["rows"])
        published = self.settings.published or _set_of(self.settings.images)
        return {
            "schema": SCHEMA,
            "made_at": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "version": __version__,
            "command": sys.argv,
            "machine": machine.describe(),
            "published": published,
            "engines": engines,
            "codecs": codecs,
            "external": list(self.settings.external),
            "failures": list(self._failures.values()),
            **_compare(engines, codecs, published, self.settings.external),
        }

    def open_codec(self, engine: str) -> Codec:
        """The codec that an engine is measured with."""
        settings = self.settings
        options: dict[str, Any] = {
            "backend": settings.backend,
            "threads": settings.threads,
            "device": settings.device,
            "limits": settings.limits,
        }
        if settings.checkpoint:
            options["checkpoint"] = settings.checkpoint
        if settings.precision:
            options["precision"] = settings.precision
        return Codec(engine, **options)

    def _engine(self, engine: str, folder: Path, store: Store, similarity: Similarity | None) -> dict[str, Any]:
        bundle = Bundle.open(engine)
        tables = bundle.tables()
        title = Path(engine).name or str(engine)
        with self.open_codec(engine) as codec:
            described = codec.describe()
            identity = {
                "model": bundle.model_fingerprint.hex(),
                "arithmetic": bundle.arithmetic_fingerprint.hex(),
                "backend": described["backend"],
                "ms_ssim": similarity is not None,
                **({} if self.settings.effort is None else {"effort": self.settings.effort}),
            }
            warm = False

            def work(image: str, pixels: ImageArray) -> Row:
                nonlocal warm
                if not warm:
                    codec.decode(codec.encode(pixels[:64, :64]))  # loads the graphs, which is no image's time
                    warm = True
                return measure_engine(
                    codec, tables, pixels, folder / _file_name(image, identity), similarity, self.settings.effort
                )

            rows = self._over_images(title, identity, work, store)
        if engine == self.settings.engines[0]:
            files = {row["image"]: folder / _file_name(row["image"], identity) for row in rows}
            self.coded = {image: file.read_bytes() for image, file in files.items() if file.exists()}
        return {
            "title": title,
            "path": str(engine),
            "bytes": bundle.describe()["bytes"],
            "model_fingerprint": identity["model"],
            "arithmetic_fingerprint": identity["arithmetic"],
            "arithmetic": "exact" if bundle.exact else "float",
            "backend": described["backend"],
            "effort": self.settings.effort,
            "rows": rows,
        }

    def _other(self, codec: PillowCodec, store: Store, similarity: Similarity | None) -> dict[str, Any]:
        points = []
        for quality in codec.qualities:
            identity = {"codec": codec.describe(), "quality": quality, "ms_ssim": similarity is not None}

            def work(image: str, pixels: ImageArray, quality: int = quality) -> Row:
                return measure_other(codec, quality, pixels, similarity)

            rows = self._over_images(f"{codec.title} {quality}", identity, work, store)
            points.append({"quality": quality, "rows": rows})
        return {"name": codec.name, "title": codec.title, "codec": codec.describe(), "points": points}

    def _over_images(
        self, title: str, identity: Mapping[str, Any], work: Callable[[str, ImageArray], Row], store: Store
    ) -> list[Row]:
        rows = []
        for number, image in enumerate(self.settings.images, 1):
            if image in self._failures:
                continue
            place = f"[{number}/{len(self.settings.images)}] {title}, {image}"
            try:
                key = key_of(image, identity)
                row = store.get(key)
                if row is None:
                    pixels = load_image(image, background=self.settings.background, limits=self.settings.limits)
                    row = work(image, pixels)
                    store.put(key, row)
            except _SKIPPED as error:
                self.errors.append(error)
                reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
                self._failures[image] = {"image": image, "error": reason, "error_type": type(error).__name__}
                self._say(f"{place}: skipped: {reason}")
                continue
            rows.append({"image": image, **row})
            if "parts_bits" in row:
                db = "lossless" if row["psnr"] is None else f"{row['psnr']:.2f} dB"
                self._say(f"{place}: {row['bpp']:.4f} bpp, {db}")
        return rows


def _file_name(image: str, identity: Mapping[str, Any]) -> str:
    """Unique for an image and a model, and readable."""
    digest = hashlib.sha256(str(Path(image).resolve()).encode()).hexdigest()[:8]
    effort = f".effort{identity['effort']}" if "effort" in identity else ""
    return f"{Path(image).stem[:100]}.{digest}.{identity['model']}{effort}.glic"


def _set_of(images: Sequence[str]) -> str | None:
    """The published set that images of these names are, whole: means of a part of it compare with nothing."""
    kodak = {f"kodim{number:02}" for number in range(1, 25)}
    return "kodak" if sorted(Path(image).stem for image in images) == sorted(kodak) else None


def curves_of(document: Mapping[str, Any]) -> tuple[Curve, list[Curve]]:
    """The first engines' curve, and those to compare it with: of other engines, published, and of other codecs."""
    ours, others = _curves(document["engines"], document["codecs"], document["published"], document.get("external", ()))
    return ours[0], [curve for curve in [*ours[1:], *others] if curve.points]


def _curves(
    engines: Sequence[Mapping[str, Any]],
    codecs: Sequence[Mapping[str, Any]],
    published: str | None,
    external: Sequence[Mapping[str, Any]],
) -> tuple[list[Curve], list[Curve]]:
    """The engines' curves, a family each, and those to compare them with."""

    def points(entries: Sequence[Mapping[str, Any]]) -> list[Point]:
        means = [entry["mean"] for entry in entries if entry["mean"]["psnr"] is not None]
        return [Point(row["bpp"], row["psnr"], row["ms_ssim"]) for row in means]

    families = grouped(engines, engines[0]["title"] if len(engines) == 1 else "engines")
    ours = [Curve.of(title, points(entries)) for title, entries in families.items()]
    others = [Curve.of(codec["title"], points(codec["points"])) for codec in codecs]
    elsewhere = [Curve.of(curve["title"], [Point(**point) for point in curve["points"]]) for curve in external]
    return ours, [*([PUBLISHED[published]] if published else []), *elsewhere, *others]


def _compare(
    engines: Sequence[Mapping[str, Any]],
    codecs: Sequence[Mapping[str, Any]],
    published: str | None,
    external: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    ours, others = _curves(engines, codecs, published, external)
    # Of two families the later one is compared with the earlier one, each with all that are not ours.
    pairs = [(curve, other) for number, curve in enumerate(ours) for other in [*ours[:number], *others]]
    if published:
        pairs += [(PUBLISHED[published], other) for other in others if other is not PUBLISHED[published]]
    return {
        "bd_rates": [
            {"of": test.title, "to": other.title, "percent": bd_rate(test, other)}
            for test, other in pairs
            if bd_rate_installed()
        ],
        "at_equal_rate": [
            {
                "of": curve.title,
                "to": other.title,
                "bpp": point.bpp,
                "psnr": point.psnr,
                "psnr_of_other": psnr_at(other, point.bpp),
            }
            for curve, other in pairs
            if curve in ours
            for point in curve.points
        ],
    }
