"""The benchmarks, one file each. The file's name is the benchmark's name.

A composed benchmark defines `LAYOUTS`, `ask(scene, rng)` and `score(prediction, answers, group)`: see
`benchmarks.Composed`. A published one defines `class Benchmark(Published)`: see `benchmarks/published.py`.
"""
