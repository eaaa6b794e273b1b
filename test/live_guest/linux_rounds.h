// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Rounds of a comparison: what the library finds in a guest's tables against
// what the guest's own kernel says, and against what was touched.

#ifndef PTAGE_TEST_LIVE_GUEST_LINUX_ROUNDS_H_
#define PTAGE_TEST_LIVE_GUEST_LINUX_ROUNDS_H_

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "examples/live_guest/guest.h"
#include "examples/live_guest/registers.h"
#include "gtest/gtest.h"
#include "ptage/foreign.h"
#include "ptage/harvest.h"
#include "ptage/memory/foreign_ram.h"
#include "ptage/spte/x86_64.h"
#include "ptage/types.h"
#include "test/live_guest/guest_set.h"
#include "test/live_guest/linux_guest.h"

namespace ptage::test {

// Who takes the accessed bits before a round.
enum class Clearer { kGuest, kLibrary };

struct Round {
  bool large = false;
  Clearer clearer = Clearer::kGuest;
  bool refresh = true;  // translations are dropped before pages are touched
  std::uint64_t pages = 8;
  std::uint64_t seed = 1;
};

// What came out of rounds.
struct Tally {
  std::uint64_t rounds = 0;
  std::uint64_t agreed = 0;  // with the kernel, in their number
  std::uint64_t exact = 0;   // with what was touched, page by page
  std::uint64_t touched = 0;
  std::uint64_t missed = 0;  // touched, and found by neither

  Tally& operator+=(const Tally& more) {
    rounds += more.rounds;
    agreed += more.agreed;
    exact += more.exact;
    touched += more.touched;
    missed += more.missed;
    return *this;
  }
  void Print(const std::string& name) const {
    std::printf(
        "[ AGREE    ] %-44s %4ju rounds, %ju agree with the kernel, %ju are "
        "what was touched; %ju pages touched, %ju stale\n",
        name.c_str(), std::uintmax_t{rounds}, std::uintmax_t{agreed},
        std::uintmax_t{exact}, std::uintmax_t{touched}, std::uintmax_t{missed});
  }
};

class LinuxTest : public ::testing::Test {
 protected:
  using F = X86_64;

  void SetUp() override {
    const std::string why = WhyNoLinuxGuest();
    if (!why.empty()) GTEST_SKIP() << why;
  }
  void Boot(const LinuxOptions& options) {
    linux_ = std::make_unique<LinuxGuest>(options);
    ASSERT_TRUE(linux_->ok()) << linux_->Console();
    ASSERT_EQ(linux_->Ask("map"), "ok");
    // Its pages are in one address space, which some CPU has loaded sooner or
    // later.
    for (int i = 0; i < 1000 && root_ == Pfn{0}; ++i) {
      linux_->Ask("check");
      ASSERT_TRUE(linux_->guest().LookAtCpus().ok());
      ASSERT_EQ(linux_->guest().paging(), live_guest::Paging::kFourLevels);
      for (const Pfn root : linux_->guest().roots().all()) {
        if (CountPresent(root) == kSmallPages) root_ = root;
      }
    }
    ASSERT_NE(root_, Pfn{0}) << "no CPU was seen with the program's tables";
  }

  // What the library finds accessed, as numbers of pages.
  std::set<std::uint64_t> Look(bool large, AgeAction action) {
    const GfnRange range = RangeOf(large);
    std::vector<std::uint64_t> words(range.Frames() / 64);
    AgeCounts counts;
    const Tree tree(linux_->guest().ram().memory(), root_, LimitsOf());
    EXPECT_TRUE(tree.valid());
    const AgeResult result =
        Harvest(tree, {}, range, action, AgeMode::kFastOnly,
                AgeOutput{.begin = range.begin,
                          .young = Bitmap(words.data(), range.Frames()),
                          .counts = &counts});
    EXPECT_TRUE(result.complete);
    EXPECT_FALSE(tree.report().any);
    EXPECT_EQ(counts.examined, large ? kLargePages : kSmallPages);
    std::set<std::uint64_t> pages;
    const std::uint64_t size = large ? 512 : 1;
    for (std::uint64_t i = 0; i < range.Frames(); i += size) {
      if ((words[i / 64] >> (i % 64) & 1) != 0) pages.insert(i / size);
    }
    return pages;
  }

  // `tally` is added to.
  void Play(const Round& round, Tally& tally) {
    SCOPED_TRACE(absl::StrFormat("large %d, %d pages, seed %d", round.large,
                                 round.pages, round.seed));
    const std::uint64_t all = round.large ? kLargePages : kSmallPages;
    if (round.clearer == Clearer::kGuest) {
      ASSERT_EQ(linux_->Ask("clear"), "ok");
    } else {
      (void)Look(round.large, AgeAction::kTestAndClear);
    }
    if (round.refresh) linux_->RefreshTlb();
    ASSERT_EQ(linux_->Ask(absl::StrFormat("touch %d %d %d", round.large,
                                          round.pages, round.seed)),
              "ok");
    const std::uint64_t kb =
        linux_->AskNumber(absl::StrFormat("count %d", round.large));
    const std::set<std::uint64_t> found = Look(round.large, AgeAction::kTest);

    std::set<std::uint64_t> touched;
    for (std::uint64_t i = 0; i < round.pages; ++i) {
      touched.insert(PageOf(round.seed, i, all));
    }
    ASSERT_EQ(touched.size(), round.pages);
    std::uint64_t missed = 0;
    for (const std::uint64_t page : touched) {
      missed += found.contains(page) ? 0 : 1;
    }
    ++tally.rounds;
    tally.touched += touched.size();
    tally.missed += missed;
    tally.exact += found == touched ? 1 : 0;
    tally.agreed += found.size() * (round.large ? 2048 : 4) == kb ? 1 : 0;
    EXPECT_EQ(found.size() * (round.large ? 2048 : 4), kb);
    // Nothing is found that was not touched.
    EXPECT_TRUE(std::includes(touched.begin(), touched.end(), found.begin(),
                              found.end()));
  }

  static std::string NameOf(const char* name, bool large, Clearer clearer) {
    return absl::StrCat(
        name, large ? ", 2M" : ", 4K",
        clearer == Clearer::kGuest ? ", guest clears" : ", library clears");
  }

  // Takes the accessed bits of some pages; returns how many it took.
  std::uint64_t TakeBits(std::uint64_t base, std::uint64_t pages) {
    const Gfn first{base >> 12};
    const Tree tree(linux_->guest().ram().memory(), root_, LimitsOf());
    AgeCounts counts;
    (void)Harvest(tree, {}, GfnRange{first, first + pages},
                  AgeAction::kTestAndClear, AgeMode::kFastOnly,
                  AgeOutput{.counts = &counts});
    return counts.young - counts.lost_races;
  }

  // For each, sets from small to all.
  void PlayAll(const std::string& name, bool large, Clearer clearer,
               bool refresh, int rounds, Tally& all) {
    Tally tally;
    constexpr std::uint64_t kSmall[] = {8, 64, 512, 4096, 16'384};
    constexpr std::uint64_t kLarge[] = {1, 4, 8, 16, 32};
    for (int i = 0; i < rounds && !HasFatalFailure(); ++i) {
      const int size = i % 5;
      Play(Round{.large = large,
                 .clearer = clearer,
                 .refresh = refresh,
                 .pages = large ? kLarge[size] : kSmall[size],
                 .seed = static_cast<std::uint64_t>(i + 1)},
           tally);
    }
    tally.Print(name);
    all += tally;
  }

  [[nodiscard]] LinuxGuest& linux_guest() { return *linux_; }
  [[nodiscard]] Pfn root() const { return root_; }

 private:
  using Tree = ForeignTree<F, ForeignRam>;

  [[nodiscard]] static GfnRange RangeOf(bool large) {
    const Gfn first{(large ? kLargeBase : kSmallBase) >> 12};
    return GfnRange{first, first + (large ? 512 * kLargePages : kSmallPages)};
  }
  [[nodiscard]] ForeignLimits LimitsOf() {
    return ForeignLimits{.physical_bits = linux_->guest().physical_bits()};
  }
  std::uint64_t CountPresent(Pfn root) {
    const Tree tree(linux_->guest().ram().memory(), root, LimitsOf());
    AgeCounts counts;
    if (tree.valid()) {
      (void)Harvest(tree, {}, RangeOf(false), AgeAction::kTest,
                    AgeMode::kFastOnly, AgeOutput{.counts = &counts});
    }
    return counts.examined;
  }

  std::unique_ptr<LinuxGuest> linux_;
  Pfn root_{0};
};

}  // namespace ptage::test

#endif  // PTAGE_TEST_LIVE_GUEST_LINUX_ROUNDS_H_
