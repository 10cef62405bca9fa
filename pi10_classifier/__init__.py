"""pi10-classifier: from Plankton Imager Pi-10 images to publishable abundances."""

__version__ = "0.1.0"
