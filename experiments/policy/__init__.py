"""Policy: a tiny language model aligned to groups that disagree."""
