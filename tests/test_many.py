"""Many pictures at once: order, bounds, overlap, and errors that stop no one else."""

from __future__ import annotations

import inspect
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from glic_deploy import BitstreamError, Codec, EngineError, ImageError, LimitError, Limits
from glic_deploy.codec import DecodeOptions, EncodeOptions
from glic_deploy.many import overlap, results

from .conftest import PHOTOS


def slow(value: int) -> int:
    time.sleep(0.002 * (value % 5))
    if value % 7 == 3:
        raise ValueError(value)
    return value


class TestOverlap:
    @pytest.mark.parametrize("threads", [0, 1, 4])
    def test_order_is_kept_and_errors_take_their_item_s_place(self, threads: int) -> None:
        outcomes = list(overlap(range(40), (slow, threads), (lambda value: 10 * value, threads)))
        assert len(outcomes) == 40
        for item, outcome in enumerate(outcomes):
            if item % 7 == 3:
                assert isinstance(outcome, ValueError)
                assert outcome.args == (item,)
            else:
                assert outcome == 10 * item

    def test_the_first_error_is_raised_after_the_results_before_it(self) -> None:
        got = []
        with pytest.raises(ValueError):  # noqa: PT012
            for value in results(overlap(range(40), (slow, 3)), "raise"):
                got.append(value)
        assert got == [0, 1, 2]
        with pytest.raises(ValueError, match="expected 'raise' or 'yield'"):
            results(iter(()), "ignore")  # type: ignore[arg-type]

    def test_an_error_ends_the_threads_before_it_is_raised(self) -> None:
        """Left to the garbage collector, which runs in any thread, waiting for them may never end."""
        before = set(threading.enumerate())
        with pytest.raises(ValueError) as caught:
            list(results(overlap(range(40), (slow, 3)), "raise"))
        assert set(threading.enumerate()) <= before
        del caught  # held what the iterator had until here

    def test_no_more_than_promised_are_drawn_ahead(self) -> None:
        drawn = 0

        def items() -> Iterator[int]:
            nonlocal drawn
            while True:
                drawn += 1
                yield drawn

        outcomes = overlap(items(), (lambda value: value, 2), (lambda value: value, 3))
        for taken in range(1, 30):
            next(outcomes)
            assert drawn - taken <= 2 * 2 + 2 * 3
        outcomes.close()  # type: ignore[attr-defined]

    def test_steps_run_beside_each_other(self) -> None:
        meeting = threading.Barrier(2, timeout=20)

        def first(value: int) -> int:
            if value == 1:
                meeting.wait()
            return value

        def second(value: int) -> int:
            if value == 0:
                meeting.wait()
            return value

        assert list(overlap(range(4), (first, 1), (second, 1))) == [0, 1, 2, 3]

    def test_one_slow_item_does_not_idle_the_others(self) -> None:
        others = threading.Event()
        done = []

        def work(value: int) -> int:
            if value == 0:
                assert others.wait(20)
            else:
                done.append(value)
                if len(done) == 3:
                    others.set()
            return value

        assert list(overlap(range(6), (work, 2))) == list(range(6))

    def test_closing_leaves_no_thread_behind(self) -> None:
        before = threading.active_count()
        outcomes = overlap(range(1000), (slow, 2), (slow, 2))
        next(outcomes)
        outcomes.close()  # type: ignore[attr-defined]
        assert threading.active_count() == before


@pytest.fixture(scope="module")
def codec(engine: Path) -> Iterator[Codec]:
    with Codec(engine, threads=1, limits=Limits(max_pixels=768 * 512)) as codec:
        yield codec


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (40 + 30 * number, 64, 3), np.uint8) for number in range(5)]


class TestCodec:
    def test_there_and_back_as_one_by_one(self, codec: Codec, pictures: list[np.ndarray], tmp_path: Path) -> None:
        files = list(codec.encode_many(iter(pictures), workers=3))
        assert files == [codec.encode(picture) for picture in pictures]
        path = tmp_path / "first.glic"
        path.write_bytes(files[0])
        decoded = list(codec.decode_many([path, *files[1:]], workers=3))
        for picture, data in zip(decoded, files, strict=True):
            np.testing.assert_array_equal(picture, codec.decode(data))

    def test_bad_ones_are_told_in_their_place(self, codec: Codec, pictures: list[np.ndarray], tmp_path: Path) -> None:
        (tmp_path / "bad.png").write_bytes(b"no picture")
        huge = np.zeros((1000, 1000, 3), np.uint8)
        sources = [pictures[0], tmp_path / "bad.png", huge, tmp_path / "absent.png", pictures[1]]
        outcomes = list(codec.encode_many(sources, on_error="yield"))
        assert [type(outcome) for outcome in outcomes] == [bytes, ImageError, LimitError, ImageError, bytes]
        with pytest.raises(ImageError, match=r"bad\.png"):
            list(codec.encode_many(sources))
        files = [outcomes[0], b"GLIC", tmp_path / "absent.glic", outcomes[4][:-1], outcomes[4]]
        decoded = list(codec.decode_many(files, on_error="yield"))
        assert [type(picture) for picture in decoded] == [
            np.ndarray, BitstreamError, FileNotFoundError, BitstreamError, np.ndarray,
        ]  # fmt: skip

    def test_unknown_keywords_are_told_in_the_call(self, codec: Codec) -> None:
        with pytest.raises(TypeError, match=r"encode_many.*'qualty'; there are: quality, "):
            codec.encode_many([], qualty=1)  # type: ignore[call-overload]
        for name in ("out", "on_eror", "passes", "damaged"):
            with pytest.raises(TypeError, match=f"decode_many.*'{name}'; there are: region, "):
                codec.decode_many([], **{name: None})
        with pytest.raises(TypeError, match="'regoin'"):
            codec.decode_strips(b"", regoin=None)  # type: ignore[call-arg]

    def test_wrong_values_are_told_in_the_call(self, codec: Codec) -> None:
        for many in (codec.encode_many, codec.decode_many):
            for workers in (0, -1, "x", 1.0, 5000):
                with pytest.raises(EngineError, match=f"workers is {workers!r}, expected an integer from 1"):
                    many([], workers=workers)
            with pytest.raises(ImageError, match="on_error is 'bogus', expected 'raise' or 'yield'"):
                many([], on_error="bogus")
        with pytest.raises(ImageError, match="region is 'a'"):
            codec.decode_many([], region="a")  # type: ignore[arg-type]

    def test_options_are_those_of_one_image(self) -> None:
        """The TypedDicts, which type checkers read, say what `encode` and `decode` say."""

        def keywords(function: Callable[..., object]) -> dict[str, object]:
            parameters = inspect.signature(function).parameters.values()
            return {each.name: each.annotation for each in parameters if each.kind is each.KEYWORD_ONLY}

        def declared(options: type) -> dict[str, object]:
            return {name: kind.__forward_arg__ for name, kind in options.__annotations__.items()}

        assert declared(EncodeOptions) == keywords(Codec.encode)
        assert declared(DecodeOptions).items() <= keywords(Codec.decode).items()

    def test_options_go_to_each(self, codec: Codec) -> None:
        clear = np.zeros((20, 20, 4), np.uint8)
        assert len(list(codec.encode_many([clear] * 3, background=(1, 2, 3)))) == 3
        assert isinstance(next(codec.encode_many([clear], on_error="yield")), ImageError)
        stages: dict[str, float] = {}
        list(codec.encode_many([PHOTOS / "kodim23.png"], stages=stages))
        assert stages["analysis"] > 0
