# SPDX-License-Identifier: BSD-3-Clause
"""The demonstration: tests/demo runs this as `python3 -m lab.demo`."""
