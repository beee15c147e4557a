"""From the graph to files: Dockerfiles, side files, READMEs, the bake file."""
