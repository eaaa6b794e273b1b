// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Random operations on a tree, its walk and its harvest agree with a plain
// model: a map of leaves and a set of tables.

#include <algorithm>
#include <cstdint>
#include <map>
#include <random>
#include <set>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "ptage/harvest.h"
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

struct ModelLeaf {
  Level level;
  Rights rights;
  bool young = false;
  bool dirty = false;
};

// A leaf as it is handed over or visited.
struct Seen {
  std::uint64_t gfn;
  Level level;
  std::uint64_t word;
  bool operator==(const Seen&) const = default;
};

template <class F>
class TreeModelTest : public ::testing::Test {
 protected:
  using Tree = typename TestTree<F>::Tree;
  using Walk = typename TestTree<F>::Walk;

  // Frames of a large leaf, and those that the operations are about.
  static constexpr std::uint64_t kFrames = FramesAt<F>(kLarge);
  static constexpr std::uint64_t kUniverse = 6 * kFrames;

  std::uint64_t Random(std::uint64_t below) { return random_() % below; }
  Gfn RandomFrame() { return Gfn{Random(kUniverse)}; }
  Gfn RandomLarge() { return Gfn{Random(kUniverse / kFrames) * kFrames}; }
  GfnRange RandomRange() {
    std::uint64_t a = Random(kUniverse + 1);
    std::uint64_t b = Random(kUniverse + 1);
    switch (Random(4)) {
      case 0:  // short
        b = std::min(a + Random(8), kUniverse);
        break;
      case 1:  // of whole large pages
        a = a / kFrames * kFrames;
        b = b / kFrames * kFrames;
        break;
      case 2:  // nearly everything
        a = Random(2);
        b = Tree::kFrames - Random(2);
        break;
      default:
        break;
    }
    return GfnRange{Gfn{std::min(a, b)}, Gfn{std::max(a, b)}};
  }
  Rights RandomRights() {
    return Random(64) == 0 ? Rights::kReadExecute : Rights::kAll;
  }

  std::uint64_t Word(std::uint64_t gfn, const ModelLeaf& leaf) const {
    std::uint64_t word = TestTree<F>::Leaf(Gfn{gfn}, leaf.level, leaf.rights);
    if (leaf.young) word |= Truth<F>::kAccessedBit;
    if (leaf.dirty) word |= Truth<F>::kDirtyBit;
    return word;
  }
  // What the model knows of a leaf. Whether a page that was written is writable
  // at the moment, where that changes with its age, it does not know.
  static std::uint64_t Known(typename F::Word word) {
    constexpr auto kWritable = test::kComesWithAWrite<F> & ~Truth<F>::kDirtyBit;
    EXPECT_TRUE((word & kWritable) == 0 || (word & Truth<F>::kDirtyBit) != 0);
    EXPECT_TRUE((word & kWritable) == 0 ||
                (word & Truth<F>::kAccessedBit) != 0);
    return word & ~kWritable;
  }
  // The leaf that covers a frame.
  auto Covering(Gfn gfn) {
    auto leaf = leaves_.upper_bound(gfn.value);
    if (leaf == leaves_.begin()) return leaves_.end();
    --leaf;
    return gfn.value < leaf->first + FramesAt<F>(leaf->second.level)
               ? leaf
               : leaves_.end();
  }
  bool HasTable(Gfn large) const {
    return tables_.count({1, large.value}) != 0;
  }
  // The tables on the path to an entry at `level`.
  void BuildTables(Gfn gfn, Level level) {
    for (int at = level.value; at < F::kLevels; ++at) {
      const std::uint64_t covers = FramesAt<F>(Level{at + 1});
      tables_.insert({at, gfn.value / covers * covers});
    }
  }
  static auto Into(std::vector<Seen>& log) {
    return [&log](const TakenLeaf<F>& leaf) {
      log.push_back(Seen{leaf.gfn.value, leaf.level, Known(leaf.word)});
    };
  }

  // --- Operations, each on both.

  void Map(Gfn gfn, Level level) {
    const Rights rights = RandomRights();
    MapOutcome expected = MapOutcome::kDone;
    const auto covering = Covering(gfn);
    if (level == kLarge && HasTable(gfn)) {
      expected = MapOutcome::kTable;
    } else if (covering != leaves_.end()) {
      expected = covering->second.level == level ? MapOutcome::kPresent
                                                 : MapOutcome::kLargePage;
    }
    ASSERT_EQ(owner_.Map(gfn, level, TestTree<F>::Leaf(gfn, level, rights)),
              expected);
    if (expected != MapOutcome::kDone) return;
    leaves_[gfn.value] = ModelLeaf{level, rights};
    BuildTables(gfn, level);
  }
  void Fill(Gfn large) {
    for (std::uint64_t i = 0; i < kFrames; ++i) Map(large + i, kSmall);
  }
  void Touch(Gfn gfn, test::Access access) {
    const auto leaf = Covering(gfn);
    if (leaf == leaves_.end()) return;
    if (access == test::Access::kWrite &&
        !Allows(leaf->second.rights, Rights::kWrite)) {
      return;
    }
    ASSERT_TRUE(
        test::TouchAsHardware<F>(*owner_.Find(gfn).entry, access).translated);
    leaf->second.young = true;
    if (access == test::Access::kWrite) leaf->second.dirty = true;
  }
  void Zap(GfnRange range) {
    std::vector<Seen> expected;
    for (auto leaf = leaves_.begin(); leaf != leaves_.end();) {
      const Gfn begin{leaf->first};
      if (range.Overlaps(
              GfnRange{begin, begin + FramesAt<F>(leaf->second.level)})) {
        expected.push_back(Seen{leaf->first, leaf->second.level,
                                Word(leaf->first, leaf->second)});
        leaf = leaves_.erase(leaf);
      } else {
        ++leaf;
      }
    }
    std::vector<Seen> taken;
    ASSERT_EQ(owner_.tree().Zap(Walk(owner_.domain()), range, ZapFlush::kEach,
                                Into(taken)),
              expected.size());
    ASSERT_EQ(taken, expected);
  }
  void Split(Gfn large) {
    const auto leaf = leaves_.find(large.value);
    const bool suits = leaf != leaves_.end() && leaf->second.level == kLarge;
    ASSERT_EQ(owner_.tree().Split(Walk(owner_.domain()), large, kLarge),
              suits ? StructureOutcome::kDone : StructureOutcome::kUnsuitable);
    if (!suits) return;
    ModelLeaf small = leaf->second;
    small.level = kSmall;
    for (std::uint64_t i = 0; i < kFrames; ++i) {
      leaves_[large.value + i] = small;
    }
    BuildTables(large, kSmall);
  }
  void Promote(Gfn large) {
    ModelLeaf together{kLarge, Rights::kNone};
    bool suits = HasTable(large);
    for (std::uint64_t i = 0; suits && i < kFrames; ++i) {
      const auto leaf = leaves_.find(large.value + i);
      if (leaf == leaves_.end()) {
        suits = false;
        break;
      }
      if (i == 0) together.rights = leaf->second.rights;
      suits = leaf->second.rights == together.rights;
      together.young = together.young || leaf->second.young;
      together.dirty = together.dirty || leaf->second.dirty;
    }
    ASSERT_EQ(owner_.tree().Promote(Walk(owner_.domain()), large, kLarge),
              suits ? StructureOutcome::kDone : StructureOutcome::kUnsuitable);
    if (!suits) return;
    ++promoted_;
    for (std::uint64_t i = 0; i < kFrames; ++i) {
      leaves_.erase(large.value + i);
    }
    leaves_[large.value] = together;
    tables_.erase({1, large.value});
  }
  void RemoveTables(GfnRange range) {
    std::uint64_t removed = 0;
    std::vector<Seen> expected;
    for (auto table = tables_.begin(); table != tables_.end();) {
      const Gfn begin{table->second};
      const Level above = Level{table->first}.Above();
      if (range.Contains(GfnRange{begin, begin + FramesAt<F>(above)})) {
        ++removed;
        table = tables_.erase(table);
      } else {
        ++table;
      }
    }
    // What is mapped without a table is mapped no more; the root stays.
    for (auto leaf = leaves_.begin(); leaf != leaves_.end();) {
      const std::uint64_t covers = FramesAt<F>(leaf->second.level.Above());
      if (leaf->second.level < Level{F::kLevels} &&
          tables_.count(
              {leaf->second.level.value, leaf->first / covers * covers}) == 0) {
        expected.push_back(Seen{leaf->first, leaf->second.level,
                                Word(leaf->first, leaf->second)});
        leaf = leaves_.erase(leaf);
      } else {
        ++leaf;
      }
    }
    std::vector<Seen> taken;
    ASSERT_EQ(
        owner_.tree().RemoveTables(Walk(owner_.domain()), range, Into(taken)),
        removed);
    ASSERT_EQ(taken, expected);
    removed_ += removed;
  }
  void Age(GfnRange range) {
    range = range.Clip(GfnRange{Gfn{0}, Gfn{kUniverse}});
    const AgeAction action =
        Random(3) == 0 ? AgeAction::kTest : AgeAction::kTestAndClear;
    const AgeMode mode = Random(2) == 0 ? AgeMode::kSlow : AgeMode::kFastOnly;
    std::vector<std::uint64_t> expected(kUniverse / 64 + 1);
    std::vector<std::uint64_t> young(kUniverse / 64 + 1);
    std::vector<std::uint64_t> unknown(kUniverse / 64 + 1);
    bool any = false;
    for (auto& [begin, leaf] : leaves_) {
      const GfnRange covers{Gfn{begin}, Gfn{begin} + FramesAt<F>(leaf.level)};
      if (!range.Overlaps(covers) || !leaf.young) continue;
      any = true;
      Bitmap(expected.data(), kUniverse)
          .SetRange(range.Clip(covers).begin.value,
                    range.Clip(covers).end.value);
      if (action == AgeAction::kTestAndClear && range.Contains(covers)) {
        leaf.young = false;
      }
    }
    // At once, or in small steps.
    const std::uint64_t budget =
        Random(2) == 0 ? kNoBudget : std::uint64_t{F::kLevels} + Random(20);
    WalkCursor cursor(range);
    AgeResult result;
    while (!cursor.Done()) {
      result |= HarvestSome(
          owner_.tree(), Walk(owner_.domain()), cursor, budget, action, mode,
          AgeOutput{.begin = Gfn{0},
                    .young = Bitmap(young.data(), kUniverse),
                    .unknown = Bitmap(unknown.data(), kUniverse)});
    }
    ASSERT_EQ(result,
              (AgeResult{.young = any, .was_fast = false, .complete = true}));
    ASSERT_EQ(young, expected);
    ASSERT_EQ(unknown, std::vector<std::uint64_t>(unknown.size()));
  }

  void CompareAll() {
    std::vector<Seen> expected;
    for (const auto& [gfn, leaf] : leaves_) {
      expected.push_back(Seen{gfn, leaf.level, Word(gfn, leaf)});
    }
    std::vector<Seen> seen;
    WalkAll(owner_.tree(), Walk(owner_.domain()),
            GfnRange{Gfn{0}, Gfn{Tree::kFrames}},
            [&](const VisitedEntry<F>& entry) {
              seen.push_back(Seen{entry.covers.begin.value, entry.level,
                                  Known(entry.seen)});
            });
    ASSERT_EQ(seen, expected);
    ASSERT_EQ(owner_.TablesInUse(), tables_.size() + kRootTables<F>);
  }

  void Step() {
    switch (Random(16)) {
      case 0:
      case 1:
        return Map(RandomLarge(), kLarge);
      case 2:
        return Fill(RandomLarge());
      case 3:
        return Zap(RandomRange());
      case 4:
        return Split(RandomLarge());
      case 5:
      case 6:
        return Promote(RandomLarge());
      case 7:
        return RemoveTables(RandomRange());
      case 8:
        return Age(RandomRange());
      case 9:
      case 10:
      case 11:
        return Touch(RandomFrame(), test::Access::kRead);
      case 12:
        return Touch(RandomFrame(), test::Access::kWrite);
      default:
        return Map(RandomFrame(), kSmall);
    }
  }

  std::mt19937_64 random_;
  TestTree<F> owner_;
  std::map<std::uint64_t, ModelLeaf> leaves_;
  // (level, first frame) of every table but the root.
  std::set<std::pair<int, std::uint64_t>> tables_;
  std::uint64_t promoted_ = 0;
  std::uint64_t removed_ = 0;
};

TYPED_TEST_SUITE(TreeModelTest, test::AllFormats, test::FormatNames);

TYPED_TEST(TreeModelTest, RandomOperationsAgreeWithTheModel) {
  // An operation on the largest tables takes as long as sixteen.
  const int operations = this->kFrames > 2048 ? 400 : 2'000;
  for (const std::uint64_t seed : {1u, 2u, 3u}) {
    this->random_.seed(seed);
    for (int i = 0; i < operations; ++i) {
      this->Step();
      if (i % 8 == 0) this->CompareAll();
      if (this->HasFatalFailure()) {
        FAIL() << "seed " << seed << ", operation " << i;
      }
    }
    this->CompareAll();
  }
  // The interesting ones did come about.
  EXPECT_GT(this->promoted_, 0u);
  EXPECT_GT(this->removed_, 0u);
}

}  // namespace
}  // namespace ptage
