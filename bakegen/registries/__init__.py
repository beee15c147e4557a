"""The registries that images are pushed to: what kinds there are, who logs in, and whether they answer."""
