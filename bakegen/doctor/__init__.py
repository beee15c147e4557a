"""Whether everything here that images are built and pushed with is as it should be."""
