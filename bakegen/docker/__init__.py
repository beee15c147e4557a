"""Docker on this machine: its programs, its configuration, its builders."""
