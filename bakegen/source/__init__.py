"""What a project is read from: YAML with positions, paths that stay inside, files that the package brings."""
