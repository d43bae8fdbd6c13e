"""`python -m rune_engine.service [CONFIG_JSON]` runs the engine in this process."""

import sys

from rune_engine.service.process import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
