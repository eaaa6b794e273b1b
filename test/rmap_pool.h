// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Chunks for rmaps of any discipline.

#ifndef PTAGE_TEST_RMAP_POOL_H_
#define PTAGE_TEST_RMAP_POOL_H_

#include <cstddef>
#include <vector>

#include "ptage/rmap/chunk_list.h"
#include "ptage/rmap/grace_pool.h"
#include "ptage/rmap/lockless_list.h"
#include "ptage/spte.h"
#include "test/scheme.h"

namespace ptage::test {

template <SpteFormat F>
using LocklessPool = GracePool<RmapChunks<F>, Scheme>;

// `chunks` chunks in the pool that the discipline `D` wants. The lockless one
// gets as many of either kind; but if there is only one, it is a first one.
template <class D>
class RmapPool {
 public:
  using F = typename D::Format;

  explicit RmapPool(Scheme&, std::size_t chunks)
      : chunks_(chunks), pool_(chunks_.data(), chunks) {}

  FixedChunkPool<F>& get() { return pool_; }
  std::size_t InUse() { return pool_.InUse(); }
  static constexpr std::size_t ChunksFor(std::size_t entries) {
    return entries < 2 ? 0 : (entries + 5) / 6;
  }
  // Entries that one chunk has room for.
  static constexpr std::size_t kFirst = 6;

 private:
  std::vector<RmapChunk<F>> chunks_;
  FixedChunkPool<F> pool_;
};
template <class D>
  requires(D::kFastAging)
class RmapPool<D> {
 public:
  using F = typename D::Format;
  using Chunks = RmapChunks<F>;

  explicit RmapPool(Scheme& domain, std::size_t chunks)
      : firsts_(chunks),
        laters_(chunks),
        pool_(domain, firsts_.data(), chunks, laters_.data(),
              chunks == 1 ? 0 : chunks) {}

  LocklessPool<F>& get() { return pool_; }
  std::size_t InUse() { return pool_.stats().in_use; }
  static constexpr std::size_t ChunksFor(std::size_t entries) {
    return entries < 2 ? 0 : entries <= 7 ? 1 : 1 + (entries - 7 + 13) / 14;
  }
  static constexpr std::size_t kFirst = 7;

 private:
  std::vector<typename Chunks::First> firsts_;
  std::vector<typename Chunks::Later> laters_;
  LocklessPool<F> pool_;
};

}  // namespace ptage::test

#endif  // PTAGE_TEST_RMAP_POOL_H_
