// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The tables of one tree: how a new one begins, the way to an entry, and what a
// walk may believe of what it reads there. Included by page_table.h.
//
// Contract
//   Concurrently, anything that page_table.h says may happen. All functions are
//   wait-free and for any thread inside a LocklessWalk, except that FindEntry,
//   ReadSettled and Take wait for the owners of frozen entries; these, NewTable
//   and RetireTable are for the holder of the tree's structure lock, under
//   which no other thread adds a table or takes one away, or for who has the
//   tree for himself.
//
// Under a type-stable reclaimer (reclaim/type_stable.h) a walk may find itself
// in a table that serves another place by now. Trees are then direct, and:
//   * an entry of such a table reads as frozen, as one of a removed table does
//     under the other schemes;
//   * who takes an entry asks again while he owns it, and gives it back if it
//     is another place's. So another tree may be kept waiting for an entry, for
//     the time of a few loads;
//   * what Lookup found may be changed only by compare-and-swap on the word
//     that it found;
//   * memory never holds a table with an entry that could be taken: from its
//     removal to its next use each is frozen.
//
// Sites (order · partner)
//   [table.1] acquire load in ReadEntry  · [spte.5], [spte.7], [table.2],
//                                          [table.3]
//   [table.2] release store in Open      · [table.1], [spte.3]

#ifndef PTAGE_PAGE_TABLE_TABLES_H_
#define PTAGE_PAGE_TABLE_TABLES_H_

#include <bit>
#include <concepts>
#include <cstdint>

#include "ptage/config.h"
#include "ptage/lock.h"
#include "ptage/memory.h"
#include "ptage/once.h"
#include "ptage/reclaim.h"
#include "ptage/reclaim/type_stable.h"
#include "ptage/spte.h"
#include "ptage/types.h"

namespace ptage {

// What a walk under a type-stable reclaimer asks of entries that it does not
// follow and that are not young. Others need not ask, for whatever was read
// there was of the place.
enum class ColdEntries {
  kChecked,    // each is of the place
  kUnchecked,  // may be of another: enough for who wants accesses alone
};

// Memory that a type-stable reclaimer can do with: as TableMemory; and no page
// is unmapped or written while it is free, as long as a walk may hold it.
//   IdentityOf(table)  the record beside it, which stays too.
template <class M, class F>
concept StableTableMemory =
    TableMemory<M, F> && requires(M& memory, const Table<F>* table) {
      { memory.IdentityOf(table) } -> std::same_as<TableIdentity&>;
    };

// A leaf that was taken out of the tree, as a sink receives it.
template <SpteFormat F>
struct TakenLeaf {
  Gfn gfn;      // the first frame it covered, as the tree numbers frames
  Level level;  // its size
  typename F::Word word;  // with its accessed and dirty bits
  SpteCell<F>& entry;     // still frozen

  // What it covered.
  [[nodiscard]] GfnRange Frames() const {
    return GfnRange{gfn, gfn + FramesAt<F>(level)};
  }
};

// The deepest entry on the path to a frame.
template <SpteFormat F>
struct FoundEntry {
  SpteCell<F>* entry;     // allocated until the walk ends
  typename F::Word word;  // a leaf, empty, or frozen
  Level level;            // of its table
};

namespace internal {

// Calls `visit(table, base, part)` for each table of the root that has frames
// of `range`, in order: `base` is its first frame, `part` what it has of the
// range. Stops when `visit` returns less than the end of the part, and returns
// the first frame that is left; range.end if none is.
template <class Tables, class Visit>
[[gnu::always_inline]] inline Gfn VisitRoot(const Tables& tables,
                                            GfnRange range, Visit&& visit);

// The leaves and frozen entries of `range` below `table`, which is at `level`
// and whose first frame is `base`. `Tables` is a TableTree, or a ForeignTree
// (foreign.h).
template <ColdEntries kCold, class Tables, class F, class Visitor>
Gfn VisitTable(const Tables& tables, Table<F>& table, Level level, Gfn base,
               GfnRange range, std::uint64_t& budget, Visitor& visit);

template <SpteFormat F, TableMemory<F> M, Reclaimer R>
class TableTree {
 public:
  static constexpr bool kStable = kTypeStable<R>;
  // Whether entries are as this library wrote them.
  static constexpr bool kTrusted = true;
  static_assert(!kStable || StableTableMemory<M, F>,
                "PageTable: a type-stable reclaimer needs memory that keeps "
                "its tables and an identity beside each, as StableArena does");

  using Format = F;
  using Word = typename F::Word;
  using Entry = SpteCell<F>;

  TableTree(M& memory, R& reclaimer, TableKind kind);
  TableTree(const TableTree&) = delete;
  TableTree& operator=(const TableTree&) = delete;

  // The first of kRootTables<F>; null if there was no memory for them.
  [[nodiscard]] Table<F>* root() const { return root_; }
  [[nodiscard]] Table<F>& RootTable(unsigned i) const { return root_[i]; }
  // The one that leads to `gfn`, a frame that the tree can translate.
  [[nodiscard]] Table<F>* RootOf(Gfn gfn) const {
    return RootTableOf(root_, gfn);
  }
  [[nodiscard]] M& memory() const { return memory_; }
  [[nodiscard]] TableKind kind() const { return kind_; }

  // As PageTable says.
  [[nodiscard]] FoundEntry<F> Lookup(Gfn gfn) const;
  template <ColdEntries kCold, class Visitor>
  Gfn Visit(GfnRange range, std::uint64_t& budget, Visitor& visit) const {
    if (range.Empty()) return range.end;
    return VisitRoot(*this, range,
                     [&](Table<F>& table, Gfn base, GfnRange part) {
                       return VisitTable<kCold>(*this, table, Level{F::kLevels},
                                                base, part, budget, visit);
                     });
  }

  // A table as a walk came to it, at the place of `level` around `gfn`.
  class Here {
   public:
    Here(const TableTree& tree, const Table<F>& table, Gfn gfn, Level level)
        : tree_(tree), table_(table), gfn_(gfn), level_(level) {}

    // What `entry` of the table holds. Type-stable: frozen, if the table serves
    // another place.
    template <ColdEntries kCold = ColdEntries::kChecked>
    Word Read(const Entry& entry) {
      if constexpr (kStable) {
        return ReadStable<kCold>(entry);
      } else {
        return ReadEntry(entry);
      }
    }

   private:
    template <ColdEntries kCold>
    Word ReadStable(const Entry& entry);

    const TableTree& tree_;
    const Table<F>& table_;
    const Gfn gfn_;
    const Level level_;
    bool asked_ = false;
    TableLife life_ = kNoTableLife;
  };

  // What is there now, and may be followed.
  static Word ReadEntry(const Entry& entry) {
    // [table.1] acquire, pairs with [spte.5] and [spte.7]: the table that an
    // inner entry points to is visible as its builder left it; and with
    // [table.2] and [table.3], see type_stable.h.
    return ReadOnce(entry, kAcquire);
  }
  // Waits for the owner of a frozen entry. Only for holders of the structure
  // lock: entries of a removed table stay frozen for ever, and without the lock
  // the caller could be inside one.
  static Word ReadSettled(const Entry& entry);

  static unsigned IndexOf(Gfn gfn, Level level) {
    return static_cast<unsigned>(gfn.value / FramesAt<F>(level)) %
           kEntriesPerTable<F>;
  }
  Table<F>& ChildOf(Word inner) const {
    Table<F>* const table = memory_.TableAt(F::FrameOf(inner));
    PTAGE_ASSERT(table != nullptr);
    return *table;
  }
  // The same, for walkers that also walk tables that may refuse.
  Table<F>* Follow(Word inner, Gfn, Level) const { return &ChildOf(inner); }
  Here HereOf(const Entry& entry, Gfn gfn, Level level) const {
    return Here(*this, *memory_.TableOf(entry), gfn, level);
  }

  // The place that the table at `level` around `gfn` serves.
  TablePlace PlaceOf(Gfn gfn, Level level) const {
    const std::uint64_t frames = FramesAt<F>(level) * kEntriesPerTable<F>;
    return TablePlace{this, Gfn{gfn.value / frames * frames}, level};
  }
  // Whether an entry that the caller has frozen, on his way to `gfn` at
  // `level`, is the one for it. While he owns it, it stays so.
  bool IsHere(const Entry& owned, Gfn gfn, Level level) const {
    if constexpr (kStable) {
      return memory_.IdentityOf(memory_.TableOf(owned))
                 .LifeIn(PlaceOf(gfn, level)) != kNoTableLife;
    } else {
      return true;
    }
  }

  // Of empty entries; type-stable: closed, until the caller opens it. `base` is
  // its first frame, `level` that of its entries, `parent` what is to point to
  // it.
  Table<F>* NewTable(Gfn base, Level level, Entry* parent);
  // Empties the entries of a closed table. Precondition: the caller owns the
  // entry that is to point to it, or it is a root.
  void Open(Table<F>& table);
  // The entry at `level` on the path to `gfn`; null if the path ends above.
  Entry* FindEntry(Gfn gfn, Level level) const;
  // Freezes `entry` from whatever settled value it has, and returns that.
  static Word Take(Entry& entry);
  // Precondition: the entry that pointed to the table was frozen, and CPUs
  // flushed.
  void RetireTable(Retired& retired) { reclaimer_.Retire(retired); }

 private:
  static_assert(std::has_single_bit(kRootTables<F>));

  Table<F>* NewRoot();
  void SetUp(Table<F>& table, Gfn base, Level level, Entry* parent);

  M& memory_;
  R& reclaimer_;
  const TableKind kind_;
  Table<F>* const root_;
};

// ---------------------------------------------------------------------------

template <SpteFormat F, TableMemory<F> M, Reclaimer R>
TableTree<F, M, R>::TableTree(M& memory, R& reclaimer, TableKind kind)
    : memory_(memory), reclaimer_(reclaimer), kind_(kind), root_(NewRoot()) {
  PTAGE_ASSERT(!kStable || kind == TableKind::kDirect);
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R>
Table<F>* TableTree<F, M, R>::NewRoot() {
  Table<F>* root;
  if constexpr (kRootTables<F> == 1) {
    root = memory_.Allocate(kind_);
  } else {
    root = memory_.AllocateRoot(kind_);
  }
  if (root == nullptr) return nullptr;
  const Pfn first = memory_.FrameOf(root);
  PTAGE_ASSERT(first.value % kRootTables<F> == 0);
  for (unsigned i = 0; i < kRootTables<F>; ++i) {
    PTAGE_ASSERT(memory_.FrameOf(root + i) == first + i);
    SetUp(root[i], Gfn{i * kFramesPerRootTable<F>}, Level{F::kLevels}, nullptr);
    if constexpr (kStable) Open(root[i]);
  }
  return root;
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R>
auto TableTree<F, M, R>::ReadSettled(const Entry& entry) -> Word {
  for (;;) {
    const Word seen = ReadEntry(entry);
    if (!IsFrozen<F>(seen)) return seen;
    SpinPause();
  }
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R>
auto TableTree<F, M, R>::Take(Entry& entry) -> Word {
  for (;;) {
    const Word seen = ReadSettled(entry);
    if (Freeze<F>(entry, seen)) return seen;
  }
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R>
Table<F>* TableTree<F, M, R>::NewTable(Gfn base, Level level, Entry* parent) {
  Table<F>* const table = memory_.Allocate(kind_);
  if (table != nullptr) SetUp(*table, base, level, parent);
  return table;
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R>
void TableTree<F, M, R>::SetUp(Table<F>& table, Gfn base, Level level,
                               Entry* parent) {
  TableInfo<F>& info = memory_.InfoOf(&table);
  info.base.Set(base.value);
  info.level.Set(level.value);
  info.kind.Set(static_cast<std::uint32_t>(kind_));
  info.parent.Set(parent);
  info.retired.owner = &memory_;
  info.table = &table;
  info.retired.free = [](Retired& self, void* owner) {
    static_cast<M*>(owner)->Free(reinterpret_cast<TableInfo<F>&>(self).table);
  };
  if constexpr (kStable) {
    memory_.IdentityOf(&table).Record(PlaceOf(base, level));
  } else {
    // Nobody else has the table: whoever publishes it publishes this.
    for (Entry& entry : table.entries) WriteOnce(entry, F::kEmpty, kRelaxed);
  }
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R>
void TableTree<F, M, R>::Open(Table<F>& table) {
  // Stale walks hold the table: each entry is frozen until it is opened, and
  // after that anybody's. Were it opened before the caller owns the entry
  // above:
  //   builder: opens the table           | stale fault for the same place: maps
  //   builder: finds a large leaf above, | a page there, and is done
  //   gives the table back, and with it a live leaf.
  // [table.2] release, pairs with [table.1] and [spte.3]: who finds the entry
  // empty finds the table's identity recorded.
  for (Entry& entry : table.entries) WriteOnce(entry, F::kEmpty, kRelease);
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R>
template <ColdEntries kCold>
auto TableTree<F, M, R>::Here::ReadStable(const Entry& entry) -> Word {
  if constexpr (kCold == ColdEntries::kUnchecked) {
    // A filter, which decides nothing: what passes it is read again. A frozen
    // entry need not pass: as another place's it would be called frozen too.
    const Word seen = ReadEntry(entry);
    if (!F::IsPresent(seen) || (F::IsLeaf(seen, level_) && !IsYoung<F>(seen))) {
      return seen;
    }
  }
  const TableIdentity& identity = tree_.memory_.IdentityOf(&table_);
  if (!asked_) {
    asked_ = true;
    life_ = identity.LifeIn(tree_.PlaceOf(gfn_, level_));
  }
  // Were the identity asked only before this, or only after, see 3 and 4 in
  // type_stable.h.
  const Word seen = ReadEntry(entry);
  return identity.StillIn(life_) ? seen : F::kFrozen;
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R>
auto TableTree<F, M, R>::FindEntry(Gfn gfn, Level level) const -> Entry* {
  Table<F>* table = RootOf(gfn);
  for (Level at{F::kLevels}; at > level; at = at.Below()) {
    const Word seen = ReadSettled(table->entries[IndexOf(gfn, at)]);
    if (!F::IsPresent(seen) || F::IsLeaf(seen, at)) return nullptr;
    table = &ChildOf(seen);
  }
  return &table->entries[IndexOf(gfn, level)];
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R>
FoundEntry<F> TableTree<F, M, R>::Lookup(Gfn gfn) const {
  Table<F>* table = RootOf(gfn);
  for (Level at{F::kLevels};; at = at.Below()) {
    Entry& entry = table->entries[IndexOf(gfn, at)];
    const Word seen = Here(*this, *table, gfn, at).Read(entry);
    if (!F::IsPresent(seen) || F::IsLeaf(seen, at)) {
      return FoundEntry<F>{.entry = &entry, .word = seen, .level = at};
    }
    table = &ChildOf(seen);
  }
}

template <class Tables, class Visit>
inline Gfn VisitRoot(const Tables& tables, GfnRange range, Visit&& visit) {
  using F = typename Tables::Format;
  if constexpr (kRootTables<F> == 1) {
    return visit(tables.RootTable(0), Gfn{0}, range);
  } else {
    for (unsigned i = 0; i < kRootTables<F>; ++i) {
      const Gfn base{i * kFramesPerRootTable<F>};
      const GfnRange part =
          range.Clip(GfnRange{base, base + kFramesPerRootTable<F>});
      if (part.Empty()) continue;
      const Gfn next = visit(tables.RootTable(i), base, part);
      if (next < part.end) return next;
    }
    return range.end;
  }
}

template <ColdEntries kCold, class Tables, class F, class Visitor>
Gfn VisitTable(const Tables& tables, Table<F>& table, Level level, Gfn base,
               GfnRange range, std::uint64_t& budget, Visitor& visit) {
  using Word = typename F::Word;
  const std::uint64_t frames = FramesAt<F>(level);
  typename Tables::Here here(tables, table, base, level);
  std::uint64_t index = (range.begin - base) / frames;
  for (; index < kEntriesPerTable<F>; ++index) {
    const Gfn gfn = base + index * frames;
    if (gfn >= range.end) break;
    const Gfn from = gfn > range.begin ? gfn : range.begin;
    if (budget == 0) return from;
    --budget;
    SpteCell<F>& entry = table.entries[index];
    const Word seen = here.template Read<kCold>(entry);
    if (!IsFrozen<F>(seen)) {
      if (!F::IsPresent(seen)) continue;
      if (!F::IsLeaf(seen, level)) {
        Table<F>* const child = tables.Follow(seen, gfn, level);
        if (child == nullptr) continue;
        const GfnRange part = range.Clip(GfnRange{gfn, gfn + frames});
        const Gfn next = VisitTable<kCold>(tables, *child, level.Below(), gfn,
                                           part, budget, visit);
        if (next < part.end) return next;
        continue;
      }
    }
    if constexpr (!Tables::kTrusted) {
      if (!tables.AdmitsLeaf(seen, gfn, level)) continue;
    }
    if (!visit(entry, seen, gfn, level)) return from;
  }
  return range.end;
}

}  // namespace internal

}  // namespace ptage

#endif  // PTAGE_PAGE_TABLE_TABLES_H_
