"""How Python calls bakegen: as `python -m bakegen`, and as the command of that name."""

import signal

signal.signal(signal.SIGINT, signal.SIG_DFL)  # a Ctrl-C while the rest is read ends it without a traceback

from bakegen.cli import main  # noqa: E402

if __name__ == "__main__":
    main()
