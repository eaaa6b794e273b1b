// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What a software vCPU keeps of the tables it has walked: translations, and
// inner entries from which a later walk may start. One interface for both, so
// that a benchmark can change their sizes, or leave one out.
//
// Contract
//   A cache belongs to one vCPU and is touched by its thread alone: it holds no
//   shared word. Progress: every function of the caches here is wait-free; only
//   Flush takes time in proportion to their size.

#ifndef PTAGE_SIM_TRANSLATION_CACHE_H_
#define PTAGE_SIM_TRANSLATION_CACHE_H_

#include <concepts>

#include "ptage/memory.h"
#include "ptage/spte.h"
#include "ptage/types.h"

namespace ptage::sim {

// A table on the path to a frame, as the entry above it was walked.
template <SpteFormat F>
struct WalkedTable {
  Table<F>* table = nullptr;  // null if none is cached
  // The level of its entries.
  Level level;
  // What the inner entries above it grant together.
  Rights rights = Rights::kAll;
};

// What caches of translations must offer.
//   FindPage(gfn, needed, pfn)
//                           whether a cached translation of `gfn` grants
//                           `needed`; then sets `pfn`
//   AddPage(gfn, level, first, granted)
//                           caches the leaf at `level` that covers `gfn` and
//                           maps frames from `first` on, in place of any other
//                           that it holds of it. `granted` has no kWrite while
//                           the leaf is not dirty.
template <class C>
concept PageCache =
    requires(C& cache, Gfn gfn, Level level, Pfn pfn, Rights rights) {
      { cache.FindPage(gfn, rights, pfn) } -> std::same_as<bool>;
      cache.AddPage(gfn, level, pfn, rights);
      cache.Forget(gfn);
      cache.Flush();
    };

// What caches of inner entries must offer.
//   FindTable(gfn)          the lowest table known on the path to `gfn`; one
//                           whose `table` is null if none is
//   AddTable(gfn, walked)   caches the inner entry that covers `gfn` and points
//                           to `walked.table`
template <class C, class F>
concept TableCache =
    SpteFormat<F> && requires(C& cache, Gfn gfn, const WalkedTable<F>& walked) {
      { cache.FindTable(gfn) } -> std::same_as<WalkedTable<F>>;
      cache.AddTable(gfn, walked);
      cache.Forget(gfn);
      cache.Flush();
    };

// Both.
//   Forget(gfn)             drops what the path to `gfn` would use
//   Flush()                 drops everything
template <class C, class F>
concept TranslationCache = PageCache<C> && TableCache<C, F>;

// A translation cache of two parts, such as Tlb and WalkCache.
template <SpteFormat F, PageCache P, TableCache<F> T>
class SplitCache {
 public:
  [[nodiscard]] bool FindPage(Gfn gfn, Rights needed, Pfn& pfn) {
    return pages_.FindPage(gfn, needed, pfn);
  }
  void AddPage(Gfn gfn, Level level, Pfn first, Rights granted) {
    pages_.AddPage(gfn, level, first, granted);
  }
  [[nodiscard]] WalkedTable<F> FindTable(Gfn gfn) {
    return tables_.FindTable(gfn);
  }
  void AddTable(Gfn gfn, const WalkedTable<F>& walked) {
    tables_.AddTable(gfn, walked);
  }
  void Forget(Gfn gfn) {
    pages_.Forget(gfn);
    tables_.Forget(gfn);
  }
  void Flush() {
    pages_.Flush();
    tables_.Flush();
  }

 private:
  P pages_;
  T tables_;
};

// Caches no translation: each reference walks.
struct NoTlb {
  [[nodiscard]] bool FindPage(Gfn, Rights, Pfn&) { return false; }
  void AddPage(Gfn, Level, Pfn, Rights) {}
  void Forget(Gfn) {}
  void Flush() {}
};

// Caches no inner entry: each walk starts from the root.
template <SpteFormat F>
struct NoWalkCache {
  [[nodiscard]] WalkedTable<F> FindTable(Gfn) { return WalkedTable<F>{}; }
  void AddTable(Gfn, const WalkedTable<F>&) {}
  void Forget(Gfn) {}
  void Flush() {}
};

}  // namespace ptage::sim

#endif  // PTAGE_SIM_TRANSLATION_CACHE_H_
