"""``pi10 train``: recipe, plan, seeds. Only this folder and ``search`` import torch."""
