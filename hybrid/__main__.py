"""`python -m hybrid`."""

from hybrid.cli import main

main()
