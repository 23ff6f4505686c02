"""A language model aligned by groups that disagree, from their pairs to texts before and after."""
