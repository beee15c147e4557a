"""The sandbox in which expressions and templates are evaluated."""
