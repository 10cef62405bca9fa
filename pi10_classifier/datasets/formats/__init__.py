"""Labels of whole images in the files of other tools: one format a module, read and written."""
