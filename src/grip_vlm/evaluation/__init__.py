"""Evaluation: rows on disk, accuracy, latency and FLOPs. Imports nothing, because rows are read without torch."""
