"""Tests of the pictures, and the tiny networks they are made from."""
