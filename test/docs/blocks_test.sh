#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0

exec python3 test/docs/blocks_test.py
