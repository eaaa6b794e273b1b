// SPDX-License-Identifier: MIT OR Apache-2.0

#include "examples/live_guest/pass.h"

#include <cstdint>
#include <random>
#include <vector>

#include "absl/types/span.h"
#include "examples/live_guest/frame_table.h"
#include "gtest/gtest.h"
#include "ptage/foreign.h"
#include "ptage/spte/x86_64.h"
#include "ptage/types.h"
#include "test/live_guest/images.h"

namespace ptage::live_guest {
namespace {

using test::Image;
using test::kA;
using test::kBig;
using test::kD;
using test::kInner;
using test::kP;
using test::kU;
using test::kW;

constexpr std::uint64_t kFrames = 4096;
constexpr std::uint64_t kHigh = std::uint64_t{1} << 20;  // the frame at 4 GiB

std::uint64_t To(std::uint64_t frame, std::uint64_t bits) {
  return frame << 12 | bits;
}

// Two roots, 1 and 2, that share the kernel's half, which is at 3.
class PassTest : public ::testing::Test {
 protected:
  PassTest() {
    for (const std::uint64_t root : {1u, 2u})
      image_.At(root, 511) = To(3, kInner);
    // The kernel: a large page of 1 GiB, one of 2 MiB, and a small one.
    image_.At(3, 0) = To(0, kInner | kBig);
    image_.At(3, 1) = To(4, kInner);
    image_.At(4, 7) = To(512, kP | kW | kBig);
    image_.At(4, 8) = To(5, kInner);
    image_.At(5, 9) = To(77, kP | kA);
    // The first process: tables that lie on both sides of the hole.
    image_.At(1, 0) = To(kHigh + 6, kInner);
    image_.At(kHigh + 6, 0) = To(7, kInner);
    image_.At(7, 0) = To(8, kInner);
    image_.At(8, 1) = To(100, kP | kU | kA);
    image_.At(8, 2) = To(101, kP | kU);
    image_.At(8, 3) = To(kHigh + 5, kP | kU | kA | kD);
    image_.At(7, 1) = To(1024, kP | kU | kA | kBig);
    // The second shares a page with it.
    image_.At(2, 0) = To(9, kInner);
    image_.At(9, 3) = To(10, kInner);
    image_.At(10, 4) = To(11, kInner);
    image_.At(11, 5) = To(100, kP | kU);
    image_.At(11, 6) = To(102, kP | kU);
  }
  PassReport Run(AgeAction action, Stamp now = 1) {
    return passes_.Run(roots_, action, frames_, now);
  }

  Image image_{kFrames};
  std::vector<Pfn> roots_ = {Pfn{1}, Pfn{2}};
  FrameTable frames_{2 * kFrames};
  Passes<X86_64> passes_{image_.ram(), 40};
};

TEST_F(PassTest, CountsFramesOnceAndLeavesBySize) {
  const PassReport report = Run(AgeAction::kTest);
  EXPECT_EQ(report.roots, 2u);
  EXPECT_EQ(report.subtrees, 3u);
  EXPECT_EQ(report.shared, 1u);
  // Of the two roots, the kernel's 3, 4 and 5, and three of each process.
  EXPECT_EQ(report.tables, 2u + 3 + 3 + 3);
  EXPECT_EQ(report.user.present[0], 5u);
  EXPECT_EQ(report.user.accessed[0], 2u);
  EXPECT_EQ(report.user.present[1], 1u);
  EXPECT_EQ(report.user.accessed[1], 1u);
  EXPECT_EQ(report.kernel.present[0], 1u);
  EXPECT_EQ(report.kernel.accessed[0], 1u);
  EXPECT_EQ(report.kernel.present[1], 1u);
  EXPECT_EQ(report.kernel.accessed[1], 0u);
  EXPECT_EQ(report.kernel.present[2], 1u);
  EXPECT_EQ(report.kernel.accessed[2], 1u);
  // 100, 101, 102, one above the hole, and a large page.
  EXPECT_EQ(frames_.resident(), 4u + 512);
  EXPECT_EQ(frames_.accessed(), 2u + 512);
  // It only looked.
  EXPECT_EQ(frames_.TouchedSince(1), 0u);
  EXPECT_EQ(report.first_look, 0u);
  EXPECT_EQ(image_.At(8, 1), To(100, kP | kU | kA));
}

TEST_F(PassTest, ClearedBitsTellWhatIsTouchedFromThenOn) {
  PassReport report = Run(AgeAction::kTestAndClear, 10);
  // Nobody knows since when these bits were set.
  EXPECT_EQ(report.first_look, 2u + 512);
  EXPECT_EQ(frames_.TouchedSince(1), 0u);
  EXPECT_EQ(image_.At(8, 1), To(100, kP | kU));
  EXPECT_EQ(image_.At(8, 3), To(kHigh + 5, kP | kU | kD));
  EXPECT_EQ(image_.At(7, 1), To(1024, kP | kU | kBig));
  EXPECT_EQ(image_.At(5, 9), To(77, kP));
  image_.At(11, 5) |= kA;
  report = Run(AgeAction::kTestAndClear, 20);
  EXPECT_EQ(report.first_look, 0u);
  EXPECT_EQ(report.user.accessed[0], 1u);
  EXPECT_EQ(frames_.accessed(), 1u);
  EXPECT_EQ(frames_.TouchedSince(20), 1u);
  image_.At(8, 2) |= kA;
  (void)Run(AgeAction::kTestAndClear, 30);
  EXPECT_EQ(frames_.TouchedSince(20), 2u);
  EXPECT_EQ(frames_.TouchedSince(21), 1u);
  EXPECT_EQ(frames_.TouchedSince(31), 0u);
  EXPECT_EQ(frames_.resident(), 4u + 512);

  // A look in between clears nothing, so what it sees is not new afterwards.
  image_.At(8, 2) |= kA;
  (void)Run(AgeAction::kTest, 40);
  EXPECT_EQ(frames_.TouchedSince(40), 0u);
  report = Run(AgeAction::kTestAndClear, 50);
  EXPECT_EQ(report.first_look, 1u);
}

TEST_F(PassTest, TheStripSaysWhereItIs) {
  (void)Run(AgeAction::kTest);
  std::vector<FrameTable::Cell> strip(8);
  frames_.FillStrip(absl::MakeSpan(strip), 0);
  // Of 8,192 frames: 100 to 102 and 1,024 to 1,535; and one above the hole.
  EXPECT_EQ(strip[0].frames, 1024u);
  EXPECT_EQ(strip[0].resident, 3u);
  EXPECT_EQ(strip[0].hot, 1u);
  EXPECT_EQ(strip[1].resident, 512u);
  EXPECT_EQ(strip[1].hot, 512u);
  EXPECT_EQ(strip[4].resident, 1u);
  EXPECT_EQ(strip[4].hot, 1u);
  EXPECT_EQ(strip[7].resident, 0u);
}

TEST_F(PassTest, WhatIsWrongIsCountedAndPassedOver) {
  image_.At(8, 10) = To(kFrames + 5, kP | kU | kA);        // no RAM
  image_.At(8, 11) = To(std::uint64_t{1} << 30, kP | kU);  // no such bits
  image_.At(7, 2) = To(kFrames + 5, kInner);               // no RAM
  image_.At(7, 3) = To(1, kInner);                         // back to the root
  image_.At(7, 4) = To(1026, kP | kU | kBig);              // not aligned
  const PassReport report = Run(AgeAction::kTest);
  EXPECT_EQ(report.no_ram, 1u);
  EXPECT_EQ(report.Of(ForeignError::kOutside), 1u);
  EXPECT_EQ(report.Of(ForeignError::kCycle), 1u);
  EXPECT_EQ(report.Of(ForeignError::kReserved), 2u);
  EXPECT_EQ(report.Of(ForeignError::kTooMany), 0u);
  EXPECT_EQ(frames_.resident(), 4u + 512);
  // A root that is no RAM is none.
  roots_.push_back(Pfn{kFrames + 1});
  EXPECT_EQ(Run(AgeAction::kTest).roots, 2u);
}

TEST_F(PassTest, APassEndsWhateverTheTablesSay) {
  // Every entry of eight tables points to one of them, at all levels.
  for (std::uint64_t table = 16; table < 24; ++table) {
    for (unsigned i = 0; i < 512; ++i) {
      image_.At(table, i) = To(16 + (table + i) % 8, kInner);
    }
  }
  roots_ = {Pfn{16}, Pfn{17}, Pfn{18}};
  PassReport report = Run(AgeAction::kTest);
  EXPECT_GT(report.Of(ForeignError::kTooMany), 0u);
  EXPECT_LE(report.tables, 2 * kFrames + 3);
  // Large pages of 1 GiB, each of which has more frames than there is RAM.
  for (unsigned i = 0; i < 512; ++i) image_.At(16, i) = To(17, kInner);
  for (unsigned i = 0; i < 512; ++i) image_.At(17, i) = To(0, kInner | kBig);
  roots_ = {Pfn{16}};
  report = Run(AgeAction::kTest);
  EXPECT_GT(report.left_out, 0u);
}

TEST(PassLa57Test, AFifthLevelIsWalked) {
  Image image(kFrames);
  image.At(1, 0) = To(2, kInner);
  image.At(2, 3) = To(3, kInner);
  image.At(3, 0) = To(4, kInner);
  image.At(4, 0) = To(5, kInner);
  image.At(5, 5) = To(500, kP | kU | kA);
  image.At(1, 511) = To(6, kInner);
  image.At(6, 511) = To(7, kInner);
  image.At(7, 0) = To(0, kInner | kBig);
  FrameTable frames(2 * kFrames);
  Passes<X86_64La57> passes(image.ram(), 52);
  const std::vector<Pfn> roots = {Pfn{1}};
  const PassReport report = passes.Run(roots, AgeAction::kTest, frames, 1);
  EXPECT_EQ(report.user.present[0], 1u);
  EXPECT_EQ(report.kernel.present[2], 1u);
  EXPECT_EQ(report.tables, 7u);
  EXPECT_EQ(frames.accessed(), 1u);
}

}  // namespace
}  // namespace ptage::live_guest
