// SPDX-License-Identifier: MIT OR Apache-2.0

#include "ptage/profile.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <random>
#include <set>
#include <vector>

#include "gtest/gtest.h"
#include "ptage/once.h"
#include "ptage/page_table.h"
#include "ptage/sim/vcpu.h"
#include "ptage/spte.h"
#include "ptage/spte/ept.h"
#include "ptage/spte/riscv64.h"
#include "ptage/spte/x86_64.h"
#include "ptage/types.h"
#include "test/formats.h"
#include "test/sim/guest.h"
#include "test/tree.h"

namespace ptage {
namespace {

template <class F>
concept CanProfile = requires { typename Profile<F>; };
static_assert(CanProfile<Ept> && CanProfile<X86_64>);
static_assert(!CanProfile<RiscvSv39> && !CanProfile<test::TinyFormat>);

// Frames of a leaf table, and of one of level 2.
constexpr std::uint64_t kGranule = 512;
constexpr std::uint64_t kTable = 512 * kGranule;

// A guest of large pages and its vCPU.
template <class F>
class ProfileTest : public ::testing::Test {
 protected:
  using Guest = test::Guest<F>;
  using Vcpu = sim::Vcpu<F, typename Guest::Memory>;
  using Granules = std::set<std::uint64_t>;

  static constexpr std::uint64_t kTables = 8;  // of level 2
  static constexpr GfnRange kAll{Gfn{0}, Gfn{kTables * kTable}};

  void SetUp() override {
    for (std::uint64_t gfn = 0; gfn < kAll.end.value; gfn += kGranule) {
      ASSERT_EQ(guest_.Map(Gfn{gfn}, Pfn{gfn}, Rights::kAll, Level{2}),
                MapOutcome::kDone);
    }
    Quieten();
  }
  // Inner entries are born accessed.
  void Quieten() {
    for (std::uint64_t t = 0; t < kTables; ++t) {
      for (Level level{3}; level <= Level{F::kLevels}; level = level.Above()) {
        const Gfn gfn{t * kTable};
        guest_.SetWordAt(gfn, level, guest_.WordAt(gfn, level) & ~kAccessedBit);
      }
    }
  }
  void Access(const Granules& granules) {
    const sim::Running<Vcpu> running(vcpu_);
    for (const std::uint64_t granule : granules) {
      ASSERT_TRUE(vcpu_.Translate(Gfn{granule * kGranule}, Rights::kRead));
    }
  }
  ProfileRound Round(Profile<F>& profile) {
    return profile.Round(guest_.tree,
                         LocklessWalk(guest_.domain, WalkEntry::kWait),
                         guest_.cpus);
  }
  static Granules GranulesOf(const Profile<F>& profile) {
    Granules granules;
    Gfn last{0};
    for (const ProfileRegion& region : profile) {
      EXPECT_FALSE(region.range.Empty());
      EXPECT_GE(region.range.begin, last);
      last = region.range.end;
      for (Gfn gfn = region.range.begin; gfn < region.range.end;
           gfn = gfn + kGranule) {
        granules.insert(gfn.value / kGranule);
      }
    }
    EXPECT_EQ(profile.Frames(), granules.size() * kGranule);
    return granules;
  }
  static Granules Run(std::uint64_t from, std::uint64_t count) {
    Granules granules;
    for (std::uint64_t i = 0; i < count; ++i) granules.insert(from + i);
    return granules;
  }
  // The first granule of a table of level 2.
  static constexpr std::uint64_t At(std::uint64_t table) { return 512 * table; }

  static constexpr typename F::Word kAccessedBit = test::Truth<F>::kAccessedBit;

  Guest guest_{1};
  Vcpu vcpu_{guest_.cpus, 0, guest_.memory, *guest_.tree.root()};
  std::vector<ProfileRegion> regions_ = std::vector<ProfileRegion>(64);
};

using Formats = ::testing::Types<Ept, X86_64, X86_64La57>;
TYPED_TEST_SUITE(ProfileTest, Formats, test::FormatNames);

TYPED_TEST(ProfileTest, RegionsAreWhatWasUsedSinceTheLastRound) {
  Profile<TypeParam> profile(this->regions_.data(), 32, this->kAll);
  EXPECT_EQ(this->Round(profile), ProfileRound{});
  EXPECT_EQ(profile.size(), 0u);
  // Over the end of a table, so that two have to be read.
  auto used = this->Run(this->At(2) - 3, 7);
  used.merge(this->Run(this->At(5) + 9, 1));
  for (int round = 0; round < 3; ++round) {
    this->Access(used);
    EXPECT_EQ(this->Round(profile), (ProfileRound{.in_use = 3, .read = 3}));
    EXPECT_EQ(this->GranulesOf(profile), used);
    EXPECT_EQ(profile.size(), 2u);
  }
  // A region splits, and goes.
  used.erase(this->At(2));
  used.erase(this->At(5) + 9);
  this->Access(used);
  (void)this->Round(profile);
  EXPECT_EQ(this->GranulesOf(profile), used);
  EXPECT_EQ(profile.size(), 2u);
  EXPECT_EQ(this->Round(profile), ProfileRound{});
  EXPECT_EQ(profile.size(), 0u);
}

TYPED_TEST(ProfileTest, WhatTheVcpuHasCachedIsFoundBecauseARoundFlushes) {
  Profile<TypeParam> profile(this->regions_.data(), 32, this->kAll);
  const auto used = this->Run(7, 2);
  for (int round = 0; round < 4; ++round) {
    this->Access(used);
    (void)this->Round(profile);
    EXPECT_EQ(this->GranulesOf(profile), used) << round;
  }
}

TYPED_TEST(ProfileTest, OutsideTheRangeNothingIsReadOrChanged) {
  const GfnRange part{Gfn{kTable + 8 * kGranule}, Gfn{2 * kTable}};
  Profile<TypeParam> profile(this->regions_.data(), 32, part);
  this->Access({0, 512 + 7, 512 + 8, 1023, 1024});
  (void)this->Round(profile);
  EXPECT_EQ(this->GranulesOf(profile),
            (std::set<std::uint64_t>{512 + 8, 1023}));
  for (const std::uint64_t granule : {0u, 512u + 7, 1024u}) {
    EXPECT_NE(this->guest_.WordAt(Gfn{granule * kGranule}, Level{2}) &
                  this->kAccessedBit,
              0u)
        << granule;
  }
}

TYPED_TEST(ProfileTest, LargeLeavesCanBeLeftToOthers) {
  Profile<TypeParam> profile(this->regions_.data(), 32, this->kAll,
                             ProfilePolicy{.leaves = AgeAction::kTest});
  this->Access({5});
  (void)this->Round(profile);
  EXPECT_EQ(this->GranulesOf(profile), (std::set<std::uint64_t>{5}));
  EXPECT_NE(
      this->guest_.WordAt(Gfn{5 * kGranule}, Level{2}) & this->kAccessedBit,
      0u);
}

TYPED_TEST(ProfileTest, TablesInUseHaveTheirTurnOneAfterTheOther) {
  constexpr std::uint64_t kAtOnce = 2;
  Profile<TypeParam> profile(this->regions_.data(), 32, this->kAll,
                             ProfilePolicy{.tables = kAtOnce});
  // Six tables in use, with one granule each, a different one in each phase.
  for (std::uint64_t phase = 0; phase < 3; ++phase) {
    std::set<std::uint64_t> used;
    for (std::uint64_t t = 0; t < 6; ++t) used.insert(this->At(t) + 10 * phase);
    // After so many rounds each had its turn, and a second one, which does not
    // see the phase before any more.
    for (int round = 0; round < 8; ++round) {
      this->Access(used);
      const ProfileRound did = this->Round(profile);
      EXPECT_EQ(did.in_use, 6u);
      EXPECT_LE(did.read, kAtOnce);
      // What has no turn stays as it was, or counts as used as a whole.
      for (const std::uint64_t granule : used) {
        const bool whole_or_seen = std::any_of(
            profile.begin(), profile.end(), [&](const ProfileRegion& region) {
              return region.range.Overlaps(
                  GfnRange{Gfn{granule / 512 * kTable},
                           Gfn{(granule / 512 + 1) * kTable}});
            });
        EXPECT_TRUE(whole_or_seen) << granule;
      }
    }
    EXPECT_EQ(this->GranulesOf(profile), used) << phase;
    for (const ProfileRegion& region : profile) {
      EXPECT_LT(region.rounds_ago, 6 / kAtOnce);
    }
  }
}

TYPED_TEST(ProfileTest, WhatIsNewIsReadAtOnceWhileThereIsRoom) {
  Profile<TypeParam> profile(this->regions_.data(), 32, this->kAll,
                             ProfilePolicy{.tables = 3});
  this->Access({this->At(1) + 1});
  (void)this->Round(profile);
  std::set<std::uint64_t> used = {this->At(1) + 1, this->At(4) + 4,
                                  this->At(6) + 6};
  this->Access(used);
  EXPECT_EQ(this->Round(profile), (ProfileRound{.in_use = 3, .read = 3}));
  EXPECT_EQ(this->GranulesOf(profile), used);
}

TYPED_TEST(ProfileTest, MoreRegionsThanThereIsRoomForAreMergedOverSmallGaps) {
  Profile<TypeParam> profile(this->regions_.data(), 4, this->kAll);
  // Gaps of 1, 2, 4, 9 and many granules.
  const std::set<std::uint64_t> used = {10, 12, 15, 20, 30, 700};
  this->Access(used);
  (void)this->Round(profile);
  EXPECT_LE(profile.size(), 4u);
  const auto found = this->GranulesOf(profile);
  EXPECT_TRUE(
      std::includes(found.begin(), found.end(), used.begin(), used.end()));
  EXPECT_FALSE(found.contains(500));
  // Where there is room again, the gaps are back.
  const std::set<std::uint64_t> fewer = {10, 12, 700};
  for (int round = 0; round < 4; ++round) {
    this->Access(fewer);
    (void)this->Round(profile);
  }
  EXPECT_EQ(this->GranulesOf(profile), fewer);
}

TYPED_TEST(ProfileTest, UnderAFrozenEntryWhatWasKnownIsKept) {
  using F = TypeParam;
  Profile<F> profile(this->regions_.data(), 32, this->kAll);
  this->Access({3, this->At(2)});
  (void)this->Round(profile);
  SpteCell<F>& entry = this->guest_.EntryAt(Gfn{0}, Level{3});
  const typename F::Word taken = ReadOnce(entry, kRelaxed);
  ASSERT_TRUE(Freeze<F>(entry, taken));
  this->Access({this->At(2)});
  (void)this->Round(profile);
  EXPECT_EQ(this->GranulesOf(profile),
            (std::set<std::uint64_t>{3, this->At(2)}));
  EXPECT_EQ(profile.begin()->rounds_ago, 1u);
  Restore<F>(entry, taken);
  this->Access({this->At(2)});
  (void)this->Round(profile);
  EXPECT_EQ(this->GranulesOf(profile), (std::set<std::uint64_t>{this->At(2)}));
}

TYPED_TEST(ProfileTest, TheFirstLookAtSmallPagesIsTooMuchAndTheNextIsNot) {
  using F = TypeParam;
  const Gfn begin{this->kAll.end};
  for (std::uint64_t i = 0; i < 4; ++i) {
    ASSERT_EQ(
        this->guest_.Map(begin + i * kGranule, Pfn{i * kGranule}, Rights::kAll),
        MapOutcome::kDone);
  }
  Profile<F> profile(this->regions_.data(), 32,
                     GfnRange{begin, begin + kTable});
  this->Access({this->At(8) + 2});
  (void)this->Round(profile);
  EXPECT_EQ(this->GranulesOf(profile), this->Run(this->At(8), 4));
  this->Access({this->At(8) + 2});
  (void)this->Round(profile);
  EXPECT_EQ(this->GranulesOf(profile), this->Run(this->At(8) + 2, 1));
}

// Regions that move, grow and shrink, and accesses here and there.
TYPED_TEST(ProfileTest, ManyRoundsFindMostOfWhatIsUsedAndLittleElse) {
  Profile<TypeParam> profile(this->regions_.data(), 32, this->kAll,
                             ProfilePolicy{.tables = 4});
  std::mt19937 random(1);
  constexpr std::uint64_t kGranules = 512 * TestFixture::kTables;
  std::map<std::uint64_t, std::uint64_t> regions;
  std::uint64_t used_sum = 0;
  std::uint64_t found_sum = 0;
  std::uint64_t right = 0;
  for (int round = 0; round < 200; ++round) {
    if (round % 5 == 0) {
      while (regions.size() >= 4) regions.erase(regions.begin());
      regions[random() % (kGranules - 128)] = 16 + random() % 112;
    }
    std::set<std::uint64_t> used;
    for (const auto& [from, count] : regions)
      used.merge(this->Run(from, count));
    this->Access(used);
    const ProfileRound did = this->Round(profile);
    EXPECT_LE(did.read, 4u);
    const auto found = this->GranulesOf(profile);
    used_sum += used.size();
    found_sum += found.size();
    for (const std::uint64_t granule : found) right += used.contains(granule);
  }
  const double all = static_cast<double>(right);
  EXPECT_GT(all / static_cast<double>(used_sum), 0.95);
  EXPECT_GT(all / static_cast<double>(found_sum), 0.95);
}

}  // namespace
}  // namespace ptage
