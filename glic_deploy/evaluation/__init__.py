"""Measure how well an engine compresses: rate, quality, the bits of each part of a file, also beside other codecs.

- `run` performs a whole evaluation.
- `measure` evaluates one image, `rates` and `degrees` analyse its bits and its graphs.
- `curves` compares with published curves, `codecs` with installed codecs.
- `results` stores and averages the measurements, `tables` prints them.

See docs/eval.md.
"""
