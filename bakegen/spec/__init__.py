"""What Docker, BuildKit and registries accept: rules set by others, as pure functions."""
