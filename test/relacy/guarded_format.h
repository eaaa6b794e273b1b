// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A format whose leaves have rights, and pools for the rmaps of its entries.

#ifndef PTAGE_TEST_RELACY_GUARDED_FORMAT_H_
#define PTAGE_TEST_RELACY_GUARDED_FORMAT_H_

#include "ptage/rmap/chunk_list.h"
#include "ptage/rmap/grace_pool.h"
#include "ptage/rmap/lockless_list.h"
#include "ptage/spte.h"
#include "ptage/types.h"
#include "test/relacy/frees_at_the_end.h"
#include "test/relacy/search.h"
#include "test/relacy/tiny_format.h"

namespace ptage::relacy {

// The tiny format with a right to write.
struct GuardedFormat : TinyFormat {
  static constexpr Word kWritable = 1u << 1;

  static constexpr Rights RightsOf(Word word) {
    return (word & kWritable) != 0 ? Rights::kAll : Rights::kReadExecute;
  }
  static constexpr Word MakeLeaf(Pfn pfn, Level level, Rights rights) {
    return TinyFormat::MakeLeaf(pfn, level, rights) |
           (Allows(rights, Rights::kWrite) ? kWritable : Word{0});
  }
};
static_assert(SpteFormat<GuardedFormat>);

using GuardedChunk = RmapChunk<GuardedFormat>;
using GuardedChunks = RmapChunks<GuardedFormat, 2, 2>;

class GuardedBitPool {
 public:
  using Chunk = GuardedChunk;
  Chunk* Allocate() { return pool_.Allocate(); }
  void Free(Chunk* chunk) { pool_.Free(chunk); }

 private:
  Chunk chunks_[1];
  FixedChunkPool<GuardedFormat, BlockingLock> pool_{chunks_, 1};
};
class GuardedPool {
 public:
  using Chunks = GuardedChunks;
  Chunks::First* AllocateFirst() { return pool_.AllocateFirst(); }
  Chunks::Later* AllocateLater() { return pool_.AllocateLater(); }
  void Retire(Chunks::First* chunk) { pool_.Retire(chunk); }
  void Retire(Chunks::Later* chunk) { pool_.Retire(chunk); }
  ~GuardedPool() { at_the_end_.FreeAll(); }

 private:
  FreesAtTheEnd at_the_end_;
  Chunks::First firsts_[1];
  GracePool<Chunks, FreesAtTheEnd, BlockingLock> pool_{at_the_end_, firsts_, 1,
                                                       nullptr, 0};
};

}  // namespace ptage::relacy

#endif  // PTAGE_TEST_RELACY_GUARDED_FORMAT_H_
