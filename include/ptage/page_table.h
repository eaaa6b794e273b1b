// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The tree of tables: map, zap, split, promote, remove.
//
// Contract
//   Concurrently, any threads may call any function, age entries (walk.h), and
//   walk the tables as hardware does. All but the constructor and destructor
//   are called inside a LocklessWalk of the tree's reclaimer, which each takes
//   as proof.
//
//   * Map, Claim and Zap change leaves by the rules of spte.h and take no lock.
//     Map and Claim build missing tables; that, Split, Promote and RemoveTables
//     change the structure and exclude each other by one lock.
//   * Who meets an entry that another thread has frozen: Map and Claim answer
//     kRetry; the others wait, for Zap must not return while the mapping can
//     come back, and a removed table must not keep a live entry.
//   * An accessed or dirty bit reaches the sink of Zap or RemoveTables, or the
//     entries that replace it: Split copies both to all, Promote gathers them.
//   * A sink is called while the entry is frozen, and when no CPU uses the leaf
//     any more, unless the caller of Zap flushes by himself; it may take the
//     entry out of its rmap. It must not wait for a thread that waits for this
//     entry.
//
//   Progress: Lookup wait-free; Map and Claim wait for the structure lock when
//   tables are missing, else wait-free; Zap waits for owners of frozen entries
//   only; Split, Promote and RemoveTables wait for the lock, for those owners,
//   and for the flush.
//
// Removing a table. The bad interleaving, were the leaves zapped before the
// table is closed:
//   remover: zaps entry i          | fault: reads the parent, finds the table
//   remover: empties the parent    | fault: maps a page in entry i
//   remover: frees the table, and with it a live leaf and its dirty bit.
// So the parent is frozen first, then every entry below, empty ones too; a
// fault that is already inside finds its entry frozen, and starts again from
// the root.
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
//   [table.3] release store in Split     · [table.1], [spte.3]
//             (type-stable only)

#ifndef PTAGE_PAGE_TABLE_H_
#define PTAGE_PAGE_TABLE_H_

#include <concepts>
#include <cstdint>

#include "ptage/lock.h"
#include "ptage/memory.h"
#include "ptage/once.h"
#include "ptage/reclaim.h"
#include "ptage/reclaim/type_stable.h"
#include "ptage/spte.h"
#include "ptage/types.h"

namespace ptage {

enum class MapOutcome {
  kDone,
  kPresent,    // a leaf of that level maps the frame already
  kLargePage,  // a larger leaf covers the frame: split it first
  kTable,      // a table stands where the large leaf should go: promote it
  kRetry,      // another thread is changing the path: start again
  kNoMemory,
};

enum class StructureOutcome {
  kDone,
  kUnsuitable,  // split: no leaf there; promote: not 512 consecutive leaves
  kNoMemory,
};

// Whether Zap flushes for each entry before it lets the entry go, or leaves it
// to the caller, who keeps faults out of the range until he has flushed it.
enum class ZapFlush { kEach, kByCaller };

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
  Gfn gfn;  // the first frame it covered, as the tree numbers frames
  Level level;
  typename F::Word word;  // with its accessed and dirty bits
  SpteCell<F>& entry;     // still frozen

  [[nodiscard]] GfnRange Frames() const {
    return GfnRange{gfn, gfn + FramesAt<F>(level)};
  }
};

// The deepest entry on the path to a frame.
template <SpteFormat F>
struct FoundEntry {
  SpteCell<F>* entry;
  typename F::Word word;  // a leaf, empty, or frozen
  Level level;
};

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl = NoFlush,
          BasicLock L = SpinLock>
class PageTable {
  static constexpr bool kStable = kTypeStable<R>;
  static_assert(!kStable || StableTableMemory<M, F>,
                "PageTable: a type-stable reclaimer needs memory that keeps "
                "its tables and an identity beside each, as StableArena does");

 public:
  using Format = F;
  using Memory = M;
  using Word = typename F::Word;
  using Walk = LocklessWalk<R>;

  // Frames that the tree can translate: 0 … kFrames − 1.
  static constexpr std::uint64_t kFrames =
      FramesAt<F>(Level{F::kLevels}) * kEntriesPerTable<F>;

  // All must outlive the tree. Check valid().
  PageTable(M& memory, R& reclaimer, Fl& flusher, TableKind kind);
  // Frees every table. Precondition: no other thread uses the tree.
  ~PageTable();
  PageTable(const PageTable&) = delete;
  PageTable& operator=(const PageTable&) = delete;

  // False if there was no memory for the root.
  [[nodiscard]] bool valid() const { return root_ != nullptr; }
  [[nodiscard]] Table<F>* root() const { return root_; }
  [[nodiscard]] M& memory() const { return memory_; }

  // Preconditions below: the tree is valid; frames are less than kFrames; a
  // frame given with a level is aligned to it.

  [[nodiscard]] FoundEntry<F> Lookup(const Walk& walk, Gfn gfn) const;

  // Direct trees: installs `leaf` at `level`.
  [[nodiscard]] MapOutcome Map(const Walk& walk, Gfn gfn, Level level,
                               Word leaf);

  // Indirect trees: freezes the empty entry, for its owner to record the frame,
  // add it to the rmap, and Publish (or Empty, on failure).
  [[nodiscard]] MapOutcome Claim(const Walk& walk, Gfn gfn, Level level,
                                 SpteCell<F>*& entry);

  // Zaps every leaf that covers a frame of `range`, whole: a large leaf is not
  // split. Calls `sink(const TakenLeaf<F>&)` for each. Returns how many.
  template <class Sink>
  std::uint64_t Zap(const Walk& walk, GfnRange range, ZapFlush flush,
                    Sink&& sink);

  // Replaces the leaf at `level` > 1 by a table of leaves. Direct trees.
  [[nodiscard]] StructureOutcome Split(const Walk& walk, Gfn gfn, Level level);

  // Replaces a table of leaves by one leaf at `level` > 1. They must map
  // consecutive frames from an aligned one, with the same rights. Direct trees.
  [[nodiscard]] StructureOutcome Promote(const Walk& walk, Gfn gfn,
                                         Level level);

  // Removes every table whose frames all lie in `range`, with what it maps.
  // Calls `sink(const TakenLeaf<F>&)` for each leaf. Leaves whose table is not
  // wholly inside stay. Returns the number of tables.
  template <class Sink>
  std::uint64_t RemoveTables(const Walk& walk, GfnRange range, Sink&& sink);

  // Calls `visit(entry, seen, gfn, level)` for each leaf and each frozen entry
  // that covers a frame of `range`, in order of frames, `seen` being the value
  // read. Stops before an entry for which it returns false, or when `budget`
  // entries were read, which it counts down. Returns the first frame that is
  // left; range.end if none is.
  template <ColdEntries kCold = ColdEntries::kChecked, class Visitor>
  Gfn Visit(const Walk& walk, GfnRange range, std::uint64_t& budget,
            Visitor&& visit) const {
    PTAGE_ASSERT(static_cast<bool>(walk));
    if (range.Empty()) return range.end;
    return VisitTable<kCold>(*root_, Level{F::kLevels}, Gfn{0}, range, budget,
                             visit);
  }

 private:
  using Entry = SpteCell<F>;

  // A table as a walk came to it, at the place of `level` around `gfn`.
  class Here {
   public:
    Here(const PageTable& tree, const Table<F>& table, Gfn gfn, Level level)
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

    const PageTable& tree_;
    const Table<F>& table_;
    const Gfn gfn_;
    const Level level_;
    bool asked_ = false;
    TableLife life_ = kNoTableLife;
  };

  // [table.1] acquire, pairs with [spte.5] and [spte.7]: the table that an
  // inner entry points to is visible as its builder left it; and with [table.2]
  // and [table.3], see type_stable.h.
  static Word ReadEntry(const Entry& entry) {
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

  // Of empty entries; type-stable: closed, until the caller opens it.
  Table<F>* NewTable(Gfn base, Level level, Entry* parent);
  // Empties the entries of a closed table. Precondition: the caller owns the
  // entry that is to point to it, or it is a root.
  void Open(Table<F>& table);
  // Makes the empty `entry` at `level` point to an empty table.
  MapOutcome BuildTable(Entry& entry, Gfn gfn, Level level);
  // The entry at `level` on the path to `gfn`; kDone if it is empty.
  MapOutcome FindSlot(Gfn gfn, Level level, Entry*& entry);
  // The same of a tree that keeps its structure; null if the path ends above.
  Entry* FindEntry(Gfn gfn, Level level) const;

  template <ColdEntries kCold, class Visitor>
  Gfn VisitTable(Table<F>& table, Level level, Gfn base, GfnRange range,
                 std::uint64_t& budget, Visitor& visit) const;

  // Zaps a leaf as it was read. False: it was changed meanwhile.
  template <class Flush, class Sink>
  bool ZapHere(const TakenLeaf<F>& leaf, Flush&& flush, Sink& sink);

  // Freezes `entry` from whatever settled value it has, and returns that.
  static Word Take(Entry& entry);
  void PutBack(Table<F>& table, unsigned count, Word large, Level level,
               const std::uint64_t* accessed, const std::uint64_t* dirty);
  template <class Sink>
  std::uint64_t RemoveIn(Table<F>& table, Level level, Gfn base, GfnRange range,
                         Sink& sink);
  // Freezes every entry below, and chains the tables through their infos.
  template <class Sink>
  void CloseTable(Table<F>& table, Level level, Gfn base, Sink& sink,
                  Retired*& closed);
  void RetireTable(Retired& retired) { reclaimer_.Retire(retired); }
  void FreeTables(Table<F>& table, Level level);

  M& memory_;
  R& reclaimer_;
  Fl& flusher_;
  const TableKind kind_;
  Table<F>* root_;
  L structure_;
};

// ---------------------------------------------------------------------------

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl, BasicLock L>
PageTable<F, M, R, Fl, L>::PageTable(M& memory, R& reclaimer, Fl& flusher,
                                     TableKind kind)
    : memory_(memory),
      reclaimer_(reclaimer),
      flusher_(flusher),
      kind_(kind),
      root_(NewTable(Gfn{0}, Level{F::kLevels}, nullptr)) {
  PTAGE_ASSERT(!kStable || kind == TableKind::kDirect);
  if constexpr (kStable) {
    if (root_ != nullptr) Open(*root_);
  }
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl, BasicLock L>
PageTable<F, M, R, Fl, L>::~PageTable() {
  if (root_ == nullptr) return;
  if constexpr (kStable) {
    // A walk of another tree may still hold one of the tables, and could take
    // an entry that is left open while the memory gives the table out again:
    //   stale fault: takes an empty entry  | builder: takes the table, opens it
    //   stale fault: gives it back, empty  | builder: has mapped a page there
    Retired* closed = nullptr;
    const auto drop = [](const TakenLeaf<F>&) {};
    CloseTable(*root_, Level{F::kLevels}, Gfn{0}, drop, closed);
    while (closed != nullptr) {
      Retired& next = *closed;
      closed = next.next;
      RetireTable(next);
    }
  } else {
    FreeTables(*root_, Level{F::kLevels});
  }
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl, BasicLock L>
auto PageTable<F, M, R, Fl, L>::ReadSettled(const Entry& entry) -> Word {
  for (;;) {
    const Word seen = ReadEntry(entry);
    if (!IsFrozen<F>(seen)) return seen;
    SpinPause();
  }
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl, BasicLock L>
auto PageTable<F, M, R, Fl, L>::Take(Entry& entry) -> Word {
  for (;;) {
    const Word seen = ReadSettled(entry);
    if (Freeze<F>(entry, seen)) return seen;
  }
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl, BasicLock L>
Table<F>* PageTable<F, M, R, Fl, L>::NewTable(Gfn base, Level level,
                                              Entry* parent) {
  Table<F>* const table = memory_.Allocate(kind_);
  if (table == nullptr) return nullptr;
  TableInfo<F>& info = memory_.InfoOf(table);
  info.base.Set(base.value);
  info.level.Set(level.value);
  info.kind.Set(static_cast<std::uint32_t>(kind_));
  info.parent.Set(parent);
  info.retired.owner = &memory_;
  info.table = table;
  info.retired.free = [](Retired& self, void* owner) {
    static_cast<M*>(owner)->Free(reinterpret_cast<TableInfo<F>&>(self).table);
  };
  if constexpr (kStable) {
    memory_.IdentityOf(table).Record(PlaceOf(base, level));
  } else {
    // Nobody else has the table: whoever publishes it publishes this.
    for (Entry& entry : table->entries) WriteOnce(entry, F::kEmpty, kRelaxed);
  }
  return table;
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl, BasicLock L>
void PageTable<F, M, R, Fl, L>::Open(Table<F>& table) {
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

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl, BasicLock L>
template <ColdEntries kCold>
auto PageTable<F, M, R, Fl, L>::Here::ReadStable(const Entry& entry) -> Word {
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

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl, BasicLock L>
MapOutcome PageTable<F, M, R, Fl, L>::BuildTable(Entry& entry, Gfn gfn,
                                                 Level level) {
  ScopedLock<L> hold(structure_);
  if (ReadEntry(entry) != F::kEmpty) return MapOutcome::kRetry;
  const std::uint64_t frames = FramesAt<F>(level);
  Table<F>* const table =
      NewTable(Gfn{gfn.value / frames * frames}, level.Below(), &entry);
  if (table == nullptr) return MapOutcome::kNoMemory;
  // A fault that maps a large leaf takes no lock, and may come first.
  if (!Freeze<F>(entry, F::kEmpty)) {
    memory_.Free(table);
    return MapOutcome::kRetry;
  }
  if constexpr (kStable) {
    if (!IsHere(entry, gfn, level)) {
      Empty<F>(entry);
      memory_.Free(table);
      return MapOutcome::kRetry;
    }
    Open(*table);
  }
  Publish<F>(entry, F::MakeInner(memory_.FrameOf(table)));
  return MapOutcome::kDone;
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl, BasicLock L>
MapOutcome PageTable<F, M, R, Fl, L>::FindSlot(Gfn gfn, Level level,
                                               Entry*& entry) {
  PTAGE_ASSERT(gfn.value < kFrames && level <= F::kLargestLeaf);
  PTAGE_ASSERT(gfn.value % FramesAt<F>(level) == 0);
  Table<F>* table = root_;
  for (Level at{F::kLevels}; at > level; at = at.Below()) {
    Entry& inner = table->entries[IndexOf(gfn, at)];
    Here here(*this, *table, gfn, at);
    Word seen = here.Read(inner);
    if (seen == F::kEmpty) {
      const MapOutcome built = BuildTable(inner, gfn, at);
      if (built != MapOutcome::kDone) return built;
      seen = here.Read(inner);
    }
    if (!F::IsPresent(seen)) return MapOutcome::kRetry;
    if (F::IsLeaf(seen, at)) return MapOutcome::kLargePage;
    table = &ChildOf(seen);
  }
  entry = &table->entries[IndexOf(gfn, level)];
  const Word seen = Here(*this, *table, gfn, level).Read(*entry);
  if (seen == F::kEmpty) return MapOutcome::kDone;
  if (!F::IsPresent(seen)) return MapOutcome::kRetry;
  return F::IsLeaf(seen, level) ? MapOutcome::kPresent : MapOutcome::kTable;
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl, BasicLock L>
auto PageTable<F, M, R, Fl, L>::FindEntry(Gfn gfn, Level level) const
    -> Entry* {
  Table<F>* table = root_;
  for (Level at{F::kLevels}; at > level; at = at.Below()) {
    const Word seen = ReadSettled(table->entries[IndexOf(gfn, at)]);
    if (!F::IsPresent(seen) || F::IsLeaf(seen, at)) return nullptr;
    table = &ChildOf(seen);
  }
  return &table->entries[IndexOf(gfn, level)];
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl, BasicLock L>
FoundEntry<F> PageTable<F, M, R, Fl, L>::Lookup(const Walk& walk,
                                                Gfn gfn) const {
  PTAGE_ASSERT(static_cast<bool>(walk) && gfn.value < kFrames);
  Table<F>* table = root_;
  for (Level at{F::kLevels};; at = at.Below()) {
    Entry& entry = table->entries[IndexOf(gfn, at)];
    const Word seen = Here(*this, *table, gfn, at).Read(entry);
    if (!F::IsPresent(seen) || F::IsLeaf(seen, at)) {
      return FoundEntry<F>{.entry = &entry, .word = seen, .level = at};
    }
    table = &ChildOf(seen);
  }
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl, BasicLock L>
MapOutcome PageTable<F, M, R, Fl, L>::Map(const Walk& walk, Gfn gfn,
                                          Level level, Word leaf) {
  PTAGE_ASSERT(static_cast<bool>(walk) && kind_ == TableKind::kDirect);
  Entry* entry = nullptr;
  const MapOutcome found = FindSlot(gfn, level, entry);
  if (found != MapOutcome::kDone) return found;
  if constexpr (kStable) {
    // Were the leaf installed at once, by compare-and-swap from empty:
    //   fault: finds the entry empty        | remover: gives the table away
    //   fault: installs, and is done        | builder: opens it for other
    //   frames
    // and those frames lead to this page.
    if (!Freeze<F>(*entry, F::kEmpty)) return MapOutcome::kRetry;
    if (!IsHere(*entry, gfn, level)) {
      Empty<F>(*entry);
      return MapOutcome::kRetry;
    }
    Publish<F>(*entry, leaf);
    return MapOutcome::kDone;
  } else {
    return Install<F>(*entry, leaf) ? MapOutcome::kDone : MapOutcome::kRetry;
  }
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl, BasicLock L>
MapOutcome PageTable<F, M, R, Fl, L>::Claim(const Walk& walk, Gfn gfn,
                                            Level level, Entry*& entry) {
  static_assert(!kStable,
                "PageTable: entries of indirect trees are found through rmaps, "
                "whose chunks need a reclaimer that waits for walks; "
                "TypeStable does not");
  PTAGE_ASSERT(static_cast<bool>(walk) && kind_ == TableKind::kIndirect);
  const MapOutcome found = FindSlot(gfn, level, entry);
  if (found != MapOutcome::kDone) return found;
  return Freeze<F>(*entry, F::kEmpty) ? MapOutcome::kDone : MapOutcome::kRetry;
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl, BasicLock L>
template <ColdEntries kCold, class Visitor>
Gfn PageTable<F, M, R, Fl, L>::VisitTable(Table<F>& table, Level level,
                                          Gfn base, GfnRange range,
                                          std::uint64_t& budget,
                                          Visitor& visit) const {
  const std::uint64_t frames = FramesAt<F>(level);
  Here here(*this, table, base, level);
  std::uint64_t index = (range.begin - base) / frames;
  for (; index < kEntriesPerTable<F>; ++index) {
    const Gfn gfn = base + index * frames;
    if (gfn >= range.end) break;
    const Gfn from = gfn > range.begin ? gfn : range.begin;
    if (budget == 0) return from;
    --budget;
    Entry& entry = table.entries[index];
    const Word seen = here.template Read<kCold>(entry);
    if (!IsFrozen<F>(seen)) {
      if (!F::IsPresent(seen)) continue;
      if (!F::IsLeaf(seen, level)) {
        const GfnRange part = range.Clip(GfnRange{gfn, gfn + frames});
        const Gfn next = VisitTable<kCold>(ChildOf(seen), level.Below(), gfn,
                                           part, budget, visit);
        if (next < part.end) return next;
        continue;
      }
    }
    if (!visit(entry, seen, gfn, level)) return from;
  }
  return range.end;
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl, BasicLock L>
template <class Sink>
std::uint64_t PageTable<F, M, R, Fl, L>::Zap(const Walk& walk, GfnRange range,
                                             ZapFlush flush, Sink&& sink) {
  std::uint64_t zapped = 0;
  while (!range.Empty()) {
    std::uint64_t budget = ~std::uint64_t{0};
    range.begin = Visit(walk, range, budget,
                        [&](Entry& entry, Word seen, Gfn gfn, Level level) {
                          if (IsFrozen<F>(seen)) return false;
                          const TakenLeaf<F> leaf{gfn, level, seen, entry};
                          const bool done = ZapHere(
                              leaf,
                              [&] {
                                if (flush == ZapFlush::kEach)
                                  flusher_.Flush(leaf.Frames());
                              },
                              sink);
                          if (done) ++zapped;
                          return done;
                        });
    // A frozen entry may lie in a table that was removed: look again from the
    // root, where it is then gone.
    if (!range.Empty()) SpinPause();
  }
  return zapped;
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl, BasicLock L>
template <class Flush, class Sink>
bool PageTable<F, M, R, Fl, L>::ZapHere(const TakenLeaf<F>& leaf, Flush&& flush,
                                        Sink& sink) {
  if constexpr (kStable) {
    if (!Freeze<F>(leaf.entry, leaf.word)) return false;
    // The same word may stand for another place of the same frame by now.
    if (!IsHere(leaf.entry, leaf.gfn, leaf.level)) {
      Restore<F>(leaf.entry, leaf.word);
      return false;
    }
    flush();
    sink(leaf);
    Empty<F>(leaf.entry);
    return true;
  } else {
    return ZapSeen<F>(leaf.entry, leaf.word, flush, [&](Word) { sink(leaf); });
  }
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl, BasicLock L>
StructureOutcome PageTable<F, M, R, Fl, L>::Split(const Walk& walk, Gfn gfn,
                                                  Level level) {
  PTAGE_ASSERT(static_cast<bool>(walk) && kind_ == TableKind::kDirect);
  PTAGE_ASSERT(level > Level{1});
  ScopedLock<L> hold(structure_);
  Entry* const entry = FindEntry(gfn, level);
  if (entry == nullptr) return StructureOutcome::kUnsuitable;
  Table<F>* const table = NewTable(gfn, level.Below(), entry);
  if (table == nullptr) return StructureOutcome::kNoMemory;
  const Word leaf = Take(*entry);
  if (!F::IsPresent(leaf) || !F::IsLeaf(leaf, level)) {
    Restore<F>(*entry, leaf);
    memory_.Free(table);
    return StructureOutcome::kUnsuitable;
  }
  for (unsigned i = 0; i < kEntriesPerTable<F>; ++i) {
    const Word part = F::SplitLeaf(leaf, level, i);
    if constexpr (kStable) {
      // Stale walks read the entry before the table is published.
      // [table.3] release, pairs with [table.1] and [spte.3]: who reads the
      // leaf finds the table's identity recorded.
      WriteOnce(table->entries[i], part, kRelease);
    } else {
      WriteOnce(table->entries[i], part, kRelaxed);
    }
  }
  flusher_.Flush(GfnRange{gfn, gfn + FramesAt<F>(level)});
  Publish<F>(*entry, F::MakeInner(memory_.FrameOf(table)));
  return StructureOutcome::kDone;
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl, BasicLock L>
StructureOutcome PageTable<F, M, R, Fl, L>::Promote(const Walk& walk, Gfn gfn,
                                                    Level level) {
  PTAGE_ASSERT(static_cast<bool>(walk) && kind_ == TableKind::kDirect);
  PTAGE_ASSERT(level > Level{1} && level <= F::kLargestLeaf);
  ScopedLock<L> hold(structure_);
  Entry* const entry = FindEntry(gfn, level);
  if (entry == nullptr) return StructureOutcome::kUnsuitable;
  const Word inner = Take(*entry);
  const auto give_back = [&] {
    Restore<F>(*entry, inner);
    return StructureOutcome::kUnsuitable;
  };
  if (!F::IsPresent(inner) || F::IsLeaf(inner, level)) return give_back();
  Table<F>& table = ChildOf(inner);
  const Word first = ReadSettled(table.entries[0]);
  if (!F::IsPresent(first) || !F::IsLeaf(first, level.Below()) ||
      F::FrameOf(first).value % FramesAt<F>(level) != 0) {
    return give_back();
  }
  const Word large = F::MakeLeaf(F::FrameOf(first), level, F::RightsOf(first));
  constexpr unsigned kWords = (kEntriesPerTable<F> + 63) / 64;
  std::uint64_t accessed[kWords] = {};
  std::uint64_t dirty[kWords] = {};
  Word gathered = 0;
  for (unsigned i = 0; i < kEntriesPerTable<F>; ++i) {
    const Word taken = Take(table.entries[i]);
    const Word bits = taken & (F::kAccessed | F::kDirty);
    if ((taken ^ bits) != F::SplitLeaf(large, level, i)) {
      Restore<F>(table.entries[i], taken);
      PutBack(table, i, large, level, accessed, dirty);
      return give_back();
    }
    if ((bits & F::kAccessed) != 0) accessed[i / 64] |= 1ull << i % 64;
    if ((bits & F::kDirty) != 0) dirty[i / 64] |= 1ull << i % 64;
    gathered |= bits;
  }
  flusher_.Flush(GfnRange{gfn, gfn + FramesAt<F>(level)});
  Publish<F>(*entry, large | gathered);
  RetireTable(memory_.InfoOf(&table).retired);
  return StructureOutcome::kDone;
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl, BasicLock L>
void PageTable<F, M, R, Fl, L>::PutBack(Table<F>& table, unsigned count,
                                        Word large, Level level,
                                        const std::uint64_t* accessed,
                                        const std::uint64_t* dirty) {
  for (unsigned i = 0; i < count; ++i) {
    Word taken = F::SplitLeaf(large, level, i);
    if ((accessed[i / 64] >> i % 64 & 1) != 0) taken |= F::kAccessed;
    if ((dirty[i / 64] >> i % 64 & 1) != 0) taken |= F::kDirty;
    Restore<F>(table.entries[i], taken);
  }
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl, BasicLock L>
template <class Sink>
std::uint64_t PageTable<F, M, R, Fl, L>::RemoveTables(const Walk& walk,
                                                      GfnRange range,
                                                      Sink&& sink) {
  PTAGE_ASSERT(static_cast<bool>(walk));
  ScopedLock<L> hold(structure_);
  return RemoveIn(*root_, Level{F::kLevels}, Gfn{0}, range, sink);
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl, BasicLock L>
template <class Sink>
std::uint64_t PageTable<F, M, R, Fl, L>::RemoveIn(Table<F>& table, Level level,
                                                  Gfn base, GfnRange range,
                                                  Sink& sink) {
  if (level == Level{1}) return 0;
  const std::uint64_t frames = FramesAt<F>(level);
  std::uint64_t removed = 0;
  for (unsigned i = 0; i < kEntriesPerTable<F>; ++i) {
    const GfnRange covers{base + i * frames, base + (i + 1) * frames};
    if (!range.Overlaps(covers)) continue;
    Entry& entry = table.entries[i];
    Word inner = ReadSettled(entry);
    if (!F::IsPresent(inner) || F::IsLeaf(inner, level)) continue;
    if (!range.Contains(covers)) {
      removed +=
          RemoveIn(ChildOf(inner), level.Below(), covers.begin, range, sink);
      continue;
    }
    // The lock keeps the entry an inner one; a walker may set its accessed bit.
    inner = Take(entry);
    Retired* closed = nullptr;
    // No CPU gets past the frozen entry again. Were the tables closed before
    // the flush:
    //   remover: hands a leaf to the sink  | CPU: goes on using the page.
    flusher_.Flush(covers);
    // Were the entry emptied before they are closed:
    //   remover: empties it                | reclaim: finds nothing mapped
    //   remover: hands over accessed       | reclaim: has evicted the page.
    CloseTable(ChildOf(inner), level.Below(), covers.begin, sink, closed);
    Empty<F>(entry);
    while (closed != nullptr) {
      Retired& next = *closed;
      closed = next.next;
      RetireTable(next);
      ++removed;
    }
  }
  return removed;
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl, BasicLock L>
template <class Sink>
void PageTable<F, M, R, Fl, L>::CloseTable(Table<F>& table, Level level,
                                           Gfn base, Sink& sink,
                                           Retired*& closed) {
  for (unsigned i = 0; i < kEntriesPerTable<F>; ++i) {
    Entry& entry = table.entries[i];
    const Word taken = Take(entry);
    if (!F::IsPresent(taken)) continue;
    const Gfn gfn = base + i * FramesAt<F>(level);
    if (F::IsLeaf(taken, level)) {
      const TakenLeaf<F> leaf{gfn, level, taken, entry};
      sink(leaf);
    } else {
      CloseTable(ChildOf(taken), level.Below(), gfn, sink, closed);
    }
  }
  Retired& retired = memory_.InfoOf(&table).retired;
  retired.next = closed;
  closed = &retired;
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl, BasicLock L>
void PageTable<F, M, R, Fl, L>::FreeTables(Table<F>& table, Level level) {
  if (level > Level{1}) {
    for (Entry& entry : table.entries) {
      const Word seen = ReadEntry(entry);
      if (F::IsPresent(seen) && !F::IsLeaf(seen, level)) {
        FreeTables(ChildOf(seen), level.Below());
      }
    }
  }
  memory_.Free(&table);
}

}  // namespace ptage

#endif  // PTAGE_PAGE_TABLE_H_
