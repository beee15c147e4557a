"""Checks of built images: what the manifests declare, held against the images."""
