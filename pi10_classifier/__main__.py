"""Runs the command ``pi10`` for ``python -m pi10_classifier``."""

from pi10_classifier.cli import main

main()
