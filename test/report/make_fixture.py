# SPDX-License-Identifier: MIT OR Apache-2.0
"""python3 test/report/make_fixture.py OUT.json RESULTS.json…

Makes the fixture of the report's tests from what runs left: several files in
one, with fewer and wider buckets of latencies, and without what nobody reads.
"""

import json
import re
import sys

DROPPED = {"run_name", "run_type", "repetitions", "repetition_index", "threads",
           "iterations", "real_time", "cpu_time", "time_unit"}
JOINED = 4  # buckets that become one


def shortened(value):
    if isinstance(value, float):
        return float(f"{value:.4g}")
    return value


def entry(members):
    return {name: shortened(value) for name, value in members.items()
            if name not in DROPPED}


def measured(members):
    return {name: value for name, value in entry(members).items()
            if name not in ("spread", "samples")}


def dropped(one):
    """Of what is alike, some is enough; and what the report would not show."""
    for name in [name for name in one if name.startswith("misses_") and
                 "/" in name]:
        del one[name]
    if one.get("below_ns") == [] or one.get("guest") == "shadow":
        return True
    if one.get("ager") in ("ticket", "trylock", "single_entry", "read_only") or \
            one.get("load") == "/evict/duty5":
        return True
    heading = one.get("heading", "")
    if one.get("group") == "contention" or one.get("name", "").startswith(
            "called back") or heading in ("pair 2T", "section 1T"):
        return True
    if one.get("group") == "walk" and not re.match(
            "(second-level cache|memory), |8 regions", heading):
        return True
    if "goal" in one or "name" not in one or "group" in one:
        return False
    # Of what a full run has for many sizes and workloads.
    if "/splits/" in one["name"]:
        return True
    if re.search(r"/\d+/(fault_p99|translations)$", one["name"]) and \
            not re.search("/tdp/(fast_only|slow)/", one["name"]):
        return True
    if one["name"].startswith("policy/") and "/loop/" not in one["name"]:
        return True
    return "error_occurred" in one or "/shadow/" in one["name"] or not re.search(
        r"/(throughput|misses_vs_clock|refaults|fault_p99|translations)$",
        one["name"])


def latencies(members):
    below, count = members["below_ns"], members["count"]
    ends = list(range(JOINED - 1, len(below), JOINED))
    if not ends or ends[-1] != len(below) - 1:
        ends.append(len(below) - 1)
    starts = [0] + [end + 1 for end in ends[:-1]]
    return {**members, "below_ns": [below[end] for end in ends],
            "count": [sum(count[start:end + 1])
                      for start, end in zip(starts, ends)]}


def main(target, *sources):
    documents = []
    for source in sources:
        with open(source, encoding="utf-8") as file:
            documents.append(json.load(file))
    context = {name: value for document in reversed(documents)
               for name, value in document["context"].items()
               if name != "host_name"}
    lists = {"benchmarks": entry, "contention_sizes": entry, "measured": measured,
             "contention_faults": latencies, "rmap_scan_latencies": latencies}
    with open(target, "w", encoding="utf-8") as file:
        # A line for each entry, so that a new fixture can be told from the old.
        file.write('{"context": ' + json.dumps(context))
        for member, shorten in lists.items():
            entries = {}
            for document in documents:
                for one in document.get(member, []):
                    if dropped(one):
                        continue
                    name = json.dumps([one.get(key) for key in (
                        "name", "group", "heading", "unit", "guest", "ager",
                        "load", "writer", "rmaps")])
                    entries.setdefault(name, one)
            file.write(f',\n"{member}": [' + ",".join(
                "\n" + json.dumps(shorten(one), separators=(",", ":"))
                for one in entries.values()) + "]")
        file.write("}\n")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__.strip())
    main(*sys.argv[1:])
