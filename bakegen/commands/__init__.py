"""The commands, one file each: options in; calls, data and talk out.

Everything heavy is imported by the function of the command that needs it, so that `--help` stays instant.
"""
