// SPDX-License-Identifier: MIT OR Apache-2.0

#include "bench/truth.h"

#include <cstdint>
#include <vector>

#include "bench/access.h"
#include "bench/contender.h"
#include "bench/guest.h"
#include "bench/replay.h"
#include "bench/trace.h"
#include "gtest/gtest.h"
#include "ptage/types.h"

namespace ptage::bench {
namespace {

constexpr std::uint64_t kPages = 1024;

// Reference i is to page i, so that positions are pages.
Replay Straight() {
  Trace trace;
  trace.pages = kPages;
  for (std::uint32_t page = 0; page < kPages; ++page) {
    trace.records.push_back(Record{page, Access::kRead, 1});
  }
  return Replay("straight", trace, kPages);
}

class TruthTest : public testing::Test {
 protected:
  void Report(std::vector<std::uint64_t> frames) {
    for (const std::uint64_t frame : frames) {
      truth_.Output(counts_).SetYoung(GfnRange{Gfn{frame}, Gfn{frame + 1}});
    }
  }
  void LeaveUnknown(std::uint64_t frame) {
    truth_.Output(counts_).SetUnknown(GfnRange{Gfn{frame}, Gfn{frame + 1}});
  }
  TruthCounts Check() { return truth_.Check(replay_, 0, map_); }

  const Replay replay_ = Straight();
  const FrameMap map_{GuestKind::kTdp, kPages};
  Truth truth_{kPages};
  AgeCounts counts_;
};

TEST_F(TruthTest, OnlyPassesWithBothNeighboursCount) {
  truth_.StartPass({0});
  Report({0, 1});
  EXPECT_EQ(Check(), (TruthCounts{}));
  truth_.StartPass({2});
  Report({2, 3});
  EXPECT_EQ(Check(), (TruthCounts{}));
  truth_.StartPass({4});
  // Pages 0 and 1 were touched before the second pass.
  EXPECT_EQ(
      Check(),
      (TruthCounts{.touched = 2, .found = 2, .reported = 2, .confirmed = 2}));
}

TEST_F(TruthTest, AMissedPageLowersRecall) {
  truth_.StartPass({10});
  Report({10});
  truth_.StartPass({14});
  Report({12, 13});
  truth_.StartPass({14});
  // 10 … 13 were touched, 11 is missing.
  EXPECT_EQ(
      Check(),
      (TruthCounts{.touched = 4, .found = 3, .reported = 2, .confirmed = 2}));
}

TEST_F(TruthTest, AReportOfAnUntouchedPageLowersPrecision) {
  truth_.StartPass({0});
  truth_.StartPass({2});
  // 2 … 4 are touched while the pass goes on, 500 never was.
  Report({0, 1, 4, 500});
  truth_.StartPass({5});
  EXPECT_EQ(
      Check(),
      (TruthCounts{.touched = 2, .found = 2, .reported = 4, .confirmed = 3}));
}

TEST_F(TruthTest, AHandedOverAccessCountsAsFoundButNotAsReported) {
  truth_.StartPass({0});
  truth_.HandOver(Gfn{0});
  truth_.StartPass({2});
  truth_.HandOver(Gfn{1});
  truth_.StartPass({2});
  EXPECT_EQ(
      Check(),
      (TruthCounts{.touched = 2, .found = 2, .reported = 0, .confirmed = 0}));
}

TEST_F(TruthTest, WhatThePassDidNotAnswerIsLeftOut) {
  truth_.StartPass({0});
  truth_.StartPass({4});
  LeaveUnknown(0);
  LeaveUnknown(1);
  Report({1, 2, 3});
  truth_.StartPass({4});
  EXPECT_EQ(
      Check(),
      (TruthCounts{.touched = 2, .found = 2, .reported = 3, .confirmed = 3}));
}

TEST_F(TruthTest, ThatThePassBeforeDidNotAnswerIsNoExcuse) {
  truth_.StartPass({0});
  LeaveUnknown(0);
  truth_.StartPass({1});
  truth_.StartPass({1});
  const TruthCounts counts = Check();
  EXPECT_EQ(counts.touched, 1u);
  EXPECT_EQ(counts.found, 0u);
}

TEST_F(TruthTest, APassForgetsTheBitsOfTheWindowBefore) {
  truth_.StartPass({0});
  Report({0, 1, 2, 3});
  truth_.HandOver(Gfn{9});
  truth_.Reset();
  truth_.StartPass({0});
  truth_.StartPass({2});
  truth_.StartPass({2});
  EXPECT_EQ(Check().found, 0u);
}

TEST_F(TruthTest, PagesOfAllVcpusCount) {
  // vCPU 1 begins with burst 1, which is the trace from its start again.
  truth_.StartPass({0, 500});
  truth_.StartPass({2, 503});
  Report({0, 1, 500, 501});
  truth_.StartPass({2, 503});
  EXPECT_EQ(
      Check(),
      (TruthCounts{.touched = 5, .found = 4, .reported = 4, .confirmed = 4}));
}

// Pages 256, 263 and that of the direct map are names of one frame.
TEST(ShadowTruthTest, ThroughWhicheverNameAPageIsTouchedItsFrameIs) {
  const Replay replay = Straight();
  const FrameMap map(GuestKind::kShadow, kPages);
  Truth truth(kPages);
  AgeCounts counts;
  truth.StartPass({256});
  truth.StartPass({264});
  const Gfn frame = map.FrameOf(256);
  ASSERT_EQ(frame, map.FrameOf(263));
  ASSERT_EQ(frame, map.FrameOf(map.DirectNameOf(256)));
  truth.Output(counts).SetYoung(GfnRange{frame, frame + 1});
  truth.StartPass({264});
  EXPECT_EQ(
      truth.Check(replay, 0, map),
      (TruthCounts{.touched = 7, .found = 1, .reported = 1, .confirmed = 1}));
}

// Frames 0 … 511 are mapped by one leaf, or by as many as it was split into.
TEST(LargeTruthTest, ALargeBlockCountsAsOneFrame) {
  const Replay replay = Straight();
  const FrameMap map(GuestKind::kTdp, kPages, Leaves::kSomeLarge);
  Truth truth(kPages);
  AgeCounts counts;
  truth.StartPass({500});
  truth.StartPass({514});
  // Of a large leaf, as a whole; and two of the other block, one of them wrong.
  truth.Output(counts).SetYoung(GfnRange{Gfn{0}, Gfn{512}});
  truth.Output(counts).SetYoung(GfnRange{Gfn{513}, Gfn{514}});
  truth.Output(counts).SetYoung(GfnRange{Gfn{700}, Gfn{701}});
  truth.StartPass({514});
  // Touched: the block, 512 and 513.
  EXPECT_EQ(
      truth.Check(replay, 0, map),
      (TruthCounts{.touched = 3, .found = 2, .reported = 3, .confirmed = 2}));
}

TEST(NestedTruthTest, PagesAreNamedByTheirFrames) {
  const Replay replay = Straight();
  const FrameMap map(GuestKind::kNested, kPages);
  Truth truth(kPages);
  AgeCounts counts;
  // Pages 256 and 511 are names of one frame.
  truth.StartPass({256});
  truth.StartPass({512});
  const Gfn frame = map.FrameOf(511);
  ASSERT_EQ(frame, map.FrameOf(256));
  truth.Output(counts).SetYoung(GfnRange{frame, frame + 1});
  truth.StartPass({512});
  EXPECT_EQ(
      truth.Check(replay, 0, map),
      (TruthCounts{.touched = 255, .found = 1, .reported = 1, .confirmed = 1}));
}

}  // namespace
}  // namespace ptage::bench
