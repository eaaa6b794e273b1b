// SPDX-License-Identifier: MIT OR Apache-2.0

#include "ptage/memory.h"

#include <cstdint>
#include <type_traits>

#include "gtest/gtest.h"
#include "ptage/once.h"
#include "ptage/reclaim.h"
#include "ptage/spte.h"
#include "ptage/spte/ept.h"
#include "ptage/spte/x86_64.h"
#include "ptage/types.h"
#include "test/formats.h"

namespace ptage {
namespace {

using test::TinyFormat;

// --- Tables as hardware sees them.

static_assert(sizeof(Table<Ept>) == 4096);
static_assert(sizeof(Table<X86_64>) == 4096);
static_assert(sizeof(Table<TinyFormat>) == 16);

// A Retired is turned into its TableInfo.
static_assert(std::is_standard_layout_v<TableInfo<Ept>>);
static_assert(std::is_standard_layout_v<TableInfo<TinyFormat>>);

// --- What memory is.

// One table, with nothing that the concept does not ask for.
template <SpteFormat F>
class MinimalMemory {
 public:
  MinimalMemory() = default;
  MinimalMemory(const MinimalMemory&) = delete;
  MinimalMemory& operator=(const MinimalMemory&) = delete;

  Table<F>* Allocate(TableKind kind) {
    if (taken_) return nullptr;
    taken_ = true;
    info_.gfns = kind == TableKind::kIndirect ? gfns_ : nullptr;
    return &table_;
  }
  Table<F>* AllocateRoot(TableKind)
    requires(kRootTables<F> > 1)
  {
    return nullptr;
  }
  void Free(Table<F>*) { taken_ = false; }
  TableInfo<F>& InfoOf(Table<F>*) { return info_; }
  Table<F>* TableOf(const SpteCell<F>&) { return &table_; }
  Pfn FrameOf(Table<F>*) { return Pfn{7}; }
  Table<F>* TableAt(Pfn pfn) { return pfn == Pfn{7} ? &table_ : nullptr; }

 private:
  bool taken_ = false;
  Table<F> table_;
  TableInfo<F> info_;
  Cell<std::uint64_t> gfns_[kEntriesPerTable<F>];
};

template <SpteFormat F>
struct WithoutLookup : MinimalMemory<F> {
  Table<F>* TableAt(Pfn) = delete;
};
template <SpteFormat F>
struct AllocatesBytes : MinimalMemory<F> {
  void* Allocate(TableKind);
};
template <SpteFormat F>
struct FramesAreNumbers : MinimalMemory<F> {
  std::uint64_t FrameOf(Table<F>*);
};

template <SpteFormat F>
struct WithoutRoots : MinimalMemory<F> {
  Table<F>* AllocateRoot(TableKind) = delete;
};

static_assert(TableMemory<MinimalMemory<TinyFormat>, TinyFormat>);
static_assert(TableMemory<MinimalMemory<Ept>, Ept>);
// A memory for tables of one format is none for another's.
static_assert(!TableMemory<MinimalMemory<TinyFormat>, Ept>);
static_assert(!TableMemory<MinimalMemory<Ept>, X86_64>);
static_assert(!TableMemory<WithoutLookup<Ept>, Ept>);
static_assert(!TableMemory<AllocatesBytes<Ept>, Ept>);
static_assert(!TableMemory<FramesAreNumbers<Ept>, Ept>);
static_assert(!TableMemory<int, Ept>);
// Asked for where a root is wider than a table, and only there.
static_assert(TableMemory<MinimalMemory<RiscvSv39x4>, RiscvSv39x4>);
static_assert(!TableMemory<WithoutRoots<RiscvSv39x4>, RiscvSv39x4>);
static_assert(TableMemory<WithoutRoots<RiscvSv39>, RiscvSv39>);

struct CountingFlusher {
  void Flush(GfnRange) { ++flushes; }
  int flushes = 0;
};
struct FlushesEverything {
  void Flush();
};

static_assert(Flusher<CountingFlusher> && Flusher<NoFlush>);
static_assert(!Flusher<FlushesEverything> && !Flusher<int>);

// --- Frames of entries.

template <class F>
class MemoryTest : public ::testing::Test {
 protected:
  Table<F>& Make(TableKind kind, Gfn base, Level level) {
    Table<F>* const table = memory_.Allocate(kind);
    TableInfo<F>& info = memory_.InfoOf(table);
    info.base.Set(base.value);
    info.level.Set(level.value);
    info.kind.Set(static_cast<std::uint32_t>(kind));
    for (auto& entry : table->entries) WriteOnce(entry, F::kEmpty, kRelaxed);
    return *table;
  }

  MinimalMemory<F> memory_;
};

TYPED_TEST_SUITE(MemoryTest, test::AllFormats, test::FormatNames);

TYPED_TEST(MemoryTest, AnInfoSaysWhatItsTableIs) {
  using F = TypeParam;
  Table<F>& table = this->Make(TableKind::kIndirect, Gfn{0x40}, Level{2});
  const TableInfo<F>& info = this->memory_.InfoOf(&table);
  EXPECT_EQ(info.Base(), Gfn{0x40});
  EXPECT_EQ(info.AtLevel(), Level{2});
  EXPECT_EQ(info.Kind(), TableKind::kIndirect);
}

TYPED_TEST(MemoryTest, EntryIOfADirectTableMapsBasePlusI) {
  using F = TypeParam;
  Table<F>& table = this->Make(TableKind::kDirect, Gfn{0x4000}, Level{1});
  EXPECT_EQ(RecordedFrame<F>(this->memory_, table.entries[0]), Gfn{0x4000});
  EXPECT_EQ(RecordedFrame<F>(this->memory_, table.entries[3]), Gfn{0x4003});
  EXPECT_EQ(TranslatedFrame<F>(this->memory_, table.entries[3]), Gfn{0x4003});
}

TEST(MemoryLevelTest, EntriesOfHigherTablesAreFurtherApart) {
  MinimalMemory<Ept> memory;
  Table<Ept>* const table = memory.Allocate(TableKind::kDirect);
  TableInfo<Ept>& info = memory.InfoOf(table);
  info.kind.Set(static_cast<std::uint32_t>(TableKind::kDirect));
  info.base.Set(0x4'0000);
  info.level.Set(2);
  EXPECT_EQ(RecordedFrame<Ept>(memory, table->entries[3]), Gfn{0x4'0600});
  info.level.Set(3);
  EXPECT_EQ(RecordedFrame<Ept>(memory, table->entries[511]),
            Gfn{0x4'0000 + 0x7FC'0000});
}

TYPED_TEST(MemoryTest, EntriesOfAnIndirectTableMapWhatTheirRecordsSay) {
  using F = TypeParam;
  Table<F>& table = this->Make(TableKind::kIndirect, Gfn{0x40}, Level{1});
  RecordFrame<F>(this->memory_, table.entries[1], Gfn{0x777});
  RecordFrame<F>(this->memory_, table.entries[2], Gfn{0x123'4567'89AB});
  EXPECT_EQ(RecordedFrame<F>(this->memory_, table.entries[1]), Gfn{0x777});
  EXPECT_EQ(RecordedFrame<F>(this->memory_, table.entries[2]),
            Gfn{0x123'4567'89AB});
  RecordFrame<F>(this->memory_, table.entries[1], Gfn{0x778});
  EXPECT_EQ(RecordedFrame<F>(this->memory_, table.entries[1]), Gfn{0x778});
  // Its place in the tree is another matter.
  EXPECT_EQ(TranslatedFrame<F>(this->memory_, table.entries[1]), Gfn{0x41});
}

TYPED_TEST(MemoryTest, AnEntryBelongsToItsRecordedFrameAtItsLevelOnly) {
  using F = TypeParam;
  Table<F>& table = this->Make(TableKind::kIndirect, Gfn{0}, Level{2});
  const SpteCell<F>& entry = table.entries[3];
  RecordFrame<F>(this->memory_, entry, Gfn{0x500});
  EXPECT_TRUE(RecordsFrame<F>(this->memory_, entry, Gfn{0x500}, Level{2}));
  EXPECT_FALSE(RecordsFrame<F>(this->memory_, entry, Gfn{0x500}, Level{1}));
  EXPECT_FALSE(RecordsFrame<F>(this->memory_, entry, Gfn{0x501}, Level{2}));
}

// An ager that meets the entry after it was given to another frame.
TYPED_TEST(MemoryTest, AReusedEntryIsAbsentForTheFrameItHadBefore) {
  using F = TypeParam;
  using T = test::Truth<F>;
  Table<F>& table = this->Make(TableKind::kIndirect, Gfn{0}, Level{1});
  SpteCell<F>& entry = table.entries[0];
  RecordFrame<F>(this->memory_, entry, Gfn{2});
  WriteOnce(entry, T::kOtherYoung, kRelaxed);
  const auto age = [&](Gfn gfn) {
    return AgeEntry<F>(entry, AgeAction::kTestAndClear, [&] {
      return RecordsFrame<F>(this->memory_, entry, gfn, Level{1});
    });
  };
  EXPECT_EQ(age(Gfn{1}), SpteAge::kAbsent);
  EXPECT_EQ(ReadOnce(entry, kRelaxed), T::kOtherYoung);
  EXPECT_EQ(age(Gfn{2}), SpteAge::kYoung);
}

#if PTAGE_HARDENED
TYPED_TEST(MemoryTest, ADirectTableHasNoRecords) {
  using F = TypeParam;
  Table<F>& table = this->Make(TableKind::kDirect, Gfn{0}, Level{1});
  EXPECT_DEATH(RecordFrame<F>(this->memory_, table.entries[0], Gfn{1}), "");
}
#endif

}  // namespace
}  // namespace ptage
