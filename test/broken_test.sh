#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# broken_test.sh BINARY CASE: BINARY is a test with a line broken on purpose.
# Passes if CASE fails by an expectation: a crash is no catch.

set -uo pipefail

# Its own report would be taken for that of this test.
unset XML_OUTPUT_FILE
output=$("$1" --gtest_filter="*.$2" 2>&1)
status=$?
if [ "$status" -eq 0 ]; then
  echo "$2 passes with the line broken" >&2
  exit 1
fi
if ! grep -Eq "^\[  FAILED  \] [^ ]+\.$2" <<<"$output"; then
  echo "$2 did not fail by an expectation; exit status $status" >&2
  tail -n 20 <<<"$output" >&2
  exit 1
fi
grep -m 1 -A 3 'Failure$' <<<"$output"
