"""Measure how fast an engine is on this machine. See docs/bench.md.

Every contender runs in a process of its own (`worker`), so that its memory, start-up and threads can be measured. The
parent process (`run`) lets the contenders take turns (`latency`), measures throughput and growth with the image size
(`sweep`), and returns the result with a description of the machine.
"""
