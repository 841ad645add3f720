"""The explorers: each a module, or a folder with what only it is made of; none knows another."""
