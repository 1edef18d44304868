"""`python -m llmemo`: the same as the command `llmemo`."""

import sys

from llmemo.cli import main

if __name__ == "__main__":
    sys.exit(main())
