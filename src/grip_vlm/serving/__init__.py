"""Interfaces to other programs, such as lmms-eval. Nothing else in the package imports this folder."""
