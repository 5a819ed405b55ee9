"""`python -m unsplit`: the command line, where its script is not on the path."""

from unsplit.cli import main

main()
