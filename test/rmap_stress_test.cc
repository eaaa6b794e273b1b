// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Rmaps under faults, zaps, vCPUs and agers at once, in every discipline.

#include <cstddef>
#include <cstdint>
#include <random>

#include "gtest/gtest.h"
#include "ptage/memory.h"
#include "ptage/once.h"
#include "ptage/reclaim.h"
#include "ptage/reclaim/epoch.h"
#include "ptage/rmap.h"
#include "ptage/spte.h"
#include "ptage/types.h"
#include "test/formats.h"
#include "test/rmap_fixture.h"
#include "test/stress.h"

namespace ptage {
namespace {

using test::RmapMachine;
using test::Truth;

// Entries are claimed for one of two frames, mapped, touched, aged through the
// frame's rmap and zapped. A frame's pfn tells in the entry whose it is.
template <class D>
class RmapStressTest : public ::testing::Test {
 protected:
  using Format = typename D::Format;
  using Word = typename Format::Word;
  static constexpr std::size_t kEntries = 9;
  static constexpr std::size_t kGfns = 2;

  static constexpr Word LeafOf(std::uint64_t gfn) {
    return Format::MakeLeaf(Pfn{0x40 + gfn}, Level{1}, Rights::kAll);
  }
  static constexpr std::uint64_t GfnIn(Word word) {
    return Format::FrameOf(word).value - 0x40;
  }

  // Counts of each thread, a frame each.
  using PerFrame = std::uint64_t[kGfns];

  // Claims, records, adds, publishes; or zaps, removing while it is frozen.
  void Write(std::mt19937& random, PerFrame& zapped, std::uint64_t& wrong) {
    auto& entry = machine_.entry(random() % kEntries);
    const std::uint64_t gfn = random() % kGfns;
    if (Freeze<Format>(entry, Format::kEmpty)) {
      RecordFrame<Format>(machine_.arena(), entry, Gfn{gfn});
      const RmapAdd added = machine_.Add(heads_[gfn], entry);
      if (added != RmapAdd::kDone) {
        // A walk that lost its CPU may hold every chunk back.
        const bool may = D::kFastAging && added == RmapAdd::kNoMemory;
        if (!may) ++wrong;
        Empty<Format>(entry);
        return;
      }
      Publish<Format>(entry, LeafOf(gfn));
      return;
    }
    Zap<Format>(
        entry, [] {},
        [&](Word word) {
          const std::uint64_t owner = GfnIn(word);
          if ((word & Truth<Format>::kAccessedBit) != 0) ++zapped[owner];
          if (!machine_.Remove(heads_[owner], entry)) ++wrong;
        });
  }
  void Touch(std::mt19937& random, PerFrame& set) {
    auto& entry = machine_.entry(random() % kEntries);
    Word seen = 0;
    const test::Touched touched = test::TouchAsHardware<Format>(
        entry, test::Access::kRead, [&](const SpteCell<Format>& walked) {
          return seen = ReadOnce(walked, kRelaxed);
        });
    if (touched.set_accessed) ++set[GfnIn(seen)];
  }
  void Age(std::mt19937& random, PerFrame& cleared, PerFrame& unanswered) {
    const std::uint64_t gfn = random() % kGfns;
    AgeCounts counts;
    const AgeMode mode =
        random() % 2 == 0 ? AgeMode::kSlow : AgeMode::kFastOnly;
    const LocklessWalk<EpochDomain<>> walk(machine_.domain());
    (void)machine_.rmaps().Age(heads_[gfn], RmapFrame{Gfn{gfn}, Level{1}},
                               AgeAction::kTestAndClear, mode, counts);
    cleared[gfn] += counts.young - counts.lost_races;
    unanswered[gfn] += counts.unanswered;
  }

  RmapMachine<D> machine_;
  RmapHead heads_[kGfns]{};
};

TYPED_TEST_SUITE(RmapStressTest, test::AllDisciplines, test::DisciplineNames);

// Each bit that was set through a frame's entry is cleared through that frame's
// rmap, handed over by a zap of that frame, or still there: exactly once.
TYPED_TEST(RmapStressTest, EachAccessIsTakenOnceAndForItsOwnFrame) {
  using F = typename TypeParam::Format;
  typename TestFixture::PerFrame set{}, zapped[2]{}, cleared{}, unanswered{};
  std::uint64_t wrong[2] = {};
  std::mt19937 random[4];
  for (unsigned i = 0; i < 4; ++i) random[i].seed(i);
  test::Stress({[&] { this->Write(random[0], zapped[0], wrong[0]); },
                [&] { this->Write(random[1], zapped[1], wrong[1]); },
                [&] { this->Touch(random[2], set); },
                [&] { this->Age(random[3], cleared, unanswered); }});

  std::uint64_t left[2] = {};
  std::uint32_t present[2] = {};
  for (std::size_t i = 0; i < this->kEntries; ++i) {
    auto& entry = this->machine_.entry(i);
    const auto word = ReadOnce(entry, kRelaxed);
    ASSERT_FALSE(IsFrozen<F>(word));
    if (!F::IsPresent(word)) continue;
    const std::uint64_t gfn = this->GfnIn(word);
    ++present[gfn];
    if ((word & Truth<F>::kAccessedBit) != 0) ++left[gfn];
    EXPECT_TRUE(this->machine_.Contains(this->heads_[gfn], entry));
  }
  for (std::size_t gfn = 0; gfn < this->kGfns; ++gfn) {
    EXPECT_EQ(cleared[gfn] + zapped[0][gfn] + zapped[1][gfn] + left[gfn],
              set[gfn]);
    EXPECT_GT(set[gfn], 0u);
    EXPECT_EQ(this->machine_.Count(this->heads_[gfn]), present[gfn]);
  }
  EXPECT_EQ(wrong[0] + wrong[1], 0u);
}

}  // namespace
}  // namespace ptage
