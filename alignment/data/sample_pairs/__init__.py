"""The built-in sample pairs: invented groups that prefer responses by their taste."""
