// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Guests with Linux, whose kernel says which pages were referenced. Each test
// starts its own.

#include <cstdint>
#include <cstdio>
#include <string>

#include "absl/strings/match.h"
#include "gtest/gtest.h"
#include "test/live_guest/guest_set.h"
#include "test/live_guest/linux_rounds.h"

namespace ptage::test {
namespace {

// One CPU, running. Where the host has translations dropped before pages are
// touched, what is found is what was touched, exactly; where they stay, the
// kernel and the library miss the same pages.
TEST_F(LinuxTest, OnOneCpuTheLibraryTheKernelAndTheProgramAgree) {
  Boot({});
  if (HasFatalFailure()) return;
  Tally all;
  for (const bool large : {false, true}) {
    for (const Clearer clearer : {Clearer::kGuest, Clearer::kLibrary}) {
      PlayAll(NameOf("1 CPU, refreshed", large, clearer), large, clearer, true,
              20, all);
    }
  }
  EXPECT_EQ(all.rounds, 80u);
  EXPECT_EQ(all.agreed, all.rounds);
  EXPECT_EQ(all.exact, all.rounds);

  // The same few pages again and again: their translations are not looked up
  // anew, so that nothing marks them.
  Tally stale;
  for (const bool large : {false, true}) {
    for (const Clearer clearer : {Clearer::kGuest, Clearer::kLibrary}) {
      Tally tally;
      for (int i = 0; i < 15; ++i) {
        Play({.large = large,
              .clearer = clearer,
              .refresh = false,
              .pages = large    ? 4u
                       : i < 10 ? 16u
                                : 16'384u,
              .seed = 2},
             tally);
      }
      tally.Print(NameOf("1 CPU, as it comes", large, clearer));
      stale += tally;
    }
  }
  EXPECT_EQ(stale.rounds, 60u);
  EXPECT_EQ(stale.agreed, stale.rounds);
}

// Two CPUs, running, one of which writes to pages of the same process all the
// while: bits are taken beside it, and it loses nothing.
TEST_F(LinuxTest, OnTwoCpusTheyAgreeBesideAThreadThatWrites) {
  Boot({.cpus = 2});
  if (HasFatalFailure()) return;
  ASSERT_EQ(linux_guest().Ask("busy"), "ok");
  Tally all;
  for (const bool large : {false, true}) {
    for (const Clearer clearer : {Clearer::kGuest, Clearer::kLibrary}) {
      PlayAll(NameOf("2 CPUs, refreshed", large, clearer), large, clearer, true,
              15, all);
    }
  }
  EXPECT_EQ(all.rounds, 60u);
  EXPECT_EQ(all.agreed, all.rounds);
  EXPECT_EQ(all.exact, all.rounds);
  // The other thread's own bits, as fast as they come.
  std::uint64_t taken = 0;
  for (int i = 0; i < 2000; ++i) {
    taken += TakeBits(kBusyBase, kBusyPages);
    if (i % 100 == 0) linux_guest().RefreshTlb();
  }
  std::printf("[ TAKEN    ] %ju bits of pages that are written to\n",
              std::uintmax_t{taken});
  EXPECT_GT(taken, 0u);
  const std::string answer = linux_guest().Ask("check");
  EXPECT_TRUE(absl::StartsWith(answer, "ok ")) << answer;
  EXPECT_NE(answer, "ok 0");
}

// A kernel that keeps its tables apart from a process's drops translations by
// itself, whenever it is entered: the host does nothing.
TEST_F(LinuxTest, WithPageTableIsolationAllIsFoundWithoutHelp) {
  Boot({.append = "mitigations=auto pti=on"});
  if (HasFatalFailure()) return;
  Tally all;
  for (const bool large : {false, true}) {
    for (const Clearer clearer : {Clearer::kGuest, Clearer::kLibrary}) {
      PlayAll(NameOf("1 CPU, pti=on", large, clearer), large, clearer, false,
              15, all);
    }
  }
  EXPECT_EQ(all.rounds, 60u);
  EXPECT_EQ(all.agreed, all.rounds);
  EXPECT_EQ(all.exact, all.rounds);
}

}  // namespace
}  // namespace ptage::test
