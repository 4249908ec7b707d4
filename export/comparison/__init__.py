"""Compare a bundle's graphs across runners with Polygraphy: `python -m export.compare`."""
