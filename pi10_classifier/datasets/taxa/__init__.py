"""Labels that are taxa with attributes: their columns, their text and the classes they get."""
