"""The commands about what the network sees in particles: ``pi10 embed`` and ``pi10 sort``."""
