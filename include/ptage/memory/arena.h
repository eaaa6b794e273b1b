// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Table memory carved from one block that the caller supplies: what a small
// hypervisor, a bare-metal kernel or a test needs.
//
// Contract
//   Allocate and Free may be called by any thread; a lock excludes them from
//   each other, and nothing else takes it. The lookups are wait-free. Table i
//   has the frame `first + i`.

#ifndef PTAGE_MEMORY_ARENA_H_
#define PTAGE_MEMORY_ARENA_H_

#include <cstddef>
#include <cstdint>

#include "ptage/lock.h"
#include "ptage/memory.h"

namespace ptage {

// Table pages from a block of the caller's. Any threads; allocating and
// freeing wait for each other.
template <SpteFormat F, BasicLock L = SpinLock>
class TableArena {
 public:
  // The block: `count` tables, aligned as the hardware wants them; as many
  // infos; and, if indirect tables are wanted, as many times
  // kEntriesPerTable<F> frame records (else null). It outlives the arena.
  // `first` is the frame of tables[0].
  TableArena(Table<F>* tables, TableInfo<F>* infos, Cell<std::uint64_t>* gfns,
             std::size_t count, Pfn first);
  TableArena(const TableArena&) = delete;
  TableArena& operator=(const TableArena&) = delete;

  [[nodiscard]] Table<F>* Allocate(TableKind kind);
  // Takes time in proportion to the tables of the arena. Make roots first, or
  // there may be enough tables left, but not side by side.
  [[nodiscard]] Table<F>* AllocateRoot(TableKind kind)
    requires(kRootTables<F> > 1);

  // As TableMemory says. Free waits for Allocate; the others are wait-free.
  void Free(Table<F>* table);
  [[nodiscard]] TableInfo<F>& InfoOf(const Table<F>* table) const {
    return infos_[table - tables_];
  }
  [[nodiscard]] Table<F>* TableOf(const SpteCell<F>& entry) const {
    const auto offset = reinterpret_cast<std::uintptr_t>(&entry) -
                        reinterpret_cast<std::uintptr_t>(tables_);
    PTAGE_ASSERT(offset / sizeof(Table<F>) < count_);
    return tables_ + offset / sizeof(Table<F>);
  }
  [[nodiscard]] Pfn FrameOf(const Table<F>* table) const {
    return first_ + static_cast<std::uint64_t>(table - tables_);
  }
  [[nodiscard]] Table<F>* TableAt(Pfn pfn) const {
    const std::uint64_t index = pfn.value - first_.value;
    return index < count_ ? tables_ + index : nullptr;
  }

  // Tables in use.
  [[nodiscard]] std::size_t InUse();

 private:
  // A table that was just taken.
  Table<F>* Taken(TableInfo<F>& info, TableKind kind);
  // The lowest of free tables that can be a root; null if there are none.
  TableInfo<F>* FindRoot();

  Table<F>* const tables_;
  TableInfo<F>* const infos_;
  Cell<std::uint64_t>* const gfns_;
  const std::size_t count_;
  const Pfn first_;

  // The rest belongs to the holder of the lock. Free tables are linked through
  // their infos, lowest first at the start; and if roots are wider than a
  // table, their infos name no table.
  L lock_;
  Retired* free_ = nullptr;
  std::size_t in_use_ = 0;
};

// ---------------------------------------------------------------------------

template <SpteFormat F, BasicLock L>
TableArena<F, L>::TableArena(Table<F>* tables, TableInfo<F>* infos,
                             Cell<std::uint64_t>* gfns, std::size_t count,
                             Pfn first)
    : tables_(tables),
      infos_(infos),
      gfns_(gfns),
      count_(count),
      first_(first) {
  for (std::size_t i = count; i-- > 0;) {
    if constexpr (kRootTables<F> > 1) infos_[i].table = nullptr;
    infos_[i].retired.next = free_;
    free_ = &infos_[i].retired;
  }
}

template <SpteFormat F, BasicLock L>
Table<F>* TableArena<F, L>::Allocate(TableKind kind) {
  PTAGE_ASSERT(kind == TableKind::kDirect || gfns_ != nullptr);
  Retired* node;
  {
    ScopedLock<L> hold(lock_);
    node = free_;
    if (node == nullptr) return nullptr;
    free_ = node->next;
    ++in_use_;
    if constexpr (kRootTables<F> > 1) {
      auto& info = reinterpret_cast<TableInfo<F>&>(*node);
      info.table = tables_ + (&info - infos_);
    }
  }
  return Taken(reinterpret_cast<TableInfo<F>&>(*node), kind);
}

template <SpteFormat F, BasicLock L>
Table<F>* TableArena<F, L>::Taken(TableInfo<F>& info, TableKind kind) {
  const std::ptrdiff_t index = &info - infos_;
  info.gfns = kind == TableKind::kIndirect
                  ? gfns_ + index * std::ptrdiff_t{kEntriesPerTable<F>}
                  : nullptr;
  return tables_ + index;
}

template <SpteFormat F, BasicLock L>
TableInfo<F>* TableArena<F, L>::FindRoot() {
  constexpr unsigned kTables = kRootTables<F>;
  std::size_t run = 0;
  for (std::size_t i = 0; i < count_; ++i) {
    if ((first_.value + i) % kTables == 0) run = 0;
    run = infos_[i].table == nullptr ? run + 1 : 0;
    if (run == kTables) return &infos_[i] - (kTables - 1);
  }
  return nullptr;
}

template <SpteFormat F, BasicLock L>
Table<F>* TableArena<F, L>::AllocateRoot(TableKind kind)
  requires(kRootTables<F> > 1)
{
  PTAGE_ASSERT(kind == TableKind::kDirect || gfns_ != nullptr);
  TableInfo<F>* root;
  {
    ScopedLock<L> hold(lock_);
    root = FindRoot();
    if (root == nullptr) return nullptr;
    for (Retired** link = &free_; *link != nullptr;) {
      auto* const info = reinterpret_cast<TableInfo<F>*>(*link);
      if (info >= root && info < root + kRootTables<F>) {
        *link = (*link)->next;
        info->table = tables_ + (info - infos_);
      } else {
        link = &(*link)->next;
      }
    }
    in_use_ += kRootTables<F>;
  }
  for (unsigned i = 1; i < kRootTables<F>; ++i) Taken(root[i], kind);
  return Taken(*root, kind);
}

template <SpteFormat F, BasicLock L>
void TableArena<F, L>::Free(Table<F>* table) {
  ScopedLock<L> hold(lock_);
  if constexpr (kRootTables<F> > 1) InfoOf(table).table = nullptr;
  Retired& node = InfoOf(table).retired;
  node.next = free_;
  free_ = &node;
  --in_use_;
}

template <SpteFormat F, BasicLock L>
std::size_t TableArena<F, L>::InUse() {
  ScopedLock<L> hold(lock_);
  return in_use_;
}

}  // namespace ptage

#endif  // PTAGE_MEMORY_ARENA_H_
