"""Many pictures on a real Ray cluster of two nodes on this machine: nothing is lost, nothing is done twice."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from glic_deploy import Codec, Limits
from glic_deploy.image import load_image
from glic_deploy.saving import save_image

from .conftest import PHOTOS, ROOT

RAY = "needs Ray: pip install 'glic-deploy[ray]'"


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    ray = pytest.importorskip("ray", reason=RAY)
    pytest.importorskip("pyarrow", reason=RAY)
    from ray.cluster_utils import Cluster

    os.environ["RAY_DATA_DISABLE_PROGRESS_BARS"] = "1"
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "object_store_memory": 100 << 20})
    nodes.add_node(num_cpus=2, object_store_memory=100 << 20)
    ray.init(address=nodes.address, runtime_env={"env_vars": {"PYTHONPATH": str(ROOT)}}, log_to_driver=False)
    try:
        yield
    finally:
        ray.shutdown()
        nodes.shutdown()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    photo = load_image(PHOTOS / "kodim23.png")
    (folder / "deep").mkdir()
    for number in range(12):
        name = f"deep/{number:02}.png" if number % 3 == 0 else f"{number:02}.png"
        save_image(photo[20 * number :][:150, 30 * number :][:, :200], folder / name)
    return folder


@pytest.fixture
def sources(pictures: Path, tmp_path: Path) -> list[str]:
    shutil.copytree(pictures, tmp_path / "in")
    return sorted(map(str, (tmp_path / "in").rglob("*.png")))


@pytest.fixture
def arguments(cluster: None, engine: Path, tmp_path: Path) -> dict:
    from glic_deploy.distributed import Resources

    return {
        "engine": engine,
        "root": str(tmp_path / "in"),
        "codec": {"backend": "onnxruntime"},
        "resources": Resources(actors=2, batch=2),
    }


def rows(output: Path) -> dict[str, dict]:
    """The manifest by source, having checked that it has each once, and every file it says is done."""
    from glic_deploy.distributed import read_manifest

    table = read_manifest(str(output)).to_pylist()
    found = {Path(row["source"]).name: row for row in table}
    assert len(found) == len(table)
    for row in table:
        if row["error"] is None:
            assert (output / row["output"]).stat().st_size > 0
    return found


@pytest.mark.slow
def test_there_and_back(sources: list[str], arguments: dict, engine: Path, tmp_path: Path) -> None:
    from glic_deploy import distributed

    output = tmp_path / "coded"
    summary = distributed.encode(sources, str(output), psnr=True, **arguments)
    assert (summary.before, summary.done, summary.failed) == (0, 12, 0)
    found = rows(output)
    assert len(found) == 12
    with Codec(engine, threads=1, backend="onnxruntime") as codec:
        assert (output / "deep" / "00.glic").read_bytes() == codec.encode(sources[-4])
        row = found["00.png"]
        assert row["fingerprint"] == codec.fingerprints[0]
    assert row["bpp"] == 8 * row["bytes"] / (row["width"] * row["height"])
    assert row["psnr"] > 25
    assert summary.bytes == sum(row["bytes"] for row in found.values())
    again = distributed.encode(sources, str(output), psnr=True, **arguments)
    assert (again.before, again.done, again.failed) == (12, 0, 0)

    files = sorted(str(path) for path in output.rglob("*.glic"))
    back = distributed.decode(files, str(tmp_path / "back"), **{**arguments, "root": str(output)})
    assert back.done == 12
    assert load_image(tmp_path / "back" / "deep" / "00.png").shape == (150, 200, 3)


@pytest.mark.slow
def test_a_dataset_of_bytes_and_a_corrupt_picture(sources: list[str], arguments: dict, tmp_path: Path) -> None:
    import ray

    from glic_deploy import distributed

    Path(sources[3]).write_bytes(b"no picture")
    output = tmp_path / "coded"
    dataset = ray.data.read_binary_files(str(tmp_path / "in"), include_paths=True)
    summary = distributed.encode(dataset, str(output), **arguments)
    assert (summary.done, summary.failed) == (11, 1)
    failed = rows(output)[Path(sources[3]).name]
    assert failed["error_type"] == "ImageError"
    assert "not an image" in failed["error"]
    assert len(list(output.rglob("*.glic"))) == 11

    shutil.copyfile(sources[4], sources[3])
    dataset = ray.data.read_binary_files(str(tmp_path / "in"), include_paths=True)
    summary = distributed.encode(dataset, str(output), **arguments)
    assert (summary.before, summary.done, summary.failed) == (11, 1, 0)
    assert all(row["error"] is None for row in rows(output).values())


@pytest.mark.slow
def test_a_killed_worker_loses_nothing(sources: list[str], arguments: dict, tmp_path: Path) -> None:
    import pyarrow.parquet

    from glic_deploy import distributed

    output = tmp_path / "coded"
    killed: list[int] = []

    def kill_one() -> None:
        """The process that wrote the first part of the manifest, when it is at its next batch."""
        while not killed:
            for row in distributed.read_manifest(str(output)).to_pylist() if output.exists() else []:
                killed.append(int(row["worker"].rpartition(":")[2]))
                os.kill(killed[0], signal.SIGKILL)
                return
            time.sleep(0.02)

    killer = threading.Thread(target=kill_one, daemon=True)
    killer.start()
    summary = distributed.encode(sources, str(output), **arguments)
    killer.join(10)
    assert killed
    assert (summary.done, summary.failed) == (12, 0)
    found = rows(output)
    assert sorted(found) == sorted(Path(source).name for source in sources)
    assert len({row["worker"] for row in found.values()}) > 1
    parts = (output / distributed.MANIFEST).glob("*.parquet")
    assert sum(pyarrow.parquet.read_metadata(part).num_rows for part in parts) == 12  # none of them twice
    assert len(list(output.rglob("*.glic"))) == 12
    assert not list(output.rglob("*.part"))


@pytest.mark.slow
def test_unreachable_outputs(sources: list[str], arguments: dict, tmp_path: Path) -> None:
    from glic_deploy import distributed

    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match="file"):
        distributed.encode(sources, str(tmp_path / "file" / "coded"), **arguments)
    output = tmp_path / "coded"
    output.mkdir()
    (output / "deep").write_bytes(b"")  # where a folder has to be
    summary = distributed.encode(sources, str(output), **arguments)
    assert (summary.done, summary.failed) == (8, 4)
    assert {row["error_type"] for row in rows(output).values()} <= {None, "FileExistsError", "NotADirectoryError"}
    (output / "deep").unlink()
    summary = distributed.encode(sources, str(output), **arguments)
    assert (summary.before, summary.done, summary.failed) == (8, 4, 0)
    assert len(rows(output)) == 12


@pytest.mark.slow
def test_an_engine_that_does_not_open_ends_the_run(sources: list[str], arguments: dict, tmp_path: Path) -> None:
    from glic_deploy import EngineError, distributed

    with pytest.raises(EngineError, match="no engine bundle"):
        distributed.encode(sources, str(tmp_path / "coded"), **{**arguments, "engine": tmp_path})


@pytest.mark.slow
def test_another_setting_is_done_again(sources: list[str], arguments: dict, tmp_path: Path) -> None:
    from glic_deploy import distributed

    for background in ((0, 0, 0), (255, 255, 255)):
        summary = distributed.encode(sources[:2], str(tmp_path / "coded"), background=background, **arguments)
        assert (summary.done, summary.before) == (2, 0)
    assert len(rows(tmp_path / "coded")) == 2


@pytest.mark.slow
def test_sources_of_a_dataset_that_share_an_output(sources: list[str], arguments: dict, tmp_path: Path) -> None:
    import ray

    from glic_deploy import distributed
    from glic_deploy.distributed import Resources

    Path(sources[0]).with_suffix(".jpg").write_bytes(Path(sources[1]).read_bytes())
    output = tmp_path / "coded"
    dataset = ray.data.read_binary_files(str(tmp_path / "in"), include_paths=True)
    summary = distributed.encode(dataset, str(output), **{**arguments, "resources": Resources(actors=2, batch=1)})
    assert (summary.done, summary.failed) == (12, 1)
    (refused,) = [row for row in rows(output).values() if row["error"] is not None]
    assert Path(refused["source"]).stem == Path(sources[0]).stem
    assert Path(sources[0]).name in refused["error"]
    assert Path(sources[0]).with_suffix(".jpg").name in refused["error"]


class TestClaims:
    """By workers, which need no cluster."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        for name, photo in (("a.png", "kodim23"), ("a.tif", "kodim07"), ("b.png", "kodim07")):
            save_image(load_image(PHOTOS / f"{photo}.png")[:64, :64], tmp_path / name)
        return tmp_path

    def rows(self, engine: Path, folder: Path, *batches: list[str]) -> list[dict]:
        """Encode batches in one run, each by a worker of its own."""
        pytest.importorskip("ray", reason=RAY)
        from glic_deploy import distributed

        output = str(folder / "out")
        owners = distributed._owners(distributed._all_rows(distributed._Folder(output)))
        job = distributed._Job("encode", str(engine), output, str(folder), "", False, {}, {}, threads=1)
        claims = distributed._Claims(owners)
        for batch in batches:
            distributed._Worker(job, claims.claim)({"path": np.array([str(folder / name) for name in batch])})
        return distributed.read_manifest(output).to_pylist()

    @pytest.mark.parametrize("batches", [(["a.png", "a.tif", "b.png"],), (["a.png"], ["b.png", "a.tif"])])
    def test_an_output_belongs_to_the_first_source(self, engine, folder, batches) -> None:
        found = {Path(row["source"]).name: row for row in self.rows(engine, folder, *batches)}
        assert {name: row["error_type"] for name, row in found.items()} == {
            "a.png": None, "b.png": None, "a.tif": "ImageError"
        }  # fmt: skip
        assert str(folder / "a.png") in found["a.tif"]["error"]
        assert str(folder / "a.tif") in found["a.tif"]["error"]
        with Codec(engine, threads=1) as codec:
            assert (folder / "out" / "a.glic").read_bytes() == codec.encode(folder / "a.png")

    def test_a_later_run_keeps_the_outputs_of_earlier_ones(self, engine, folder) -> None:
        self.rows(engine, folder, ["a.png"])
        before = (folder / "out" / "a.glic").read_bytes()
        (folder / "a.png").write_bytes(b"no image any more")
        self.rows(engine, folder, ["a.png"])  # its last row is an error, its output is still there
        found = self.rows(engine, folder, ["a.tif"])
        assert [row["error_type"] for row in found] == ["ImageError", "ImageError"]
        assert (folder / "out" / "a.glic").read_bytes() == before

    def test_a_batch_that_runs_again_has_its_outputs(self, engine, folder) -> None:
        claimed = [("a.glic", "a.png"), ("b.glic", "b.png")]
        pytest.importorskip("ray", reason=RAY)
        from glic_deploy import distributed

        claims = distributed._Claims({})
        assert claims.claim(claimed) == claims.claim(claimed) == ["a.png", "b.png"]


def test_coded_files_are_read_no_further_than_the_limits_allow(engine: Path, tmp_path: Path) -> None:
    """By one worker, which needs no cluster, from a path and from a URI."""
    pytest.importorskip("ray", reason=RAY)
    from glic_deploy import distributed

    limits = Limits(max_pixels=1 << 16, max_side=1 << 8)
    with Codec(engine, backend="onnxruntime", threads=1) as codec:
        (tmp_path / "a.glic").write_bytes(codec.encode(load_image(PHOTOS / "kodim23.png")[:64, :64]))
    with open(tmp_path / "huge.glic", "wb") as stream:
        stream.truncate(1 << 40)
    job = distributed._Job(
        "decode", str(engine), str(tmp_path / "out"), None, "PNG", False, {"limits": limits}, {}, threads=1
    )
    for scheme in ("", "file://"):
        sources = [f"{scheme}{tmp_path}/{name}.glic" for name in ("a", "huge")]
        done = distributed._Worker(job, distributed._Claims({}).claim)({"path": np.array(sources)})
        assert (done["done"], done["failed"]) == ([1], [1])
    errors = distributed.read_manifest(str(tmp_path / "out")).column("error_type").to_pylist()
    assert errors == [None, "LimitError", None, "LimitError"]


def test_without_ray_the_message_says_what_to_install() -> None:
    script = (
        "import sys; sys.modules['ray'] = None\n"
        "from glic_deploy import EngineError, many\n"
        "try: import glic_deploy.distributed\n"
        "except EngineError as error: print(error)\n"
    )
    said = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, cwd=ROOT).stdout
    assert "pip install 'glic-deploy[ray]'" in said


def test_names_below_a_root() -> None:
    pytest.importorskip("ray", reason=RAY)
    from glic_deploy import ImageError
    from glic_deploy.distributed import _Job

    def job(direction, root):
        return _Job(direction, "E", "out", root, "PNG", False, {}, {}, 1)

    assert job("encode", "/data").output_of("/data/a/b.png") == "a/b.glic"
    assert job("encode", None).output_of("/data/a/b.png") == "data/a/b.glic"
    assert job("encode", None).output_of("s3://bucket/a.png") == "bucket/a.glic"
    assert job("encode", "s3://bucket").output_of("s3://bucket/a.png") == "a.glic"
    assert job("decode", "/data").output_of("/data/a/b.glic") == "a/b.png"
    with pytest.raises(ImageError, match="not below"):
        job("encode", "/data/a").output_of("/data/b.png")
