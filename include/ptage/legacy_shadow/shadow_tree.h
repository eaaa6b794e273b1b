// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The shadow tables of all spaces of a guest as one structure: how a table and
// a leaf come into it, and how they are taken away. Hosted.
//
// Contract
//   Functions of the first kind add. Their callers hold the MMU lock, shared,
//   and may run beside each other. Functions of the second kind take away, and
//   their callers hold it exclusively. Concurrently with either, CPUs walk the
//   tables, and others age the leaves.
//
//   * An empty entry that is to point to a table is filled under the lock of
//     tables; an empty or read-only leaf by its owner, who has frozen it. So a
//     leaf's owner waits for nobody but writers of the rmap, and whoever builds
//     a table may wait for him.
//   * A table that others can find is built: its frame is marked, protected and
//     flushed. Who needs it meanwhile waits for the lock of tables.
//   * What is taken away is frozen first, all of it, then CPUs are flushed, and
//     only then bits are handed on and entries emptied. A table that nothing
//     leads to any more is closed: each of its entries stays frozen, and it is
//     retired. The flush before was after the last entry that led to it was
//     frozen, so none is needed for what is below.

#ifndef PTAGE_LEGACY_SHADOW_SHADOW_TREE_H_
#define PTAGE_LEGACY_SHADOW_SHADOW_TREE_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "ptage/config.h"
#include "ptage/legacy_shadow/protected_frames.h"
#include "ptage/legacy_shadow/tables.h"
#include "ptage/memory.h"
#include "ptage/memslot.h"
#include "ptage/mmu.h"
#include "ptage/once.h"
#include "ptage/once/mutex.h"
#include "ptage/reclaim.h"
#include "ptage/rmap.h"
#include "ptage/spte.h"
#include "ptage/types.h"

namespace ptage::internal {

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          OrderedRmaps D>
class ShadowTree {
 public:
  using Format = F;
  using Entry = SpteCell<F>;
  using Word = typename F::Word;
  using Walk = LocklessWalk<R>;

  static constexpr Level kSmall{1};
  static constexpr Level kTop{F::kLevels};

  // The guest has frames 0 … frames − 1; `most` is a number of tables.
  ShadowTree(M& memory, R& reclaimer, Fl& flusher, D& rmaps,
             std::uint64_t frames, std::size_t most)
      : memory_(memory),
        reclaimer_(reclaimer),
        flusher_(flusher),
        rmaps_(rmaps),
        frames_(frames),
        most_(most),
        marks_(std::make_unique<TableMark[]>(frames)),
        memslots_(reclaimer) {}

  [[nodiscard]] M& memory() const { return memory_; }
  [[nodiscard]] Memslots<F, R>& memslots() { return memslots_; }
  [[nodiscard]] bool HasFrame(Gfn gfn) const { return gfn.value < frames_; }
  [[nodiscard]] const TableMark& MarkOf(Gfn gfn) const {
    return marks_[gfn.value];
  }
  [[nodiscard]] std::size_t size() {
    const HostedMutexLock lock(&lock_);
    return in_use_;
  }

  // --- Adding.

  // The table that stands for the role, which is built if there is none; with
  // `load`, loaded once more. Null: no memory. Precondition: HasFrame.
  Table<F>* TableFor(const Walk& walk, TableRole role, bool load = false);
  // A loaded root is so once less, and the youngest.
  void Unload(const Table<F>* root);
  // Lets `entry` point to the table `child`, which is what it has to point to,
  // if it does not yet.
  void Link(Entry& entry, const Table<F>* child);
  // The table that `entry`, at `level`, points to, for which the guest has a
  // leaf: of its parts, for this entry alone. Null: no memory.
  Table<F>* PartsOf(Entry& entry, Level level);

  enum class Leaf {
    kMapped,
    kThere,      // an entry that allows the access was there already
    kProtected,  // the frame holds a table, and the access writes
    kRetry,
    kListFull,
    kNoMemory,  // for the rmap
  };
  // Maps `gfn` by the small entry, or gives its leaf more rights. Precondition:
  // `granted` allows `access`; if the entry is a leaf, it is of `gfn`.
  Leaf Map(Memslot<F>& slot, Entry& entry, Gfn gfn, Rights granted,
           Rights access);

  // --- Taking away.

  // What is to go. It is collected by the functions below, and gone when Finish
  // has returned. Nothing else is called between.
  class Removal {
   public:
    Removal(const Walk& walk, ZapSink sink) : walk_(walk), sink_(sink) {}

   private:
    friend class ShadowTree;
    struct Cut {
      Entry* entry;
      Word word;
    };
    const Walk& walk_;
    ZapSink sink_;
    std::vector<Cut> cuts_;
    // Tables that nothing leads to any more.
    std::vector<Table<F>*> closing_;
  };

  // Every leaf that maps `gfn`, which is in `slot`.
  void TakeLeaves(Removal& removal, Memslot<F>& slot, Gfn gfn);
  // What is in the entries first … last of each table that stands for `frame`.
  void TakeEntries(Removal& removal, Gfn frame, std::size_t first,
                   std::size_t last);
  // The same of all frames in `range`, and all entries.
  void TakeTables(Removal& removal, GfnRange range);
  // A table, wherever it is linked. Precondition: it is not loaded, and no
  // other is taken in the same removal.
  void TakeTable(Removal& removal, ShadowTable<F>& table);
  // Tables that nothing points to, which a fault built for what is not there
  // any more.
  void TakeUnused(Removal& removal);
  // Returns how many entries there were, those below not counted.
  std::uint64_t Finish(Removal& removal);

  // Takes everything, loaded or not.
  void Clear(const Walk& walk, ZapSink sink);
  // Those that stand for the guest's, to look at.
  [[nodiscard]] ShadowTables<F>& tables() { return tables_; }

 private:
  // Under lock_.
  Table<F>* NewTable(Level level, Entry* parent);
  // `writable`: the frame holds no table.
  Word LeafFor(const Memslot<F>& slot, Gfn gfn, Rights granted, Rights access,
               bool writable) const;
  Leaf GrantMore(Memslot<F>& slot, Entry& entry, Word seen, Gfn gfn,
                 Rights granted, Rights access);

  void Take(Removal& removal, Entry& entry);
  // Hands on what an entry held that is frozen.
  void LetGo(Removal& removal, Entry& entry, Word word);
  void Close(Removal& removal, Table<F>* table);

  M& memory_;
  R& reclaimer_;
  Fl& flusher_;
  D& rmaps_;
  const std::uint64_t frames_;
  const std::size_t most_;
  const std::unique_ptr<TableMark[]> marks_;  // by frame
  Memslots<F, R> memslots_;
  // Who holds the MMU lock shared takes this for the rest, for marks, and for
  // entries that are to point to tables.
  HostedMutex lock_;
  ShadowTables<F> tables_;
  std::size_t in_use_ = 0;  // and of parts of large pages
};

// ---------------------------------------------------------------------------

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          OrderedRmaps D>
Table<F>* ShadowTree<F, M, R, Fl, D>::NewTable(Level level, Entry* parent) {
  if (in_use_ >= most_) return nullptr;
  Table<F>* const table = memory_.Allocate(TableKind::kIndirect);
  if (table == nullptr) return nullptr;
  ++in_use_;
  TableInfo<F>& info = memory_.InfoOf(table);
  // It translates pages of many addresses, and is found by none.
  info.base.Set(0);
  info.level.Set(level.value);
  info.kind.Set(static_cast<std::uint32_t>(TableKind::kIndirect));
  // Of parts alone; what stands for a table can have many.
  info.parent.Set(parent);
  info.table = table;
  info.retired.owner = &memory_;
  info.retired.free = [](Retired& self, void* owner) {
    static_cast<M*>(owner)->Free(reinterpret_cast<TableInfo<F>&>(self).table);
  };
  for (Entry& entry : table->entries) WriteOnce(entry, F::kEmpty, kRelaxed);
  return table;
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          OrderedRmaps D>
Table<F>* ShadowTree<F, M, R, Fl, D>::TableFor(const Walk& walk, TableRole role,
                                               bool load) {
  PTAGE_ASSERT(HasFrame(role.frame));
  const HostedMutexLock lock(&lock_);
  ShadowTable<F>* found = tables_.Find(role);
  if (found == nullptr) {
    Table<F>* const table = NewTable(role.level, nullptr);
    if (table == nullptr) return nullptr;
    // Slots are added under the MMU lock, exclusively. So where there is none
    // now, whoever maps the frame later finds the mark.
    Memslot<F>* const slot = memslots_.Find(walk, role.frame);
    const std::uint64_t writable = ProtectFrame(
        marks_[role.frame.value], rmaps_,
        slot == nullptr ? nullptr : &slot->HeadOf(role.frame, kSmall));
    // Until then a CPU may write to the frame, and nothing that is read there
    // may be believed.
    if (writable != 0) flusher_.Flush(GfnRange{Gfn{0}, Gfn{kFramesPerTree<F>}});
    found = &tables_.Insert(role, table);
  }
  if (load) ++found->loads;
  return found->table;
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          OrderedRmaps D>
void ShadowTree<F, M, R, Fl, D>::Unload(const Table<F>* root) {
  const HostedMutexLock lock(&lock_);
  ShadowTable<F>& table = tables_.Holding(root);
  PTAGE_ASSERT(table.loads != 0);
  --table.loads;
  tables_.Renew(table);
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          OrderedRmaps D>
void ShadowTree<F, M, R, Fl, D>::Link(Entry& entry, const Table<F>* child) {
  // Linked before, by this role's table: what the guest has there does not
  // change while the MMU lock is held.
  if (F::IsPresent(ReadOnce(entry, kRelaxed))) return;
  const HostedMutexLock lock(&lock_);
  if (!Freeze<F>(entry, F::kEmpty)) return;
  tables_.Holding(child).parents.push_back(&entry);
  Publish<F>(entry, F::MakeInner(memory_.FrameOf(child)));
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          OrderedRmaps D>
Table<F>* ShadowTree<F, M, R, Fl, D>::PartsOf(Entry& entry, Level level) {
  const HostedMutexLock lock(&lock_);
  // Relaxed: who built it held the lock.
  const Word seen = ReadOnce(entry, kRelaxed);
  if (F::IsPresent(seen)) return memory_.TableAt(F::FrameOf(seen));
  Table<F>* const parts = NewTable(level.Below(), &entry);
  if (parts == nullptr) return nullptr;
  const bool owned = Freeze<F>(entry, F::kEmpty);
  PTAGE_ASSERT(owned);
  Publish<F>(entry, F::MakeInner(memory_.FrameOf(parts)));
  return parts;
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          OrderedRmaps D>
auto ShadowTree<F, M, R, Fl, D>::LeafFor(const Memslot<F>& slot, Gfn gfn,
                                         Rights granted, Rights access,
                                         bool writable) const -> Word {
  if (!writable) granted = granted & Rights::kReadExecute;
  return Used<F>(F::MakeLeaf(slot.FrameOf(gfn), kSmall, granted),
                 granted & access);
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          OrderedRmaps D>
auto ShadowTree<F, M, R, Fl, D>::Map(Memslot<F>& slot, Entry& entry, Gfn gfn,
                                     Rights granted, Rights access) -> Leaf {
  PTAGE_ASSERT(Allows(granted, access));
  const Word seen = ReadOnce(entry, kAcquire);
  if (F::IsPresent(seen)) {
    return GrantMore(slot, entry, seen, gfn, granted, access);
  }
  if (IsFrozen<F>(seen) || !Freeze<F>(entry, F::kEmpty)) return Leaf::kRetry;
  RecordFrame<F>(memory_, entry, gfn);
  bool writable = false;
  const RmapAdd added =
      AddLeaf(MarkOf(gfn), rmaps_, slot.HeadOf(gfn, kSmall), entry, writable);
  if (added != RmapAdd::kDone) {
    Empty<F>(entry);
    return added == RmapAdd::kFull ? Leaf::kListFull : Leaf::kNoMemory;
  }
  Publish<F>(entry, LeafFor(slot, gfn, granted, access, writable));
  return writable || !Allows(access, Rights::kWrite) ? Leaf::kMapped
                                                     : Leaf::kProtected;
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          OrderedRmaps D>
auto ShadowTree<F, M, R, Fl, D>::GrantMore(Memslot<F>& slot, Entry& entry,
                                           Word seen, Gfn gfn, Rights granted,
                                           Rights access) -> Leaf {
  PTAGE_ASSERT(RecordedFrame<F>(memory_, entry) == gfn);
  const Rights has = F::RightsOf(seen);
  if (Allows(has, access)) return Leaf::kThere;
  const bool writes = Allows(access, Rights::kWrite);
  // Not frozen for nothing: each write to a table ends here.
  if (writes && HoldsTable(MarkOf(gfn))) return Leaf::kProtected;
  if (!Freeze<F>(entry, seen)) return Leaf::kRetry;
  const bool writable =
      AnnounceLeaf(MarkOf(gfn), rmaps_, slot.HeadOf(gfn, kSmall));
  // A CPU that has it cached with fewer rights faults once more.
  Publish<F>(entry, LeafFor(slot, gfn, granted, access, writable) |
                        (seen & (F::kAccessed | F::kDirty)));
  return writable || !writes ? Leaf::kMapped : Leaf::kProtected;
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          OrderedRmaps D>
void ShadowTree<F, M, R, Fl, D>::Take(Removal& removal, Entry& entry) {
  for (;;) {
    // Relaxed, as in Close: who filled it held the MMU lock.
    const Word seen = ReadOnce(entry, kRelaxed);
    // Frozen: it was taken in this removal before.
    if (!F::IsPresent(seen)) return;
    // Repeats only if a CPU or an ager changed a bit.
    if (Freeze<F>(entry, seen)) {
      removal.cuts_.push_back({&entry, seen});
      return;
    }
  }
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          OrderedRmaps D>
void ShadowTree<F, M, R, Fl, D>::TakeLeaves(Removal& removal, Memslot<F>& slot,
                                            Gfn gfn) {
  rmaps_.Visit(slot.HeadOf(gfn, kSmall), [&](Entry& entry) {
    Take(removal, entry);
    return true;
  });
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          OrderedRmaps D>
void ShadowTree<F, M, R, Fl, D>::TakeEntries(Removal& removal, Gfn frame,
                                             std::size_t first,
                                             std::size_t last) {
  for (const ShadowTable<F>* const table : tables_.Of(frame)) {
    for (std::size_t i = first; i <= last; ++i) {
      Take(removal, table->table->entries[i]);
    }
  }
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          OrderedRmaps D>
void ShadowTree<F, M, R, Fl, D>::TakeTables(Removal& removal, GfnRange range) {
  tables_.ForEach([&](ShadowTable<F>& table) {
    if (!range.Contains(table.role.frame)) return;
    for (Entry& entry : table.table->entries) Take(removal, entry);
  });
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          OrderedRmaps D>
void ShadowTree<F, M, R, Fl, D>::TakeTable(Removal& removal,
                                           ShadowTable<F>& table) {
  PTAGE_ASSERT(table.loads == 0);
  for (Entry* const parent : table.parents) Take(removal, *parent);
  if (table.parents.empty()) removal.closing_.push_back(table.table);
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          OrderedRmaps D>
void ShadowTree<F, M, R, Fl, D>::TakeUnused(Removal& removal) {
  tables_.ForEach([&](ShadowTable<F>& table) {
    if (table.role.level < kTop && table.Unused()) {
      removal.closing_.push_back(table.table);
    }
  });
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          OrderedRmaps D>
std::uint64_t ShadowTree<F, M, R, Fl, D>::Finish(Removal& removal) {
  if (removal.cuts_.empty() && removal.closing_.empty()) return 0;
  flusher_.Flush(GfnRange{Gfn{0}, Gfn{kFramesPerTree<F>}});
  for (const auto& cut : removal.cuts_) {
    LetGo(removal, *cut.entry, cut.word);
    Empty<F>(*cut.entry);
  }
  // A table is closed after the entries that were cut in it are empty. What is
  // below it comes to the end of the list.
  for (std::size_t i = 0; i < removal.closing_.size(); ++i) {
    Close(removal, removal.closing_[i]);
  }
  return removal.cuts_.size();
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          OrderedRmaps D>
void ShadowTree<F, M, R, Fl, D>::LetGo(Removal& removal, Entry& entry,
                                       Word word) {
  const Level level = memory_.InfoOf(memory_.TableOf(entry)).AtLevel();
  if (F::IsLeaf(word, level)) {
    const Gfn gfn = RecordedFrame<F>(memory_, entry);
    Memslot<F>* const slot = memslots_.Find(removal.walk_, gfn);
    PTAGE_ASSERT(slot != nullptr);
    // Before the rmap stops answering for it.
    removal.sink_(ZappedLeaf{.gfn = gfn,
                             .level = level,
                             .pfn = F::FrameOf(word),
                             .accessed = IsYoung<F>(word),
                             .dirty = IsDirty<F>(word)});
    const bool removed = rmaps_.Remove(slot->HeadOf(gfn, kSmall), entry);
    PTAGE_ASSERT(removed);
    return;
  }
  Table<F>* const child = memory_.TableAt(F::FrameOf(word));
  if (memory_.InfoOf(child).parent.Get() == nullptr) {
    ShadowTable<F>& table = tables_.Holding(child);
    std::erase(table.parents, &entry);
    if (!table.Unused()) return;
  }
  removal.closing_.push_back(child);
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          OrderedRmaps D>
void ShadowTree<F, M, R, Fl, D>::Close(Removal& removal, Table<F>* table) {
  for (Entry& entry : table->entries) {
    Word seen = ReadOnce(entry, kRelaxed);
    PTAGE_ASSERT(!IsFrozen<F>(seen));
    // Stays frozen: a stale ager may have found it.
    while (!Freeze<F>(entry, seen)) seen = ReadOnce(entry, kRelaxed);
    if (F::IsPresent(seen)) LetGo(removal, entry, seen);
  }
  TableInfo<F>& info = memory_.InfoOf(table);
  if (info.parent.Get() == nullptr) {
    ShadowTable<F>& shadow = tables_.Holding(table);
    UnprotectFrame(marks_[shadow.role.frame.value]);
    tables_.Erase(shadow);
  }
  --in_use_;
  reclaimer_.Retire(info.retired);
}

template <SpteFormat F, TableMemory<F> M, Reclaimer R, Flusher Fl,
          OrderedRmaps D>
void ShadowTree<F, M, R, Fl, D>::Clear(const Walk& walk, ZapSink sink) {
  Removal removal(walk, sink);
  tables_.ForEach([&](ShadowTable<F>& table) {
    table.loads = 0;
    if (table.Unused()) removal.closing_.push_back(table.table);
  });
  (void)Finish(removal);
}

}  // namespace ptage::internal

#endif  // PTAGE_LEGACY_SHADOW_SHADOW_TREE_H_
