"""Measures of the quality of an explanation, and the comparison of methods by them."""
