"""Training (``pi10 train``): recipe, plan, seeds. Only this room and ``search`` import torch."""
