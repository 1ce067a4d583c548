"""Evaluation: rows on disk, accuracy, latency and FLOPs. This file imports nothing, so that rows are read without torch."""
