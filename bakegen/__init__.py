"""bakegen: families of container images from one manifest."""
