"""How fast an engine is on the machine at hand, in numbers that say what was timed. See docs/bench.md.

Every contender runs in a process of its own (`worker`), so that memory, start-up and threads are its own; the parent
lets them take turns (`latency`, `throughput`, `sweep`), describes the machine and writes the result (`result`).
"""
