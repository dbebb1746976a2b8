# SPDX-License-Identifier: BSD-3-Clause
"""The lab: network namespaces, FRR, the router, frames and traffic, for the demo, tests and benchmarks."""
