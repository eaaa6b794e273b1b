// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Where evicted pages go: compressed in memory, or into a file.
//
// Contract
//   Not for concurrent use. A store answers with the very bytes that it was
//   given, or with an error: each copy has a checksum, which every Get checks.
//   An error of Put leaves the page's earlier copy unusable; whoever sees it
//   has to give up, and not go on with what he has.

#ifndef PTAGE_EXAMPLES_FAR_MEMORY_STORE_H_
#define PTAGE_EXAMPLES_FAR_MEMORY_STORE_H_

#include <cstdint>

#include "absl/status/status.h"
#include "examples/far_memory/page.h"
#include "ptage/types.h"

namespace ptage::far_memory {

struct StoreStats {
  std::uint64_t pages = 0;  // that have a copy
  std::uint64_t bytes = 0;  // that the copies take, records beside them counted
};

class PageStore {
 public:
  virtual ~PageStore() = default;

  // Keeps a copy, in place of an earlier one. ResourceExhausted: no room.
  [[nodiscard]] virtual absl::Status Put(Gfn gfn, const Page& page) = 0;
  // Brings the copy back, and keeps it. DataLoss: it is not what was put.
  // Precondition: Has(gfn).
  [[nodiscard]] virtual absl::Status Get(Gfn gfn, Page& page) = 0;
  // Forgets the copy, if there is one.
  virtual void Drop(Gfn gfn) = 0;
  [[nodiscard]] virtual bool Has(Gfn gfn) const = 0;
  // The checksum of the copy. Precondition: Has(gfn).
  [[nodiscard]] virtual std::uint32_t ChecksumOf(Gfn gfn) const = 0;
  [[nodiscard]] virtual StoreStats stats() const = 0;

  // For tests: changes one bit of the copy, as a bad disk would.
  virtual void FlipBit(Gfn gfn) = 0;
};

}  // namespace ptage::far_memory

#endif  // PTAGE_EXAMPLES_FAR_MEMORY_STORE_H_
