// SPDX-License-Identifier: MIT OR Apache-2.0

#include "ptage/harvest/split.h"

#include <cstdint>
#include <set>
#include <vector>

#include "gtest/gtest.h"
#include "ptage/harvest.h"
#include "ptage/memory.h"
#include "ptage/memory/arena.h"
#include "ptage/once.h"
#include "ptage/page_table.h"
#include "ptage/reclaim.h"
#include "ptage/reclaim/anonymous_epoch.h"
#include "ptage/spte.h"
#include "ptage/types.h"
#include "test/formats.h"
#include "test/tree.h"

namespace ptage {
namespace {

using test::TestTree;

template <class F>
class SplitTest : public ::testing::Test {
 protected:
  static constexpr std::uint64_t kFrames = FramesAt<F>(Level{2});

  static Gfn At(std::uint64_t table) { return Gfn{table * kFrames}; }
  void MapTable(std::uint64_t table) {
    owner_.MustMap(At(table), Level{1}, TestTree<F>::Leaf(At(table)));
  }
  std::vector<GfnRange> Split(GfnRange range, unsigned count) {
    std::vector<GfnRange> pieces(count);
    pieces.resize(SplitByTables(owner_.tree(), LocklessWalk(owner_.domain()),
                                range, pieces.data(), count));
    return pieces;
  }

  TestTree<F> owner_{TableKind::kDirect, 80};
};

TYPED_TEST_SUITE(SplitTest, test::AllFormats, test::FormatNames);

TYPED_TEST(SplitTest, TablesCountAndAddressesDoNot) {
  // Three tables at the beginning, and one far behind.
  for (const std::uint64_t table : {0u, 1u, 2u, 15u}) this->MapTable(table);
  const GfnRange all{Gfn{0}, this->At(16)};
  EXPECT_EQ(this->Split(all, 2),
            (std::vector<GfnRange>{{Gfn{0}, this->At(2)},
                                   {this->At(2), this->At(16)}}));
  EXPECT_EQ(this->Split(all, 4),
            (std::vector<GfnRange>{{Gfn{0}, this->At(1)},
                                   {this->At(1), this->At(2)},
                                   {this->At(2), this->At(15)},
                                   {this->At(15), this->At(16)}}));
}

TYPED_TEST(SplitTest, PiecesMakeUpTheRangeAndMeetAtTables) {
  for (std::uint64_t table = 0; table < 16; table += 1 + table % 3) {
    this->MapTable(table);
  }
  for (const GfnRange range :
       {GfnRange{Gfn{0}, this->At(16)}, GfnRange{Gfn{1}, this->At(16)},
        GfnRange{this->At(3) + 1, this->At(9) + 1}}) {
    for (unsigned count = 1; count <= 20; ++count) {
      const std::vector<GfnRange> pieces = this->Split(range, count);
      ASSERT_FALSE(pieces.empty());
      ASSERT_LE(pieces.size(), count);
      EXPECT_EQ(pieces.front().begin, range.begin);
      EXPECT_EQ(pieces.back().end, range.end);
      for (std::size_t i = 1; i < pieces.size(); ++i) {
        EXPECT_EQ(pieces[i].begin, pieces[i - 1].end);
        EXPECT_EQ(pieces[i].begin.value % this->kFrames, 0u);
        EXPECT_FALSE(pieces[i].Empty());
      }
    }
  }
}

TYPED_TEST(SplitTest, NothingIsCutFromNothing) {
  EXPECT_TRUE(this->Split(GfnRange{this->At(1), this->At(1)}, 3).empty());
  EXPECT_EQ(this->Split(GfnRange{Gfn{0}, this->At(4)}, 3).size(), 1u);
}

TYPED_TEST(SplitTest, LargeLeavesAndFrozenEntriesCountAsOneEntry) {
  using F = TypeParam;
  this->MapTable(0);
  this->owner_.MustMap(this->At(1), Level{2},
                       TestTree<F>::Leaf(this->At(1), Level{2}));
  this->MapTable(2);
  WriteOnce(this->owner_.ParentOf(this->At(2)), F::kFrozen, kRelaxed);
  this->MapTable(3);
  const std::vector<GfnRange> pieces =
      this->Split(GfnRange{Gfn{0}, this->At(4)}, 2);
  ASSERT_EQ(pieces.size(), 2u);
  EXPECT_GT(pieces[1].begin, Gfn{0});
  EXPECT_LE(pieces[1].begin, this->At(3));
}

// --- Threads that harvest the pieces write to no line that another one does.

// The numbers of the lines of 64 bytes that an object's bytes changed in.
class ChangedLines {
 public:
  ChangedLines(const void* begin, std::size_t bytes)
      : begin_(static_cast<const unsigned char*>(begin)),
        before_(begin_, begin_ + bytes) {}

  std::set<std::uintptr_t> Take() {
    std::set<std::uintptr_t> lines;
    for (std::size_t i = 0; i < before_.size(); ++i) {
      if (begin_[i] == before_[i]) continue;
      before_[i] = begin_[i];
      lines.insert(reinterpret_cast<std::uintptr_t>(begin_ + i) / 64);
    }
    return lines;
  }

 private:
  const unsigned char* const begin_;
  std::vector<unsigned char> before_;
};

constexpr std::uint64_t kTables = 48;
// As hardware wants them: a page each.
alignas(4096) Table<Ept> g_tables[kTables + 8];

TEST(SplitLinesTest, NoTwoPiecesWriteToOneLine) {
  using Arena = TableArena<Ept>;
  using Domain = AnonymousEpochDomain<2>;
  std::vector<TableInfo<Ept>> infos(kTables + 8);
  Arena arena(g_tables, infos.data(), nullptr, kTables + 8, Pfn{0});
  Domain domain;
  NoFlush flusher;
  PageTable<Ept, Arena, Domain> tree(arena, domain, flusher,
                                     TableKind::kDirect);
  const LocklessWalk<Domain> walk(domain);
  const auto young_leaf = [](Gfn gfn) {
    return TestTree<Ept>::Young(TestTree<Ept>::Leaf(gfn));
  };
  // With a hole now and then.
  std::vector<Gfn> present;
  for (std::uint64_t table = 0; table < kTables; ++table) {
    if (table % 5 == 3) continue;
    const Gfn base{table * 512};
    ASSERT_EQ(tree.Map(walk, base, Level{1}, young_leaf(base)),
              MapOutcome::kDone);
    present.push_back(base);
  }
  const GfnRange all{Gfn{0}, Gfn{kTables * 512}};
  for (const unsigned count : {2u, 3u, 7u, 16u, 48u}) {
    for (const Gfn base : present) {
      SpteCell<Ept>* const entries = tree.Lookup(walk, base).entry;
      for (std::uint64_t i = 0; i < 512; ++i) {
        WriteOnce(entries[i], young_leaf(base + i), kRelaxed);
      }
    }
    alignas(64) std::uint64_t young[kTables * 8] = {};
    std::vector<GfnRange> pieces(count);
    pieces.resize(SplitByTables(tree, walk, all, pieces.data(), count));
    ChangedLines of_tables(g_tables, sizeof(g_tables));
    ChangedLines of_bitmap(young, sizeof(young));
    std::set<std::uintptr_t> written;
    std::size_t lines = 0;
    for (const GfnRange& piece : pieces) {
      (void)Harvest(
          tree, walk, piece, AgeAction::kTestAndClear, AgeMode::kFastOnly,
          AgeOutput{.begin = all.begin, .young = Bitmap(young, all.Frames())});
      for (ChangedLines* changed : {&of_tables, &of_bitmap}) {
        const std::set<std::uintptr_t> mine = changed->Take();
        lines += mine.size();
        written.insert(mine.begin(), mine.end());
      }
    }
    // 64 lines of entries, and one of the bitmap, for each table present.
    EXPECT_EQ(lines, present.size() * 65) << count;
    EXPECT_EQ(written.size(), lines) << "shared lines, " << count << " pieces";
  }
}

}  // namespace
}  // namespace ptage
