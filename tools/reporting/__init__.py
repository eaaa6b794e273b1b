# SPDX-License-Identifier: MIT OR Apache-2.0
"""What tools/report is made of: results are read, pictures drawn, pages written."""
