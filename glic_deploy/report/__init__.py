"""Present the results of `glic eval` and `glic bench`: plots, maps, Markdown tables, and one self-contained page."""
