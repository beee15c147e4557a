"""From a YAML file to a `Manifest`: data with positions, the schema, declarations."""
