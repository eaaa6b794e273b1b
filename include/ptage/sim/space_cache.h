// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What a software vCPU keeps of several trees at once, as processors do that
// tag what they cache with the tables that it came from (EPT: the pointer's
// address, SDM 3C 29.4.1; AMD: the ASID). A vCPU with such a cache goes from
// one address space to another and back, and flushes nothing.
//
// Contract
//   A cache belongs to one vCPU; see translation_cache.h. What is cached of a
//   tree is found while that tree is in use. A flush drops what is cached of
//   every tree: who changes an entry and flushes does not know, nor need, which
//   tree a vCPU is in, and the vCPU may go back to the changed one.
//   Progress: wait-free; Use may flush one tree's part.

#ifndef PTAGE_SIM_SPACE_CACHE_H_
#define PTAGE_SIM_SPACE_CACHE_H_

#include <concepts>

#include "ptage/memory.h"
#include "ptage/sim/translation_cache.h"
#include "ptage/spte.h"
#include "ptage/types.h"

namespace ptage::sim {

// A cache that keeps trees apart by their roots.
template <class C, class F>
concept TaggedCache =
    TranslationCache<C, F> && requires(C& cache, const Table<F>* root) {
      { cache.Use(root) } -> std::same_as<void>;
    };

// kSpaces caches of the kind C, the one of the tree in use being asked.
template <SpteFormat F, TranslationCache<F> C, unsigned kSpaces = 2>
class SpaceCache {
  static_assert(kSpaces > 0);

 public:
  // From now on the tree below `root` is in use. If so many others were since,
  // what was cached of it is gone.
  void Use(const Table<F>* root) {
    for (Part& part : parts_) {
      if (part.root == root) {
        current_ = &part;
        return;
      }
    }
    current_ = &parts_[next_++ % kSpaces];
    // The tag is another tree's from here on.
    current_->cache.Flush();
    current_->root = root;
  }

  [[nodiscard]] bool FindPage(Gfn gfn, Rights needed, Pfn& pfn) {
    return current_->cache.FindPage(gfn, needed, pfn);
  }
  void AddPage(Gfn gfn, Level level, Pfn first, Rights granted) {
    current_->cache.AddPage(gfn, level, first, granted);
  }
  [[nodiscard]] WalkedTable<F> FindTable(Gfn gfn) {
    return current_->cache.FindTable(gfn);
  }
  void AddTable(Gfn gfn, const WalkedTable<F>& walked) {
    current_->cache.AddTable(gfn, walked);
  }
  // A fault drops what the tree in use has of its frame (SDM 3C 29.4.3.1).
  void Forget(Gfn gfn) { current_->cache.Forget(gfn); }
  void Flush() {
    for (Part& part : parts_) part.cache.Flush();
  }

 private:
  struct Part {
    const Table<F>* root = nullptr;
    C cache;
  };

  Part parts_[kSpaces];
  Part* current_ = &parts_[0];
  unsigned next_ = 0;
};

}  // namespace ptage::sim

#endif  // PTAGE_SIM_SPACE_CACHE_H_
