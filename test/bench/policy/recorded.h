// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The beginnings of three recorded traces (bench/traces), short enough for
// second implementations that take their time: references to a page that is
// not among the eight that were referred to last, the first 1,200 of them.
// Pages are numbered in the order in which they come.

#ifndef PTAGE_TEST_BENCH_POLICY_RECORDED_H_
#define PTAGE_TEST_BENCH_POLICY_RECORDED_H_

#include <algorithm>
#include <cstddef>
#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "bench/policy/page_list.h"
#include "bench/policy/workloads.h"
#include "bench/trace.h"
#include "gtest/gtest.h"

namespace ptage::bench {

inline Workload BeginningOf(const Trace& trace, std::string name) {
  constexpr std::size_t kReferences = 1200;
  constexpr std::size_t kLast = 8;
  Workload workload{.name = std::move(name), .pages = 0, .recorded = true};
  constexpr Page kNone = ~Page{0};
  std::vector<Page> numbers(trace.pages, kNone);
  std::deque<Page> last;
  for (const Record& record : trace.records) {
    const auto found = std::find(last.begin(), last.end(), record.page);
    const bool known = found != last.end();
    if (known) last.erase(found);
    last.push_back(record.page);
    if (last.size() > kLast) last.pop_front();
    if (known) continue;
    Page& number = numbers[record.page];
    if (number == kNone) number = workload.pages++;
    workload.references.push_back(number);
    if (workload.references.size() == kReferences) break;
  }
  return workload;
}

inline std::vector<Workload> RecordedWorkloads() {
  std::vector<Workload> workloads;
  for (const char* name : {"sort", "perl", "cc1"}) {
    // Relative to the folder in which Bazel runs a test.
    const absl::StatusOr<Trace> trace =
        ReadTrace(std::string("bench/traces/") + name + ".trace");
    if (!trace.ok()) {
      ADD_FAILURE() << name << ": " << trace.status();
      continue;
    }
    workloads.push_back(BeginningOf(*trace, name));
  }
  return workloads;
}

}  // namespace ptage::bench

#endif  // PTAGE_TEST_BENCH_POLICY_RECORDED_H_
