"""``python -m bus`` is ``govbus``."""

from bus.cli import main

main()
