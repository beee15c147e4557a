"""A selection → what bake makes of it; declared builders against those that exist."""
