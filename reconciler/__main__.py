"""The `reconcile` command, and `python -m reconciler`: nothing else imports this."""

import signal

# What is imported before `main` is reached takes no Ctrl-C without a traceback: till then it just ends the process.
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from reconciler.cli import main

if __name__ == "__main__":
    main()
