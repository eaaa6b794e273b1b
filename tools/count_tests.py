# SPDX-License-Identifier: MIT OR Apache-2.0
"""count_tests.py NAME STATUS EVENTS: counts the test cases of one Bazel run.

Reads Bazel's build event file and the test.xml files that it names. Prints
"NAME: N passed, N failed" and exits 1 if anything failed.
"""

import json
import sys
import urllib.parse
import xml.etree.ElementTree


def cases(path):
    """(passed, failed) of one test.xml."""
    passed = failed = 0
    root = xml.etree.ElementTree.parse(path).getroot()
    for case in root.iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            failed += 1
        elif case.get("status") != "notrun" and case.find("skipped") is None:
            passed += 1
    return passed, failed


def main():
    name, status, events = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    passed = failed = 0
    with open(events, encoding="utf-8") as lines:
        for line in lines:
            event = json.loads(line)
            identity = event.get("id", {})
            if "targetCompleted" in identity:
                # Left out on purpose: not for this configuration.
                if event.get("aborted", {}).get("reason") == "SKIPPED":
                    continue
                if not event.get("completed", {}).get("success", False):
                    print("did not build:", identity["targetCompleted"]["label"])
                    failed += 1
            elif "testResult" in identity:
                result = event.get("testResult", {})
                xml_uri = [o["uri"] for o in result.get("testActionOutput", [])
                           if o["name"] == "test.xml"]
                good = bad = 0
                if xml_uri:
                    path = urllib.parse.urlparse(xml_uri[0]).path
                    try:
                        good, bad = cases(urllib.parse.unquote(path))
                    except (OSError, xml.etree.ElementTree.ParseError):
                        pass
                if result.get("status") != "PASSED" and bad == 0:
                    bad = 1
                if bad:
                    print("failed:", identity["testResult"]["label"])
                passed += good
                failed += bad
    # A run that stopped before it had targets, for example.
    if status != 0 and failed == 0:
        print("bazel ended with status", status)
        failed = 1
    if passed == 0 and failed == 0:
        print("no test ran")
        failed = 1
    print(f"{name}: {passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
