# SPDX-License-Identifier: BSD-3-Clause
"""The benchmarks: tests/bench runs this as `python3 -m lab.bench`."""
