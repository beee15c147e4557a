"""A first manifest, with its templates."""
