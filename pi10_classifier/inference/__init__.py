"""The engine that turns images into rows, and the threads that run it."""
