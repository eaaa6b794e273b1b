// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Nodes of one size, from lists of the threads: what every reclamation scheme
// is measured with, so that none is judged by its allocator. Nodes freed by
// another thread than they were taken by move between the threads by whole
// magazines, through a depot.
//
// Contract
//   Any thread may take and give, also as it ends. One pool in a process; its
//   memory is never returned, since schemes free what they hold when threads
//   and the process end. Take and Give touch the depot, and its lock, once in
//   kMagazine calls at most.

#ifndef PTAGE_BENCH_NODE_POOL_H_
#define PTAGE_BENCH_NODE_POOL_H_

#include <cstddef>
#include <cstdint>
#include <new>
#include <utility>
#include <vector>

#include "ptage/config.h"
#include "ptage/lock.h"

namespace ptage::bench {

class NodePool {
 public:
  // A cache line: no two nodes share one.
  static constexpr std::size_t kNodeBytes = 64;
  static constexpr std::size_t kMagazine = 8192;

  [[nodiscard]] static void* Take();
  static void Give(void* node);

  // Hands what the calling thread has at hand to the others: for its end.
  static void Flush();

  // How many nodes the calling thread has given, ever.
  [[nodiscard]] static std::uint64_t Given() { return cache_.given; }
  // How many nodes exist.
  [[nodiscard]] static std::uint64_t Made();

 private:
  // What a free node holds.
  struct Free {
    Free* next = nullptr;
    // Of the first node of a magazine in the depot.
    Free* next_magazine = nullptr;
    std::size_t count = 0;
  };
  static_assert(sizeof(Free) <= kNodeBytes);
  // The first of `count` nodes.
  struct Magazine {
    Free* first;
    std::size_t count;
  };
  // Without a destructor, so that it works until the thread's very end.
  struct Cache {
    Magazine loaded;
    Magazine spare;
    std::uint64_t given;
  };
  struct Depot {
    SpinLock lock;
    Free* magazines = nullptr;
    std::uint64_t made = 0;
    // All memory, so that none looks lost to a leak checker.
    std::vector<void*> blocks;
  };

  static Magazine FromDepot();
  static void ToDepot(const Magazine& magazine);

  inline static thread_local constinit Cache cache_ = {};
  static Depot& TheDepot();
};

// ---------------------------------------------------------------------------

inline NodePool::Depot& NodePool::TheDepot() {
  static Depot& depot = *new Depot;
  return depot;
}

inline void* NodePool::Take() {
  Cache& cache = cache_;
  if (cache.loaded.count == 0) [[unlikely]] {
    std::swap(cache.loaded, cache.spare);
    if (cache.loaded.count == 0) cache.loaded = FromDepot();
  }
  Free* const node = cache.loaded.first;
  cache.loaded.first = node->next;
  --cache.loaded.count;
  return node;
}

inline void NodePool::Give(void* node) {
  Cache& cache = cache_;
  ++cache.given;
  if (cache.loaded.count == kMagazine) [[unlikely]] {
    // One full and one empty, so that turns at the edge stay here.
    if (cache.spare.count == kMagazine) ToDepot(cache.spare);
    cache.spare = std::exchange(cache.loaded, Magazine{});
  }
  cache.loaded.first = ::new (node) Free{.next = cache.loaded.first};
  ++cache.loaded.count;
}

[[gnu::noinline]] inline NodePool::Magazine NodePool::FromDepot() {
  Depot& depot = TheDepot();
  std::byte* memory;
  {
    ScopedLock<SpinLock> hold(depot.lock);
    if (Free* const first = depot.magazines; first != nullptr) {
      depot.magazines = first->next_magazine;
      return Magazine{first, first->count};
    }
    depot.made += kMagazine;
    memory = static_cast<std::byte*>(
        ::operator new(kMagazine * kNodeBytes, std::align_val_t{kNodeBytes}));
    depot.blocks.push_back(memory);
  }
  Magazine fresh = {};
  for (std::size_t i = kMagazine; i-- > 0;) {
    fresh.first = ::new (memory + i * kNodeBytes) Free{.next = fresh.first};
  }
  fresh.count = kMagazine;
  return fresh;
}

[[gnu::noinline]] inline void NodePool::ToDepot(const Magazine& magazine) {
  Depot& depot = TheDepot();
  ScopedLock<SpinLock> hold(depot.lock);
  magazine.first->count = magazine.count;
  magazine.first->next_magazine = depot.magazines;
  depot.magazines = magazine.first;
}

inline void NodePool::Flush() {
  for (Magazine* magazine : {&cache_.loaded, &cache_.spare}) {
    if (magazine->count != 0) ToDepot(*magazine);
    *magazine = Magazine{};
  }
}

inline std::uint64_t NodePool::Made() {
  Depot& depot = TheDepot();
  ScopedLock<SpinLock> hold(depot.lock);
  return depot.made;
}

}  // namespace ptage::bench

#endif  // PTAGE_BENCH_NODE_POOL_H_
