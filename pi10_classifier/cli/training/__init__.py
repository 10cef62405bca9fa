"""Commands that train networks, of which `pi10 train` and `pi10 search` lie above."""
