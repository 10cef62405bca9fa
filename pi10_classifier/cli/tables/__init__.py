"""Commands that make tables of a finished run: `pi10 sizes`, `pi10 underway`."""
