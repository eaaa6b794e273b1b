#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# broken_test.sh CHOSEN ROW…: CHOSEN is a test in which one of several broken lines can
# be chosen, or "none". A row is NAME:CASE:NUMBER, of a line that is chosen there by its
# number, or NAME:CASE:BINARY, of a test with just this line broken. Passes if of each
# row CASE fails by an expectation (a crash is no catch), and if just what has failed passes
# where nothing is chosen. Reports each row as a test case.

set -uo pipefail

report=${XML_OUTPUT_FILE:-/dev/null}
# A binary's own report would be taken for that of this test.
unset XML_OUTPUT_FILE

escaped() {
  sed -e 's/&/\&amp;/g' -e 's/</\&lt;/g' -e 's/>/\&gt;/g' -e 's/"/\&quot;/g' |
    LC_ALL=C tr -cd '\11\12\15\40-\176'
}

cases=
failed=0
# NAME FAILURE: the failure is empty if there is none.
add() {
  cases+="<testcase classname=\"Broken\" name=\"$1\" status=\"run\">"
  if [ -n "$2" ]; then
    failed=$((failed + 1))
    printf '%s: %s\n' "$1" "$2" >&2
    cases+="<failure message=\"$(head -n 1 <<<"$2" | escaped)\">$(escaped <<<"$2")</failure>"
  fi
  cases+=$'</testcase>\n'
}

chosen=$1
shift
declare -A caught
for row in "$@"; do
  IFS=: read -r name case how <<<"$row"
  binary=$chosen
  [[ $how != */* ]] || binary=$how
  # Threads may miss each other, on a busy machine above all.
  for _ in 1 2 3 4 5; do
    output=$(PTAGE_CHOSEN_MUTANT=$how "$binary" --gtest_filter="*.$case" \
      --gtest_fail_fast 2>&1)
    status=$?
    [ "$status" -eq 0 ] || break
  done
  if [ "$status" -eq 0 ]; then
    add "$name" "$case passes with the line broken"
  elif ! by=$(grep -m 1 -Eo "^\[  FAILED  \] [^ ]+\.$case" <<<"$output"); then
    add "$name" "$case did not fail by an expectation; exit status $status
$(tail -n 20 <<<"$output")"
  else
    add "$name" ""
    [ "$binary" != "$chosen" ] || caught[${by##* }]=1
    echo "--- $name"
    grep -m 1 -A 3 'Failure$' <<<"$output"
  fi
done

if [ ${#caught[@]} -gt 0 ]; then
  filter=$(IFS=: && echo "${!caught[*]}")
  output=$("$chosen" --gtest_filter="$filter" 2>&1)
  if [ $? -eq 0 ] && grep -Eqx "\[  PASSED  \] ${#caught[@]} tests?\." <<<"$output"; then
    add NothingChosen ""
  else
    add NothingChosen "fails with no line broken
$(tail -n 20 <<<"$output")"
  fi
fi

cat >"$report" <<END
<?xml version="1.0" encoding="UTF-8"?>
<testsuites><testsuite name="Broken">
$cases</testsuite></testsuites>
END
[ "$failed" -eq 0 ]
