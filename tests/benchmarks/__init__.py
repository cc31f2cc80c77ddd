"""How fast darkroom is, on this machine, beside the least that the same work could cost on it.

`python -m tests.benchmarks [NAME…] [--quick | --full] [--json] [--profile DIR]`

Every figure is the median of repeated rounds and stands beside its floor: the bare part of the work (a plain INSERT, an
empty HTTP handler, a plain broker client), measured in between, in the same run. Compare ratios, and figures of one run
only: the calibration loop in each heading shows how fast the machine was that minute. NOTES.md says where time goes.
"""
