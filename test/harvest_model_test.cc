// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Harvests of random trees against a model that asks one entry after the other:
// tables in order and scattered in memory, whole and with holes, every kind of
// entry, range, budget and question.

#include <algorithm>
#include <cstdint>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "ptage/harvest.h"
#include "ptage/memory.h"
#include "ptage/once.h"
#include "ptage/once/block.h"
#include "ptage/page_table.h"
#include "ptage/spte.h"
#include "ptage/types.h"
#include "ptage/walk.h"
#include "test/formats.h"
#include "test/tree.h"

namespace ptage {
namespace {

using test::TestTree;
using test::Truth;

constexpr Level kSmall{1};
constexpr Level kLarge{2};
using Frames = std::set<std::uint64_t>;

// Notes what it is told, and that it is told in ascending order.
class Notes {
 public:
  void SetYoung(GfnRange range) { Note(young, last_young_, range); }
  void SetYoung(Gfn first, std::uint64_t lanes) {
    NoteLanes(young, last_young_, first, lanes);
  }
  void SetUnknown(GfnRange range) { Note(unknown, last_unknown_, range); }
  void SetUnknown(Gfn first, std::uint64_t lanes) {
    NoteLanes(unknown, last_unknown_, first, lanes);
  }
  void Count(const AgeCounts& more) { counts += more; }

  Frames young;
  Frames unknown;
  AgeCounts counts;

 private:
  static void Note(Frames& frames, std::uint64_t& next, GfnRange range) {
    for (Gfn gfn = range.begin; gfn < range.end; gfn = gfn + 1) {
      EXPECT_GE(gfn.value, next);
      next = gfn.value + 1;
      frames.insert(gfn.value);
    }
  }
  static void NoteLanes(Frames& frames, std::uint64_t& next, Gfn first,
                        std::uint64_t lanes) {
    for (unsigned i = 0; i < 64; ++i) {
      if ((lanes >> i & 1) == 0) continue;
      Note(frames, next, GfnRange{first + i, first + i + 1});
    }
  }

  std::uint64_t last_young_ = 0;
  std::uint64_t last_unknown_ = 0;
};

static_assert(HarvestOutput<Notes>);

template <class F>
class HarvestModelTest : public ::testing::Test {
 protected:
  using Word = typename F::Word;

  static constexpr std::uint64_t kFrames = FramesAt<F>(kLarge);
  // Leaf tables, or large leaves: more than are gathered or read side by side,
  // if the format has so many; fewer of the largest.
  static constexpr std::uint64_t kPlaces = std::min<std::uint64_t>(
      kFrames > 2048 ? 20 : 90, TestTree<F>::Tree::kFrames / kFrames);

  // An entry of the model.
  struct Place {
    Level level;
    Word word;
  };

  // Hands out tables in random order from now on.
  void Scatter() {
    std::vector<Table<F>*> tables;
    while (Table<F>* table = owner_.arena().Allocate(TableKind::kDirect)) {
      tables.push_back(table);
    }
    std::shuffle(tables.begin(), tables.end(), random_);
    for (Table<F>* table : tables) owner_.arena().Free(table);
  }

  bool Chance(unsigned percent) { return random_() % 100 < percent; }

  Word RandomLeaf(Gfn gfn, Level level) {
    Word word = TestTree<F>::Leaf(gfn, level);
    if (Chance(30)) word = TestTree<F>::Young(word);
    if (Chance(30)) word = TestTree<F>::Dirty(word);
    return word;
  }

  // `holes`: of a hundred frames, so many map nothing or are frozen.
  void Fill(unsigned holes) {
    for (std::uint64_t place = 0; place < kPlaces; ++place) {
      const Gfn base{place * kFrames};
      if (Chance(5)) continue;
      if (Chance(5)) {
        const Word leaf = RandomLeaf(base, kLarge);
        owner_.MustMap(base, kLarge, leaf);
        model_[base.value] = Place{kLarge, leaf};
        continue;
      }
      for (std::uint64_t i = 0; i < kFrames; ++i) {
        const Word leaf = RandomLeaf(base + i, kSmall);
        if (i == 0) {
          owner_.MustMap(base, kSmall, leaf);
        } else {
          owner_.Write(base + i, leaf);
        }
        model_[base.value + i] = Place{kSmall, leaf};
      }
      if (holes == 0 || Chance(50)) continue;
      for (std::uint64_t i = 0; i < kFrames; ++i) {
        if (!Chance(holes)) continue;
        const bool frozen = Chance(30);
        owner_.Write(base + i, frozen ? F::kFrozen : F::kEmpty);
        if (frozen) {
          model_[base.value + i].word = F::kFrozen;
        } else {
          model_.erase(base.value + i);
        }
      }
    }
  }

  // What each entry says by itself; clears in the model what is to be cleared.
  Notes Expected(GfnRange range, HarvestBit bit, AgeAction action,
                 AgeMode mode) {
    const Word wanted = bit == HarvestBit::kAccessed ? Truth<F>::kAccessedBit
                                                     : Truth<F>::kDirtyBit;
    Notes notes;
    for (auto& [frame, place] : model_) {
      const GfnRange covers{Gfn{frame}, Gfn{frame + FramesAt<F>(place.level)}};
      const GfnRange asked = range.Clip(covers);
      if (asked.Empty()) continue;
      if (place.word == F::kFrozen) {
        ++notes.counts.unanswered;
        if (mode == AgeMode::kSlow) {
          notes.SetYoung(asked);
        } else {
          notes.SetUnknown(asked);
        }
        continue;
      }
      ++notes.counts.examined;
      if ((place.word & wanted) == 0) continue;
      ++notes.counts.young;
      notes.SetYoung(asked);
      if (action == AgeAction::kTestAndClear && asked == covers) {
        place.word = static_cast<Word>(place.word ^ wanted);
      }
    }
    return notes;
  }

  template <HarvestBit kBit, Loads kLoads>
  void AskOnce() {
    const Gfn end{kPlaces * kFrames};
    Gfn from{random_() % end.value};
    Gfn to{random_() % end.value};
    if (from > to) std::swap(from, to);
    const GfnRange range =
        Chance(50) ? GfnRange{Gfn{0}, end} : GfnRange{from, to};
    const AgeAction action =
        Chance(50) ? AgeAction::kTest : AgeAction::kTestAndClear;
    const AgeMode mode = Chance(50) ? AgeMode::kSlow : AgeMode::kFastOnly;
    // Whole tables and parts of them.
    const std::uint64_t budget =
        Chance(50) ? kNoBudget : F::kLevels + 1 + random_() % (4 * kFrames);

    Notes notes;
    AgeResult result;
    WalkCursor cursor(range);
    while (!cursor.Done()) {
      result |= HarvestSome<kBit, kLoads>(owner_.tree(),
                                          LocklessWalk(owner_.domain()), cursor,
                                          budget, action, mode, notes);
    }
    const Notes expected = Expected(range, kBit, action, mode);
    ASSERT_EQ(notes.young, expected.young);
    ASSERT_EQ(notes.unknown, expected.unknown);
    ASSERT_EQ(notes.counts.examined, expected.counts.examined);
    ASSERT_EQ(notes.counts.young, expected.counts.young);
    ASSERT_EQ(notes.counts.unanswered, expected.counts.unanswered);
    ASSERT_EQ(notes.counts.lost_races, 0u);
    ASSERT_EQ(result, (AgeResult{.young = !expected.young.empty(),
                                 .was_fast = false,
                                 .complete = expected.unknown.empty()}));
  }

  void RequireTheModelsEntries() {
    for (std::uint64_t frame = 0; frame < kPlaces * kFrames; ++frame) {
      const FoundEntry<F> found = owner_.Find(Gfn{frame});
      const auto place = model_.find(frame);
      if (place != model_.end()) {
        ASSERT_EQ(found.word, place->second.word) << frame;
      } else {
        ASSERT_TRUE(found.word == F::kEmpty || found.level == kLarge) << frame;
      }
    }
  }

  void AskAll() {
    for (int turn = 0; turn < 12 && !this->HasFatalFailure(); ++turn) {
      AskOnce<HarvestBit::kAccessed, Loads::kWidest>();
      AskOnce<HarvestBit::kDirty, Loads::kWidest>();
      AskOnce<HarvestBit::kAccessed, Loads::kWordByWord>();
      AskOnce<HarvestBit::kDirty, Loads::kWordByWord>();
    }
    RequireTheModelsEntries();
  }

  std::mt19937_64 random_{7};
  TestTree<F> owner_{TableKind::kDirect, kPlaces * 2 + 8};
  std::map<std::uint64_t, Place> model_;
};

TYPED_TEST_SUITE(HarvestModelTest, test::AllFormats, test::FormatNames);

TYPED_TEST(HarvestModelTest, TablesInOrderAreAnsweredEntryByEntry) {
  this->Fill(0);
  this->AskAll();
}

TYPED_TEST(HarvestModelTest, ScatteredTablesAreAnsweredEntryByEntry) {
  this->Scatter();
  this->Fill(0);
  this->AskAll();
}

TYPED_TEST(HarvestModelTest, HolesInTablesAreAnsweredEntryByEntry) {
  this->Fill(20);
  this->AskAll();
}

TYPED_TEST(HarvestModelTest, HolesInScatteredTablesAreAnsweredEntryByEntry) {
  this->Scatter();
  this->Fill(20);
  this->AskAll();
}

}  // namespace
}  // namespace ptage
