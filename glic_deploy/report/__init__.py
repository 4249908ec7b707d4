"""Results of `glic eval` and `glic bench` to look at: plots, maps, Markdown tables, and one self-contained page."""
