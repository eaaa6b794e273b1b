// SPDX-License-Identifier: MIT OR Apache-2.0

#include "bench/replay.h"

#include <cstdint>
#include <set>
#include <tuple>
#include <utility>
#include <vector>

#include "bench/access.h"
#include "bench/trace.h"
#include "gtest/gtest.h"
#include "ptage/types.h"

namespace ptage::bench {
namespace {

// 2 bursts and a rest of 100 records: page i % 7 in the first burst, 7 + i % 3
// later; every fifth access writes, every seventh fetches.
Trace Made() {
  Trace trace;
  trace.pages = 10;
  for (std::uint32_t i = 0; i < 2 * kBurst + 100; ++i) {
    const Access kind = i % 5 == 0   ? Access::kWrite
                        : i % 7 == 0 ? Access::kFetch
                                     : Access::kRead;
    trace.records.push_back(
        Record{i < kBurst ? i % 7 : 7 + i % 3, kind, 1 + i % 4});
  }
  return trace;
}

TEST(ReplayTest, ABurstOfEachCopyComesBeforeTheNextOfAny) {
  const Replay replay("made", Made(), 35);
  EXPECT_EQ(replay.copies(), 3u);
  EXPECT_EQ(replay.Cycle(), 6u);
  for (const auto& [number, base, first_page] :
       std::vector<std::tuple<std::uint64_t, std::uint64_t, std::uint64_t>>{
           {0, 0, 0},
           {1, 10, 0},
           {2, 20, 0},
           {3, 0, 7 + kBurst % 3},
           {5, 20, 7 + kBurst % 3},
           {6, 0, 0}}) {
    EXPECT_EQ(replay.At(number).base, base) << number;
    EXPECT_EQ(replay.At(number).first->page(), first_page) << number;
  }
}

TEST(ReplayTest, AStepNeedsWhatTheAccessDoes) {
  const Replay replay("made", Made(), 10);
  const Step* const steps = replay.At(0).first;
  EXPECT_EQ(steps[0].needed(), Rights::kWrite);
  EXPECT_EQ(steps[1].needed(), Rights::kRead);
  EXPECT_EQ(steps[7].needed(), Rights::kExecute);
  EXPECT_EQ(steps[8].page(), 1u);
}

TEST(ReplayTest, PagesOfAStretchAreThoseOfItsReferences) {
  const Replay replay("made", Made(), 35);
  for (const std::uint64_t stride : {1u, 2u}) {
    for (const auto& [from, to] : std::vector<std::pair<int, int>>{
             {0, 0}, {0, 1}, {5, 6}, {0, 1024}, {1000, 1030}, {3, 8000}}) {
      std::set<std::uint64_t> expected;
      for (int i = from; i < to; ++i) {
        const auto at = static_cast<std::uint64_t>(i);
        const Replay::Burst burst = replay.At(4 + at / kBurst * stride);
        expected.insert(burst.base + burst.first[at % kBurst].page());
      }
      std::set<std::uint64_t> visited;
      replay.ForEachPage(4, stride, static_cast<std::uint64_t>(from),
                         static_cast<std::uint64_t>(to),
                         [&](std::uint64_t page) { visited.insert(page); });
      EXPECT_EQ(visited, expected) << from << " to " << to;
    }
  }
}

}  // namespace
}  // namespace ptage::bench
