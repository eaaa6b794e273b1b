// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A guest that writes random words into what is walked as its tables, for as
// long as that lasts: entries that lead to one another, astray, and nowhere,
// and bits that change by themselves. Each piece of its RAM lies between pages
// that fault.

#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "examples/live_guest/frame_table.h"
#include "examples/live_guest/guest.h"
#include "examples/live_guest/pass.h"
#include "gtest/gtest.h"
#include "ptage/foreign.h"
#include "ptage/spte/x86_64.h"
#include "ptage/types.h"
#include "test/live_guest/linux_guest.h"

namespace ptage::test {
namespace {

using live_guest::FrameTable;
using live_guest::Passes;
using live_guest::PassReport;

class HostileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::string why = WhyNoLinuxGuest();
    if (!why.empty()) GTEST_SKIP() << why;
  }

  template <class F>
  void WalkFor(absl::Duration long_enough, LinuxGuest& linux_guest,
               const std::vector<Pfn>& roots) {
    const live_guest::GuestRam& ram = linux_guest.guest().ram();
    FrameTable frames(ram.Frames());
    Passes<F> passes(ram, linux_guest.guest().physical_bits());
    std::uint64_t count = 0, tables = 0, lost = 0, accessed = 0;
    std::uint64_t wrong[kForeignErrors] = {};
    const absl::Time start = absl::Now();
    while (count < 3 || absl::Now() - start < long_enough) {
      ++count;
      const PassReport report = passes.Run(
          roots, count % 3 == 0 ? AgeAction::kTest : AgeAction::kTestAndClear,
          frames, static_cast<live_guest::Stamp>(count));
      // It ends, within what it says.
      EXPECT_LE(report.tables, ram.Frames() + roots.size());
      EXPECT_LE(frames.accessed(), frames.resident());
      EXPECT_LE(frames.resident(), ram.Frames());
      tables += report.tables;
      lost += report.lost_races;
      for (int i = 0; i < live_guest::kLeafSizes; ++i) {
        accessed += report.user.accessed[i] + report.kernel.accessed[i];
      }
      for (unsigned i = 0; i < kForeignErrors; ++i) wrong[i] += report.wrong[i];
    }
    std::printf(
        "[ HOSTILE  ] %d levels: %ju passes, %ju tables, %ju accessed, %ju "
        "races lost; outside %ju, reserved %ju, cycle %ju, too many %ju\n",
        F::kLevels, std::uintmax_t{count}, std::uintmax_t{tables},
        std::uintmax_t{accessed}, std::uintmax_t{lost},
        std::uintmax_t{wrong[0]}, std::uintmax_t{wrong[1]},
        std::uintmax_t{wrong[2]}, std::uintmax_t{wrong[3]});
    // It was as bad as it was meant to be.
    EXPECT_GT(wrong[static_cast<unsigned>(ForeignError::kOutside)], 0u);
    EXPECT_GT(wrong[static_cast<unsigned>(ForeignError::kReserved)], 0u);
    EXPECT_GT(wrong[static_cast<unsigned>(ForeignError::kCycle)], 0u);
    EXPECT_GT(accessed, 0u);
  }
};

TEST_F(HostileTest, IsWalkedAndNothingOutsideIsTouched) {
  LinuxGuest linux_guest({.mib = 256});
  ASSERT_TRUE(linux_guest.ok()) << linux_guest.Console();
  std::vector<Pfn> roots;
  const std::string frames = linux_guest.Ask("scribble 12");
  for (const std::string& frame : std::vector<std::string>(
           absl::StrSplit(frames, ' ', absl::SkipEmpty()))) {
    std::uint64_t number = 0;
    ASSERT_TRUE(absl::SimpleAtoi(frame, &number)) << frames;
    roots.push_back(Pfn{number});
  }
  ASSERT_EQ(roots.size(), 12u);
  roots.resize(3);
  WalkFor<X86_64>(absl::Seconds(2), linux_guest, roots);
  WalkFor<X86_64La57>(absl::Seconds(2), linux_guest, roots);
}

}  // namespace
}  // namespace ptage::test
