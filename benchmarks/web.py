"""Measure the browser's decoder in headless Chromium: `make bench-web`.

The sample network decodes a photograph of 768 x 512 pixels from bytes to pixels. The native decoder takes turns with
the browser, so that the ratio holds on a machine that other programs share. The last line is a JSON object:
{"platform", "browser", "threads", "load", "n", "first_image_s", "decode_s", "native_s", "ratio", "stages_ms",
"ns_a_symbol", "bundle_bytes", "library_bytes"}. Times are medians; ns_a_symbol is the fastest of n.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import platform
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from glic_deploy import Codec, web_bundle
from glic_deploy.image import load_image
from tests.web_browser import DIST, chromium, library_bytes
from tests.web_server import PAGE, serving

_ROOT = Path(__file__).resolve().parent.parent
_PHOTO = _ROOT / "samples" / "photos" / "kodim23.png"

_FIRST = """
const start = performance.now();
globalThis.data = Uint8Array.from(atob(args[0]), letter => letter.charCodeAt(0));
globalThis.codec = await glic.Codec.open("/bundle", { threads: args[1] });
await codec.decode(data);
return [(performance.now() - start) / 1000, codec.describe()];
"""
_DECODE = """
const start = performance.now();
await codec.decode(data);
return [(performance.now() - start) / 1000, codec.stages];
"""


def measure(engine: Path, threads: int, rounds: int) -> dict[str, Any]:
    """Return the results, without those of the machine."""
    firsts, times, natives = [], [], []
    stages: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder, Codec(engine, threads=threads) as codec:
        written = web_bundle.write(engine, Path(folder, "bundle"))
        data = codec.encode(load_image(_PHOTO))
        passes: list[Any] = []
        codec.decode(data, passes=passes)
        symbols = sum(coded.symbols.size for coded in passes)
        with serving({"dist": DIST, "bundle": Path(folder, "bundle")}) as url:
            for number in range(3):  # each with an empty profile
                with chromium() as browser:
                    browser.open(url + PAGE)
                    seconds, described = browser.run(_FIRST, base64.b64encode(data).decode(), threads)
                    firsts.append(seconds)
                    for _ in range(rounds if number == 2 else 0):
                        start = time.perf_counter()
                        codec.decode(data)
                        natives.append(time.perf_counter() - start)
                        seconds, spent = browser.run(_DECODE)
                        times.append(seconds)
                        stages.append(spent)
                    version = browser.driver.capabilities["browserVersion"]
    return {
        "browser": f"Chromium {version}",
        "threads": described["threads"],
        "n": rounds,
        "first_image_s": median(firsts),
        "decode_s": median(times),
        "native_s": median(natives),
        "ratio": median(ours / native for ours, native in zip(times, natives, strict=True)),
        "stages_ms": {name: median(spent[name] for spent in stages) for name in stages[0]},
        "ns_a_symbol": min(spent["range decoder"] for spent in stages) * 1e6 / symbols,
        "bundle_bytes": written.decoder,
        "library_bytes": {
            "decoder": library_bytes(),
            "all": sum(path.stat().st_size for path in DIST.glob("*.js")),
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", type=Path, default=_ROOT / "out" / "sample")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=10)
    args = parser.parse_args()
    found = measure(args.engine, args.threads, args.rounds)
    found = {"platform": platform.platform(), "load": os.getloadavg()[0], **found}
    print(f"{found['platform']}, {found['browser']}, {found['threads']} threads, load {found['load']:.1f}")
    print(f"first image from a cold start: {found['first_image_s']:.2f} s (median of 3)")
    print(
        f"decode 768 x 512: {found['decode_s']:.2f} s, {found['ratio']:.2f} times the native {found['native_s']:.2f} s "
        f"(medians, n = {found['n']})"
    )
    print("stages: " + ", ".join(f"{name} {spent:.0f} ms" for name, spent in found["stages_ms"].items()))
    print(f"range decoder: {found['ns_a_symbol']:.0f} ns a symbol (fastest of {found['n']})")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
