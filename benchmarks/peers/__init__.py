"""Programs of others that ``benchmarks.bench`` times, each in an environment of its own.

Each file is a script: FOLDER (of image files) and THREADS are its arguments. It classifies the
first files as a warm-up, then all of them, and prints one JSON object as its last line: ``images``,
``seconds``, ``core_seconds``, ``peak_mb`` (None where the system does not tell) and ``about``.
Weights are random: none can be fetched, and their values cost no time.
"""
