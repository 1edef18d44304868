"""`python -m llmemo`: the same as the command `llmemo`."""

import sys

try:
    from llmemo.cli import main
except KeyboardInterrupt:  # before `main` could take it
    sys.exit(130)

if __name__ == "__main__":
    sys.exit(main())
