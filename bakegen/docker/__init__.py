"""What Docker accepts: platforms, references, attributes of bake targets, Dockerfiles."""
