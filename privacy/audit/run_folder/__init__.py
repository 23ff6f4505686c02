"""The checks of the folder of a run: the files of its model, and the figures beside them."""
