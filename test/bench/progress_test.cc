// SPDX-License-Identifier: MIT OR Apache-2.0

#include "bench/progress.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace ptage::bench {
namespace {

class ProgressTest : public testing::Test {
 protected:
  Progress Of(std::vector<Progress::Stage> stages, Progress::Screen screen) {
    return Progress(
        std::move(stages), screen, [this] { return now_; },
        [this](const std::string& text) { written_ += text; });
  }

  double now_ = 1000;
  std::string written_;
};

TEST_F(ProgressTest, SaysWhatItDoesHowFarItIsAndHowLongItTakes) {
  Progress progress =
      Of({{"guests", 30}, {"walks", 70}}, Progress::Screen::kFile);
  progress.Doing("tables in order");
  EXPECT_EQ(written_,
            "[1/2] guests: tables in order (0 s, about 1 min 40 s left)\n");
  written_.clear();
  now_ += 30;
  progress.Begin(1);
  progress.Show();
  EXPECT_EQ(written_, "[2/2] walks (30 s, about 1 min 10 s left)\n");
}

TEST_F(ProgressTest, AFileGetsALineEveryTenSeconds) {
  Progress progress = Of({{"guests", 30}}, Progress::Screen::kFile);
  for (int i = 0; i < 40; ++i, now_ += 1) progress.Show();
  progress.End();
  EXPECT_EQ(std::count(written_.begin(), written_.end(), '\n'), 4);
  EXPECT_EQ(written_.find('\r'), written_.npos);
  EXPECT_EQ(written_.find('\x1b'), written_.npos);
}

TEST_F(ProgressTest, ATerminalHasOneLineThatIsWrittenOverAndLeftEmpty) {
  Progress progress = Of({{"guests", 30}}, Progress::Screen::kTerminal);
  for (int i = 0; i < 40; ++i, now_ += 0.25) progress.Show();
  EXPECT_EQ(std::count(written_.begin(), written_.end(), '\r'), 10);
  EXPECT_EQ(std::count(written_.begin(), written_.end(), '\n'), 0);
  progress.End();
  EXPECT_EQ(written_.substr(written_.size() - 4), "\r\x1b[K");
  // Nothing is there to be left.
  written_.clear();
  progress.End();
  EXPECT_EQ(written_, "");
}

TEST_F(ProgressTest, WhatWasDoneSlowlyMakesTheRestLonger) {
  Progress progress =
      Of({{"a", 10}, {"b", 10}, {"c", 20}}, Progress::Screen::kFile);
  EXPECT_NEAR(progress.Left(), 40, 1e-9);
  now_ += 30;
  // Three times as long as it took elsewhere.
  progress.Begin(1);
  EXPECT_NEAR(progress.Left(), 90, 1e-9);
  // One that takes longer than expected is not negative.
  now_ += 100;
  EXPECT_GE(progress.Left(), 20 * 130 / 20);
}

TEST_F(ProgressTest, AStageThatIsSkippedTakesNoTime) {
  Progress progress =
      Of({{"a", 10}, {"b", 0}, {"c", 20}}, Progress::Screen::kFile);
  now_ += 10;
  progress.Begin(2);
  EXPECT_NEAR(progress.Left(), 20, 1e-9);
}

TEST_F(ProgressTest, RoundsEndByTheirNumberOrByTheClock) {
  Progress progress = Of({{"guests", 100}}, Progress::Screen::kFile);
  now_ += 10;
  progress.Rounds(50, 100, 3, 1000);
  // 47.5 % of it in 10 seconds.
  EXPECT_NEAR(progress.Left(), 10 * 52.5 / 47.5, 1e-6);
  EXPECT_NE(written_.find("round 50 of 100, 3 windows dropped"), written_.npos);
  // The clock says that half of the time is over.
  progress.Rounds(5, 100, 3, 20);
  EXPECT_NEAR(progress.Left(), 10, 1e-6);
  // Enough rounds, but some windows are still missing.
  progress.Rounds(200, 100, 3, 1000);
  EXPECT_GT(progress.Left(), 0);
}

TEST(MinutesTextTest, SecondsAndMinutes) {
  EXPECT_EQ(MinutesText(0.4), "0 s");
  EXPECT_EQ(MinutesText(59.4), "59 s");
  EXPECT_EQ(MinutesText(59.6), "1 min 00 s");
  EXPECT_EQ(MinutesText(605), "10 min 05 s");
  EXPECT_EQ(MinutesText(-3), "0 s");
}

}  // namespace
}  // namespace ptage::bench
