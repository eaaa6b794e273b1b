// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What memory must supply: table pages with a record beside each, the way from
// a frame to its page and back, and the flush of cached translations.
//
// Contract
//   A TableInfo is written before its table is reachable and constant until
//   the table is freed, but for the frame records of indirect tables:
//   whoever owns an entry (has frozen it) writes the record, before it
//   publishes the entry; others read it after they read the entry.
//
// Sites (order · partner)
//   [memory.1] release store in RecordFrame     · [memory.2]
//   [memory.2] acquire load in RecordedFrame    · [memory.1]

#ifndef PTAGE_MEMORY_H_
#define PTAGE_MEMORY_H_

#include <concepts>
#include <cstdint>

#include "ptage/once.h"
#include "ptage/reclaim.h"
#include "ptage/spte.h"
#include "ptage/types.h"

namespace ptage {

// A page of a page table, as hardware sees it.
template <SpteFormat F>
struct Table {
  // By their index. Any thread, by the rules of spte.h.
  SpteCell<F> entries[kEntriesPerTable<F>];
};

// What the frames that a table's entries map depend on.
enum class TableKind : std::uint32_t {
  kDirect,    // on the table's place alone: entry i maps base + i
  kIndirect,  // on the entry's record, as in shadow and nested tables
};

// What is known of a table, kept beside it.
template <SpteFormat F>
struct TableInfo {
  // First, so that a Retired leads to its TableInfo.
  Retired retired;
  // The table that it stands beside.
  Table<F>* table = nullptr;
  // The first frame, in the address space that the table translates, below it.
  Plain<std::uint64_t> base;
  // The level of its entries.
  Plain<int> level;
  // Its TableKind.
  Plain<std::uint32_t> kind;
  // The entry that points to it; null for a root.
  Plain<SpteCell<F>*> parent;
  // Indirect tables: the gfn that each entry maps. Null for direct ones.
  Cell<std::uint64_t>* gfns = nullptr;

  // The same by their types.
  [[nodiscard]] Gfn Base() const { return Gfn{base.Get()}; }
  [[nodiscard]] Level AtLevel() const { return Level{level.Get()}; }
  [[nodiscard]] TableKind Kind() const {
    return static_cast<TableKind>(kind.Get());
  }
};

// Memory for tables of one format. All but Allocate and Free are pure lookups,
// by any thread. Allocate is called inside walks and under locks: it must not
// wait for a walk, nor for a fault.
//   Allocate(kind)   a table that nobody else uses, its info's `gfns` set if
//                    `kind` is indirect; null if there is no memory. Its
//                    entries have no particular value. Any thread.
//   AllocateRoot(kind)
//                    where roots are wider than a table (kRootTables<F> > 1):
//                    the first of so many tables, one after the other, in
//                    frames one after the other, the first of which is a
//                    multiple of their number. Each is given back by itself.
//   Free(table)      gives it back. Any thread.
//   InfoOf(table)    the record beside it.
//   TableOf(entry)   the table that `entry` lies in.
//   FrameOf(table)   its frame, as an entry above it holds it.
//   TableAt(pfn)     the table in that frame; null if there is none.
template <class M, class F>
concept TableMemory =
    SpteFormat<F> &&
    requires(M& memory, Table<F>* table, const SpteCell<F>& at, Pfn pfn,
             TableKind kind) {
      { memory.Allocate(kind) } -> std::same_as<Table<F>*>;
      memory.Free(table);
      { memory.InfoOf(table) } -> std::same_as<TableInfo<F>&>;
      { memory.TableOf(at) } -> std::same_as<Table<F>*>;
      { memory.FrameOf(table) } -> std::same_as<Pfn>;
      { memory.TableAt(pfn) } -> std::same_as<Table<F>*>;
    } &&
    (kRootTables<F> == 1 || requires(M& memory, TableKind kind) {
      { memory.AllocateRoot(kind) } -> std::same_as<Table<F>*>;
    });

// Drops cached translations, of leaves and of inner entries. When Flush returns
// no CPU uses an entry that it read before the call and that covers a frame in
// `range` (of the address space that the tables translate), nor writes to one:
// a large leaf not for its other frames either, for it is zapped whole. Any
// threads call it, also at once, while entries are frozen, inside walks and
// under locks: it may wait for CPUs, but not for one that waits for these.
template <class T>
concept Flusher =
    requires(T& flusher, GfnRange range) { flusher.Flush(range); };

// For tables that no CPU walks.
struct NoFlush {
  void Flush(GfnRange) {}  // does nothing
};

// The table of a root that leads to `gfn`, a frame that the tree can translate.
// `first` is the first of the root's tables.
template <SpteFormat F>
[[nodiscard]] Table<F>* RootTableOf(Table<F>* first, Gfn gfn) {
  PTAGE_ASSERT(gfn.value < kFramesPerTree<F>);
  if constexpr (kRootTables<F> == 1) {
    return first;
  } else {
    return first + gfn.value / kFramesPerRootTable<F>;
  }
}

// The first frame that the entry covers, in the address space that its tables
// translate.
template <SpteFormat F, TableMemory<F> M>
[[nodiscard]] Gfn TranslatedFrame(M& memory, const SpteCell<F>& entry);

// The gfn that the entry maps, or would map, at its table's level.
template <SpteFormat F, TableMemory<F> M>
[[nodiscard]] Gfn RecordedFrame(M& memory, const SpteCell<F>& entry);

// Whether the entry's table records `gfn` and `level` for it. Asked after the
// entry was read, of an entry found through an rmap: it may have been given to
// another page since.
template <SpteFormat F, TableMemory<F> M>
[[nodiscard]] bool RecordsFrame(M& memory, const SpteCell<F>& entry, Gfn gfn,
                                Level level);

// Writes the record. Precondition: the caller has frozen the entry, which lies
// in an indirect table.
template <SpteFormat F, TableMemory<F> M>
void RecordFrame(M& memory, const SpteCell<F>& entry, Gfn gfn);

// ---------------------------------------------------------------------------

template <SpteFormat F, TableMemory<F> M>
Gfn TranslatedFrame(M& memory, const SpteCell<F>& entry) {
  Table<F>* const table = memory.TableOf(entry);
  const TableInfo<F>& info = memory.InfoOf(table);
  const auto index = static_cast<std::uint64_t>(&entry - table->entries);
  return info.Base() + index * FramesAt<F>(info.AtLevel());
}

template <SpteFormat F, TableMemory<F> M>
Gfn RecordedFrame(M& memory, const SpteCell<F>& entry) {
  Table<F>* const table = memory.TableOf(entry);
  const TableInfo<F>& info = memory.InfoOf(table);
  if (info.Kind() == TableKind::kDirect) {
    return TranslatedFrame<F>(memory, entry);
  }
  // The record of the value that was read from the entry is visible by
  // [spte.1]. But it may be a later one already, and were this relaxed:
  //   ager: reads the young entry  | zapper: hands the access on, empties it
  //                                | fault: records another page
  //   ager: reads that record: nothing here, says the page is not accessed, and
  //     its caller does not find the access on record.
  // [memory.2] acquire, pairs with [memory.1].
  return Gfn{ReadOnce(info.gfns[&entry - table->entries], kAcquire)};
}

template <SpteFormat F, TableMemory<F> M>
bool RecordsFrame(M& memory, const SpteCell<F>& entry, Gfn gfn, Level level) {
  return RecordedFrame<F>(memory, entry) == gfn &&
         memory.InfoOf(memory.TableOf(entry)).AtLevel() == level;
}

template <SpteFormat F, TableMemory<F> M>
void RecordFrame(M& memory, const SpteCell<F>& entry, Gfn gfn) {
  Table<F>* const table = memory.TableOf(entry);
  TableInfo<F>& info = memory.InfoOf(table);
  PTAGE_ASSERT(info.Kind() == TableKind::kIndirect);
  // Ordered after the record of the owner before by the freeze [spte.3], and
  // published with the entry by [spte.5].
  // [memory.1] release, pairs with [memory.2]: who reads this record, and so
  // turns from the page that was here, finds that one's access handed on.
  WriteOnce(info.gfns[&entry - table->entries], gfn.value, kRelease);
}

}  // namespace ptage

#endif  // PTAGE_MEMORY_H_
