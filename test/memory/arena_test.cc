// SPDX-License-Identifier: MIT OR Apache-2.0

#include "ptage/memory/arena.h"

#include <cstddef>
#include <cstdint>
#include <set>
#include <type_traits>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "ptage/memory.h"
#include "ptage/once.h"
#include "ptage/spte.h"
#include "ptage/spte/ept.h"
#include "ptage/types.h"
#include "test/formats.h"
#include "test/stress.h"

namespace ptage {
namespace {

using test::Stress;

static_assert(TableMemory<TableArena<Ept>, Ept>);
static_assert(TableMemory<TableArena<test::TinyFormat>, test::TinyFormat>);
static_assert(!std::is_copy_constructible_v<TableArena<Ept>>);

template <class F>
class TableArenaTest : public ::testing::Test {
 protected:
  static constexpr std::size_t kCount = 4;
  static constexpr Pfn kFirst{0x500};

  std::vector<Table<F>> tables_{kCount};
  std::vector<TableInfo<F>> infos_{kCount};
  std::vector<Cell<std::uint64_t>> gfns_{kCount * kEntriesPerTable<F>};
  TableArena<F> arena_{tables_.data(), infos_.data(), gfns_.data(), kCount,
                       kFirst};
};

TYPED_TEST_SUITE(TableArenaTest, test::AllFormats, test::FormatNames);

TYPED_TEST(TableArenaTest, EachTableIsGivenOutOnceAndThenNone) {
  std::set<Table<TypeParam>*> given;
  for (std::size_t i = 0; i < this->kCount; ++i) {
    EXPECT_EQ(this->arena_.InUse(), i);
    Table<TypeParam>* const table = this->arena_.Allocate(TableKind::kDirect);
    ASSERT_NE(table, nullptr);
    EXPECT_GE(table, this->tables_.data());
    EXPECT_LT(table, this->tables_.data() + this->kCount);
    EXPECT_TRUE(given.insert(table).second);
  }
  EXPECT_EQ(this->arena_.Allocate(TableKind::kDirect), nullptr);
  EXPECT_EQ(this->arena_.InUse(), this->kCount);
}

TYPED_TEST(TableArenaTest, AFreedTableIsGivenOutAgain) {
  std::vector<Table<TypeParam>*> given;
  for (std::size_t i = 0; i < this->kCount; ++i) {
    given.push_back(this->arena_.Allocate(TableKind::kDirect));
  }
  this->arena_.Free(given[2]);
  this->arena_.Free(given[0]);
  EXPECT_EQ(this->arena_.InUse(), this->kCount - 2);
  const std::set<Table<TypeParam>*> again{
      this->arena_.Allocate(TableKind::kIndirect),
      this->arena_.Allocate(TableKind::kDirect)};
  EXPECT_EQ(again, (std::set<Table<TypeParam>*>{given[0], given[2]}));
  EXPECT_EQ(this->arena_.Allocate(TableKind::kDirect), nullptr);
}

TYPED_TEST(TableArenaTest, TableIHasTheFrameFirstPlusI) {
  for (std::size_t i = 0; i < this->kCount; ++i) {
    Table<TypeParam>* const table = &this->tables_[i];
    EXPECT_EQ(this->arena_.FrameOf(table), Pfn{0x500 + i});
    EXPECT_EQ(this->arena_.TableAt(Pfn{0x500 + i}), table);
  }
}

TYPED_TEST(TableArenaTest, ThereIsNoTableInAnyOtherFrame) {
  for (const std::uint64_t pfn :
       {std::uint64_t{0}, std::uint64_t{0x4FF}, std::uint64_t{0x504},
        std::uint64_t{0xFF'FFFF'FFFF}, ~std::uint64_t{0}}) {
    EXPECT_EQ(this->arena_.TableAt(Pfn{pfn}), nullptr);
  }
}

TYPED_TEST(TableArenaTest, EveryEntryLeadsToItsTableAndInfo) {
  for (std::size_t i = 0; i < this->kCount; ++i) {
    Table<TypeParam>& table = this->tables_[i];
    for (auto& entry : table.entries) {
      ASSERT_EQ(this->arena_.TableOf(entry), &table);
    }
    EXPECT_EQ(&this->arena_.InfoOf(&table), &this->infos_[i]);
  }
}

#if PTAGE_HARDENED
TYPED_TEST(TableArenaTest, AnEntryOutsideTheBlockIsRefused) {
  SpteCell<TypeParam> elsewhere(TypeParam::kEmpty);
  EXPECT_DEATH((void)this->arena_.TableOf(elsewhere), "");
}
#endif

TYPED_TEST(TableArenaTest, AnIndirectTableHasRecordsOfItsOwn) {
  std::set<Cell<std::uint64_t>*> records;
  for (std::size_t i = 0; i < this->kCount; ++i) {
    Table<TypeParam>* const table = this->arena_.Allocate(TableKind::kIndirect);
    Cell<std::uint64_t>* const gfns = this->arena_.InfoOf(table).gfns;
    ASSERT_GE(gfns, this->gfns_.data());
    for (unsigned j = 0; j < kEntriesPerTable<TypeParam>; ++j) {
      ASSERT_LT(gfns + j, this->gfns_.data() + this->gfns_.size());
      ASSERT_TRUE(records.insert(gfns + j).second);
    }
  }
}

TYPED_TEST(TableArenaTest, ADirectTableHasNoRecordsEvenAfterAnIndirectOne) {
  for (std::size_t i = 0; i < this->kCount; ++i) {
    Table<TypeParam>* const table = this->arena_.Allocate(TableKind::kIndirect);
    this->arena_.Free(table);
    Table<TypeParam>* const again = this->arena_.Allocate(TableKind::kDirect);
    EXPECT_EQ(this->arena_.InfoOf(again).gfns, nullptr);
  }
}

#if PTAGE_HARDENED
TYPED_TEST(TableArenaTest, WithoutRecordsThereAreNoIndirectTables) {
  TableArena<TypeParam> arena(this->tables_.data(), this->infos_.data(),
                              nullptr, this->kCount, this->kFirst);
  EXPECT_NE(arena.Allocate(TableKind::kDirect), nullptr);
  EXPECT_DEATH((void)arena.Allocate(TableKind::kIndirect), "");
}
#endif

// --- Roots of several tables.

class WideArenaTest : public ::testing::Test {
 protected:
  using F = test::WideFormat;
  static constexpr std::size_t kCount = 14;

  // Roots begin at frames that are multiples of four: at tables 2 and 6, and
  // 10 has no room for a whole one.
  static constexpr Pfn kFirst{0x502};
  static constexpr std::size_t kLast = 13;

  std::vector<Table<F>> tables_{kCount};
  std::vector<TableInfo<F>> infos_{kCount};
  std::vector<Cell<std::uint64_t>> gfns_{kCount * kEntriesPerTable<F>};
  TableArena<F> arena_{tables_.data(), infos_.data(), gfns_.data(), kLast,
                       kFirst};
};

TEST_F(WideArenaTest, ARootIsAlignedAndInOnePiece) {
  EXPECT_EQ(arena_.AllocateRoot(TableKind::kDirect), &tables_[2]);
  EXPECT_EQ(arena_.InUse(), 4u);
  EXPECT_EQ(arena_.AllocateRoot(TableKind::kDirect), &tables_[6]);
  EXPECT_EQ(arena_.AllocateRoot(TableKind::kDirect), nullptr);
  EXPECT_EQ(arena_.InUse(), 8u);
}

TEST_F(WideArenaTest, WhatIsLeftIsGivenOutOneByOneAndNoTableTwice) {
  ASSERT_EQ(arena_.AllocateRoot(TableKind::kDirect), &tables_[2]);
  std::set<Table<F>*> given;
  while (Table<F>* table = arena_.Allocate(TableKind::kDirect)) {
    EXPECT_TRUE(table < &tables_[2] || table > &tables_[5]);
    EXPECT_TRUE(given.insert(table).second);
  }
  EXPECT_EQ(given.size(), kLast - 4);
  EXPECT_EQ(arena_.InUse(), kLast);
}

TEST_F(WideArenaTest, ATableInTheWayIsPassedOver) {
  Table<F>* const one = arena_.Allocate(TableKind::kDirect);
  Table<F>* const two = arena_.Allocate(TableKind::kDirect);
  Table<F>* const three = arena_.Allocate(TableKind::kDirect);
  // Lowest first.
  ASSERT_EQ(three, &tables_[2]);
  EXPECT_EQ(arena_.AllocateRoot(TableKind::kDirect), &tables_[6]);
  EXPECT_EQ(arena_.AllocateRoot(TableKind::kDirect), nullptr);
  arena_.Free(two);
  arena_.Free(three);
  EXPECT_EQ(arena_.AllocateRoot(TableKind::kDirect), &tables_[2]);
  arena_.Free(one);
}

TEST_F(WideArenaTest, TheTablesOfARootAreGivenBackOneByOne) {
  Table<F>* const root = arena_.AllocateRoot(TableKind::kDirect);
  for (const unsigned i : {2u, 0u, 3u}) arena_.Free(root + i);
  EXPECT_EQ(arena_.InUse(), 1u);
  EXPECT_EQ(arena_.AllocateRoot(TableKind::kDirect), &tables_[6]);
  arena_.Free(root + 1);
  EXPECT_EQ(arena_.AllocateRoot(TableKind::kDirect), root);
}

TEST_F(WideArenaTest, AnIndirectRootHasRecordsInEachTable) {
  Table<F>* const root = arena_.AllocateRoot(TableKind::kIndirect);
  for (unsigned i = 0; i < 4; ++i) {
    EXPECT_EQ(arena_.InfoOf(root + i).gfns,
              gfns_.data() + (2 + i) * kEntriesPerTable<F>);
  }
}

// --- Stress.

// Who has a table has it alone, info and all: both are written plainly, for the
// thread sanitizer.
TEST(TableArenaStressTest, NoTwoThreadsHaveTheSameTable) {
  constexpr std::size_t kCount = 3;
  std::vector<Table<Ept>> tables(kCount);
  std::vector<TableInfo<Ept>> infos(kCount);
  std::vector<Cell<std::uint64_t>> gfns(kCount * kEntriesPerTable<Ept>);
  TableArena<Ept> arena(tables.data(), infos.data(), gfns.data(), kCount,
                        Pfn{0x500});
  std::uint64_t owners[kCount] = {};
  std::uint64_t got[3] = {};
  std::uint64_t shared[3] = {};
  const auto user = [&](std::size_t self) {
    return [&, self] {
      for (const TableKind kind : {TableKind::kDirect, TableKind::kIndirect}) {
        Table<Ept>* const first = arena.Allocate(kind);
        if (first == nullptr) continue;
        ++got[self];
        std::uint64_t& owner = owners[first - tables.data()];
        owner = self;
        arena.InfoOf(first).base.Set(self);
        if (owner != self || arena.InfoOf(first).Base() != Gfn{self}) {
          ++shared[self];
        }
        arena.Free(first);
      }
    };
  };
  Stress({user(0), user(1), user(2)});
  EXPECT_EQ(shared[0] + shared[1] + shared[2], 0u);
  EXPECT_EQ(arena.InUse(), 0u);
  EXPECT_GT(got[0], 0u);
  std::set<Table<Ept>*> all;
  for (std::size_t i = 0; i < kCount; ++i) {
    all.insert(arena.Allocate(TableKind::kDirect));
  }
  EXPECT_EQ(all.size(), kCount);
  EXPECT_EQ(all.count(nullptr), 0u);
}

}  // namespace
}  // namespace ptage
