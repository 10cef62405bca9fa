"""``python -m pi10_classifier`` is the command ``pi10``."""

from pi10_classifier.cli import main

main()
