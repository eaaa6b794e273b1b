// SPDX-License-Identifier: MIT OR Apache-2.0

#include "ptage/rmap/range.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>
#include <type_traits>
#include <vector>

#include "gtest/gtest.h"
#include "ptage/memory.h"
#include "ptage/memory/arena.h"
#include "ptage/once.h"
#include "ptage/reclaim.h"
#include "ptage/reclaim/epoch.h"
#include "ptage/rmap.h"
#include "ptage/spte.h"
#include "ptage/spte/arm64.h"
#include "ptage/spte/ept.h"
#include "ptage/spte/riscv64.h"
#include "ptage/spte/x86_64.h"
#include "ptage/types.h"
#include "test/formats.h"
#include "test/rmap_fixture.h"
#include "test/stress.h"

namespace ptage {
namespace {

using test::RmapMachine;
using test::Truth;

// What a question about a range answers.
struct Answers {
  AgeResult result = {};
  AgeCounts counts = {};
  std::vector<std::uint64_t> young = {};
  std::vector<std::uint64_t> unknown = {};

  friend bool operator==(const Answers& a, const Answers& b) {
    return a.result == b.result && a.counts.examined == b.counts.examined &&
           a.counts.young == b.counts.young &&
           a.counts.lost_races == b.counts.lost_races &&
           a.counts.unanswered == b.counts.unanswered && a.young == b.young &&
           a.unknown == b.unknown;
  }
};

std::vector<std::uint64_t> Bits(std::uint64_t bits) {
  return std::vector<std::uint64_t>((bits + 63) / 64);
}

template <class D>
Answers AskRange(D& rmaps, RmapHead* heads, RmapFrame first,
                 std::uint64_t count, AgeAction action, AgeMode mode) {
  const std::uint64_t bits = count * FramesAt<typename D::Format>(first.level);
  Answers answers{.young = Bits(bits), .unknown = Bits(bits)};
  const AgeOutput output{.begin = first.gfn,
                         .young = Bitmap(answers.young.data(), bits),
                         .unknown = Bitmap(answers.unknown.data(), bits)};
  answers.result = AgeRange(rmaps, heads, first, count, action, mode, output,
                            answers.counts);
  return answers;
}

// The model: a question of each head.
template <class D>
Answers AskEach(D& rmaps, RmapHead* heads, RmapFrame first, std::uint64_t count,
                AgeAction action, AgeMode mode) {
  const std::uint64_t frames = FramesAt<typename D::Format>(first.level);
  Answers answers{.young = Bits(count * frames),
                  .unknown = Bits(count * frames)};
  for (std::uint64_t i = 0; i < count; ++i) {
    const AgeResult one =
        rmaps.Age(heads[i], RmapFrame{first.gfn + i * frames, first.level},
                  action, mode, answers.counts);
    answers.result |= one;
    for (std::uint64_t k = i * frames; k < (i + 1) * frames; ++k) {
      if (one.young) answers.young[k / 64] |= std::uint64_t{1} << k % 64;
      if (!one.complete) answers.unknown[k / 64] |= std::uint64_t{1} << k % 64;
    }
  }
  return answers;
}

template <class D>
class RangeTest : public ::testing::Test {
 protected:
  using Format = typename D::Format;
  static constexpr unsigned kPerTable = kEntriesPerTable<Format>;
  static constexpr std::size_t kFrames = std::size_t{8} * kPerTable;
  // Far from zero, so that a frame is never taken for its place in the range.
  static constexpr Gfn kFirst{10'000};

  // Entry i of all tables, in the order of their addresses.
  SpteCell<Format>& entry(std::size_t i) { return machine_.entry(i); }
  // Frame i by entry `at`.
  void Map(std::size_t i, std::size_t at, typename Format::Word word) {
    machine_.MustAdd(heads_[i], entry(at), kFirst + i, word);
    mapped_.push_back({i, at});
  }
  void Clear() {
    for (const auto& [i, at] : mapped_) {
      ASSERT_TRUE(machine_.Remove(heads_[i], entry(at)));
      WriteOnce(entry(at), Format::kEmpty, kRelaxed);
    }
    mapped_.clear();
  }
  Answers Ask(AgeAction action = AgeAction::kTest,
              AgeMode mode = AgeMode::kFastOnly, std::size_t from = 0,
              std::size_t to = kFrames) {
    const LocklessWalk<EpochDomain<>> walk(machine_.domain());
    return AskRange(machine_.rmaps(), heads_.data() + from,
                    RmapFrame{kFirst + from, Level{1}}, to - from, action,
                    mode);
  }
  Answers Model(AgeAction action, AgeMode mode, std::size_t from,
                std::size_t to) {
    const LocklessWalk<EpochDomain<>> walk(machine_.domain());
    return AskEach(machine_.rmaps(), heads_.data() + from,
                   RmapFrame{kFirst + from, Level{1}}, to - from, action, mode);
  }

  RmapMachine<D> machine_{kFrames};
  std::vector<RmapHead> heads_ = std::vector<RmapHead>(kFrames);
  struct Mapping {
    std::size_t frame;
    std::size_t at;
  };
  std::vector<Mapping> mapped_;
};

using Disciplines = ::testing::Types<
    test::LocklessRmaps<Ept>, test::LocklessRmaps<X86_64>,
    test::LocklessRmaps<RiscvSv39>, test::LocklessRmaps<Arm64Stage2Of16K>,
    test::LocklessRmaps<test::TinyFormat>, test::LocklessExcludedRmaps<Ept>,
    test::SingleEntryRmaps<Ept>, test::SingleEntryRmaps<X86_64>,
    test::SingleEntryRmaps<test::TinyFormat>, test::BitLockedRmaps<Ept>,
    test::BitLockedRmaps<test::TinyFormat>>;
TYPED_TEST_SUITE(RangeTest, Disciplines, test::DisciplineNames);

TYPED_TEST(RangeTest, NothingIsFoundWhereNothingIsMapped) {
  EXPECT_EQ(this->Ask(), (Answers{.young = Bits(this->kFrames),
                                  .unknown = Bits(this->kFrames)}));
  EXPECT_EQ(this->Ask(AgeAction::kTest, AgeMode::kSlow, 3, 3), Answers{});
}

TYPED_TEST(RangeTest, EachEntryOfARunIsCountedAndTheYoungOnesAreNamed) {
  using F = typename TypeParam::Format;
  // Across tables, whatever their size; frame 0 lies on entry 2.
  for (std::size_t i = 0; i < this->kFrames; ++i) {
    const bool young = i == 1 || i == this->kFrames - 3;
    this->Map(i, i + 2, young ? Truth<F>::kYoung : Truth<F>::kCold);
  }
  Answers answers = this->Ask(AgeAction::kTestAndClear);
  EXPECT_EQ(answers.result, AgeResult{.young = true});
  EXPECT_EQ(answers.counts.examined, this->kFrames);
  EXPECT_EQ(answers.counts.young, 2u);
  for (std::size_t i = 0; i < this->kFrames; ++i) {
    EXPECT_EQ(answers.young[i / 64] >> i % 64 & 1,
              i == 1 || i == this->kFrames - 3 ? 1u : 0u);
  }
  answers = this->Ask(AgeAction::kTestAndClear);
  EXPECT_EQ(answers.result, AgeResult{});
  EXPECT_EQ(answers.counts.examined, this->kFrames);
  EXPECT_EQ(answers.counts.young, 0u);
}

TYPED_TEST(RangeTest, AnEntryThatWasGivenToAnotherFrameIsNotCharged) {
  using F = typename TypeParam::Format;
  for (std::size_t i = 0; i < this->kFrames; ++i) {
    this->Map(i, i, Truth<F>::kCold);
  }
  this->machine_.Set(this->entry(5), Gfn{77}, Truth<F>::kYoung);
  const Answers answers = this->Ask(AgeAction::kTestAndClear);
  EXPECT_EQ(answers.result, AgeResult{});
  EXPECT_EQ(answers.counts.examined, this->kFrames - 1);
  EXPECT_EQ(ReadOnce(this->entry(5), kRelaxed), Truth<F>::kYoung);
}

TYPED_TEST(RangeTest, AFrozenEntryInARunIsUnknownToFastAndYoungToSlow) {
  using F = typename TypeParam::Format;
  for (std::size_t i = 0; i < this->kFrames; ++i) {
    this->Map(i, i, Truth<F>::kCold);
  }
  WriteOnce(this->entry(9), F::kFrozen, kRelaxed);
  const Answers fast = this->Ask();
  EXPECT_EQ(fast.result, AgeResult{.complete = false});
  EXPECT_EQ(fast.unknown[0], std::uint64_t{1} << 9);
  EXPECT_EQ(fast.counts.unanswered, 1u);
  EXPECT_EQ(fast.counts.examined, this->kFrames - 1);
  const Answers slow = this->Ask(AgeAction::kTest, AgeMode::kSlow);
  EXPECT_EQ(slow.result, AgeResult{.young = true});
  EXPECT_EQ(slow.young[0], std::uint64_t{1} << 9);
}

// Against a question of each head, over layouts drawn at random: runs that
// begin and end anywhere, shuffled and backward entries, holes, lists one by
// one and many together, frozen and absent entries, and records of other
// frames.
TYPED_TEST(RangeTest, ARangeIsAnsweredAsItsHeadsAreOneByOne) {
  using F = typename TypeParam::Format;
  using Word = typename F::Word;
  std::mt19937 random(1);
  const std::size_t entries = 16 * this->kPerTable;
  for (int layout = 0; layout < 60; ++layout) {
    // Percent of frames that are out of the ordinary.
    const unsigned odd = layout % 4 == 0 ? 0 : layout % 4 == 1 ? 1 : 30;
    const unsigned young = layout % 3 == 0 ? 0 : layout % 3 == 1 ? 2 : 50;
    std::vector<std::size_t> free(entries);
    for (std::size_t i = 0; i < entries; ++i) free[i] = i;
    // Tables in any order; sometimes entries too.
    if (layout % 2 == 1) {
      for (std::size_t t = 15; t > 0; --t) {
        const std::size_t other = random() % (t + 1);
        for (std::size_t k = 0; k < this->kPerTable; ++k) {
          std::swap(free[t * this->kPerTable + k],
                    free[other * this->kPerTable + k]);
        }
      }
    }
    if (layout % 10 == 9) std::shuffle(free.begin(), free.end(), random);
    std::size_t next = random() % (2 * this->kPerTable);
    const auto word = [&] {
      return random() % 100 < young ? Truth<F>::kYoung : Truth<F>::kCold;
    };
    std::size_t lists = 0;
    for (std::size_t i = 0; i < this->kFrames; ++i) {
      // Lists that follow one another, in some layouts and as entries last.
      if (layout % 5 == 3 && lists == 0 && random() % 30 == 0) {
        lists = random() % 40;
      }
      if (lists != 0 && free.size() - next > 2 * (this->kFrames - i)) {
        --lists;
        this->Map(i, free[next++], word());
        this->Map(i, free.back(), word());
        free.pop_back();
        continue;
      }
      if (random() % 100 >= odd) {
        this->Map(i, free[next++], word());
        continue;
      }
      switch (random() % 6) {
        case 0:  // unmapped, its entry left out
          ++next;
          break;
        case 1:  // unmapped, the run shifted
          break;
        case 2:  // another entry
          ++next;
          this->Map(i, free.back(), word());
          free.pop_back();
          break;
        case 3:  // a list
          this->Map(i, free[next++], word());
          for (std::size_t n = random() % 3 + 1; n > 0; --n) {
            this->Map(i, free.back(), word());
            free.pop_back();
          }
          break;
        case 4:  // frozen, or empty
          this->Map(i, free[next++],
                    random() % 2 == 0 ? Word{F::kFrozen} : Word{F::kEmpty});
          break;
        default:  // given to another frame meanwhile
          this->Map(i, free[next], word());
          RecordFrame<F>(this->machine_.arena(), this->entry(free[next]),
                         Gfn{7});
          ++next;
      }
      ASSERT_LT(next, free.size());
    }
    std::vector<Word> before(entries);
    for (std::size_t i = 0; i < entries; ++i) {
      before[i] = ReadOnce(this->entry(i), kRelaxed);
    }
    for (const AgeMode mode : {AgeMode::kFastOnly, AgeMode::kSlow}) {
      for (const AgeAction action :
           {AgeAction::kTest, AgeAction::kTestAndClear}) {
        const std::size_t from = random() % (this->kFrames / 2);
        const std::size_t to = from + random() % (this->kFrames - from + 1);
        const Answers want = this->Model(action, mode, from, to);
        std::vector<Word> after(entries);
        for (std::size_t i = 0; i < entries; ++i) {
          after[i] = ReadOnce(this->entry(i), kRelaxed);
          WriteOnce(this->entry(i), before[i], kRelaxed);
        }
        ASSERT_EQ(this->Ask(action, mode, from, to), want) << layout;
        for (std::size_t i = 0; i < entries; ++i) {
          ASSERT_EQ(ReadOnce(this->entry(i), kRelaxed), after[i]) << layout;
          WriteOnce(this->entry(i), before[i], kRelaxed);
        }
      }
    }
    this->Clear();
  }
}

// A page of level 2 is so many frames, and has so many bits.
TYPED_TEST(RangeTest, PagesOfAHigherLevelAnswerForEachOfTheirFrames) {
  using F = typename TypeParam::Format;
  for (std::size_t t = 0; t < 2; ++t) {
    this->machine_.arena()
        .InfoOf(
            this->machine_.arena().TableOf(this->entry(t * this->kPerTable)))
        .level.Set(2);
  }
  std::vector<RmapHead> heads(2 * this->kPerTable);
  const Gfn first{this->kPerTable * 64};
  for (std::size_t i = 0; i < heads.size(); ++i) {
    const typename F::Word leaf =
        F::MakeLeaf(Pfn{i * this->kPerTable}, Level{2}, Rights::kAll);
    this->machine_.MustAdd(heads[i], this->entry(i),
                           first + i * this->kPerTable,
                           i % 3 == 0 ? Used<F>(leaf, Rights::kRead) : leaf);
  }
  const RmapFrame frame{first, Level{2}};
  const LocklessWalk<EpochDomain<>> walk(this->machine_.domain());
  const Answers want = AskEach(this->machine_.rmaps(), heads.data(), frame,
                               heads.size(), AgeAction::kTest, AgeMode::kSlow);
  EXPECT_EQ(want.counts.young, (heads.size() + 2) / 3);
  EXPECT_EQ(AskRange(this->machine_.rmaps(), heads.data(), frame, heads.size(),
                     AgeAction::kTest, AgeMode::kSlow),
            want);
  for (std::size_t i = 0; i < heads.size(); ++i) {
    ASSERT_TRUE(this->machine_.Remove(heads[i], this->entry(i)));
  }
}

// Entries of a run come, go, move to other frames, and are touched, under an
// ager: each access is taken once, and for its own frame.
TYPED_TEST(RangeTest, UnderFaultsAndZapsEachAccessIsTakenOnce) {
  using F = typename TypeParam::Format;
  using Word = typename F::Word;
  constexpr std::size_t kPages = 12;
  const auto leaf = [](std::size_t i) {
    return F::MakeLeaf(Pfn{0x40 + i}, Level{1}, Rights::kAll);
  };
  const auto frame_in = [](Word word) {
    return static_cast<std::size_t>(F::FrameOf(word).value - 0x40);
  };
  std::uint64_t set = 0, zapped = 0, cleared = 0, wrong = 0;
  std::uint64_t charged[kPages] = {};
  std::uint64_t touched[kPages] = {};
  std::uint64_t taken[kPages] = {};
  std::mt19937 random[3];
  for (unsigned i = 0; i < 3; ++i) random[i].seed(i);
  test::Stress({
      [&] {
        const std::size_t at = random[0]() % kPages;
        // Mostly its own frame's, so that there are runs.
        const std::size_t i = random[0]() % 4 != 0 ? at : random[0]() % kPages;
        auto& entry = this->entry(at);
        if (Freeze<F>(entry, F::kEmpty)) {
          RecordFrame<F>(this->machine_.arena(), entry, this->kFirst + i);
          if (this->machine_.Add(this->heads_[i], entry) != RmapAdd::kDone) {
            Empty<F>(entry);
            return;
          }
          Publish<F>(entry, leaf(i));
          return;
        }
        if (random[0]() % 4 != 0) return;
        Zap<F>(
            entry, [] {},
            [&](Word word) {
              const std::size_t owner = frame_in(word);
              if ((word & Truth<F>::kAccessedBit) != 0) {
                ++zapped;
                ++taken[owner];
              }
              if (!this->machine_.Remove(this->heads_[owner], entry)) ++wrong;
            });
      },
      [&] {
        Word seen = 0;
        const test::Touched touch = test::TouchAsHardware<F>(
            this->entry(random[1]() % kPages), test::Access::kRead,
            [&](const SpteCell<F>& walked) {
              return seen = ReadOnce(walked, kRelaxed);
            });
        if (!touch.set_accessed) return;
        ++set;
        ++touched[frame_in(seen)];
      },
      [&] {
        const Answers answers = this->Ask(
            AgeAction::kTestAndClear,
            random[2]() % 2 == 0 ? AgeMode::kSlow : AgeMode::kFastOnly, 0,
            kPages);
        cleared += answers.counts.young - answers.counts.lost_races;
        // In slow mode frozen entries are young too.
        for (std::size_t i = 0; i < kPages; ++i) {
          charged[i] += answers.young[0] >> i & 1;
        }
      },
  });
  std::uint64_t left = 0;
  for (std::size_t at = 0; at < kPages; ++at) {
    const Word word = ReadOnce(this->entry(at), kRelaxed);
    ASSERT_FALSE(IsFrozen<F>(word));
    if (!F::IsPresent(word)) continue;
    const std::size_t owner = frame_in(word);
    EXPECT_TRUE(this->machine_.Contains(this->heads_[owner], this->entry(at)));
    if ((word & Truth<F>::kAccessedBit) == 0) continue;
    ++left;
    ++taken[owner];
  }
  EXPECT_EQ(cleared + zapped + left, set);
  EXPECT_GT(cleared, 0u);
  EXPECT_EQ(wrong, 0u);
  for (std::size_t i = 0; i < kPages; ++i) {
    EXPECT_TRUE(touched[i] == 0 || charged[i] + taken[i] > 0) << i;
  }
}

// The constant that vectors test with says what IsPresent says.
template <class F>
class PresentBitsTest : public ::testing::Test {};
TYPED_TEST_SUITE(PresentBitsTest, test::AllFormats, test::FormatNames);

TYPED_TEST(PresentBitsTest, TheyAgreeWithIsPresent) {
  using F = TypeParam;
  if constexpr (VectorTestable<F>) {
    std::mt19937_64 random(1);
    for (int i = 0; i < 20'000; ++i) {
      auto word = static_cast<typename F::Word>(random() & random() & random() &
                                                random());
      if (i < 64) word = static_cast<typename F::Word>(std::uint64_t{1} << i);
      EXPECT_EQ((word & F::kPresentBits) != 0, F::IsPresent(word));
    }
  } else {
    EXPECT_TRUE((std::is_same_v<F, test::TinyFormat>));
  }
}

}  // namespace
}  // namespace ptage
