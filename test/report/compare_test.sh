#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0

# Debian's interpreter, as the tool itself: it finds Debian's packages.
exec /usr/bin/python3 test/report/compare_test.py
