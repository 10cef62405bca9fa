"""`pi10 shore`: receives the minute lines of ships, stores them, and shows them."""
