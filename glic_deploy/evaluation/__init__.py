"""How well an engine compresses: rate, quality, what a file's bits are spent on, and other codecs beside it.

`measure` evaluates images, `rates` and `degrees` look into one, `curves` compares with published curves and `codecs`
with installed codecs, `results` keeps and tables what was measured, `run` puts it together. See docs/eval.md.
"""
