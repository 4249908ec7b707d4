"""Build and check what is released: wheels for several machines, and all that must hold before a tag."""
