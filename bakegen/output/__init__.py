"""Files → disk: what differs is written, what is no longer made is removed."""
