"""Fuzz targets for everything that reads, and the driver that runs them: `python -m tests.fuzz.run --help`.

A target is a class with seeds, a mutator and `fuzz_one(data)`. What it may raise is told by its `expected`; any other
exception, a hang, or memory beyond what the target allows is a find. Engines feed the targets: Atheris, which follows
the code's coverage, or our own mutator, which needs nothing installed and repeats what it did for the same seed.
"""
