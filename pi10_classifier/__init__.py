"""pi10-classifier turns Plankton Imager Pi-10 images into publishable abundances."""

__version__ = "0.2.0"
