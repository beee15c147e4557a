"""Docker at work: what is asked of it, and what it answers."""
