"""``python -m streamasr``."""

import sys

from streamasr.cli import main

if __name__ == "__main__":
    sys.exit(main())
