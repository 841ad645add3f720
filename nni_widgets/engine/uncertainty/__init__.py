"""How sure a model is, how that is measured, and how sure an explanation of it can be."""
