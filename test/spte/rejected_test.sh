#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0

exec python3 test/spte/rejected.py
