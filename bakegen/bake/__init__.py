"""The bake file: how it is written in HCL, and how it is read back and judged."""
