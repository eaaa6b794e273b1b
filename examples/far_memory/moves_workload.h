// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A workload that changes its address space under the pager: moves a part of
// its data, unmaps a part, and throws parts away.

#ifndef PTAGE_EXAMPLES_FAR_MEMORY_MOVES_WORKLOAD_H_
#define PTAGE_EXAMPLES_FAR_MEMORY_MOVES_WORKLOAD_H_

#include <sys/mman.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "examples/far_memory/direct_memory.h"
#include "examples/far_memory/page.h"
#include "examples/far_memory/record.h"
#include "examples/far_memory/workload.h"

namespace ptage::far_memory {

// Of the memory's eighths the third and fourth move, the fifth is unmapped, the
// sixth and seventh become zero by either kind of advice; all others keep what
// is in them. DataLoss: they did not. The memory is of no use afterwards.
[[nodiscard]] absl::Status RunMoves(const DirectMemory& memory,
                                    Progress& progress);

// ---------------------------------------------------------------------------

namespace internal {

// Pages by number, wherever they are.
class MovedPages {
 public:
  explicit MovedPages(std::byte* base, std::uint64_t pages)
      : base_(base), eighth_(pages / 8) {}

  [[nodiscard]] std::byte* At(std::uint64_t page) const {
    if (moved_ != nullptr && page >= 2 * eighth_ && page < 4 * eighth_) {
      return moved_ + (page - 2 * eighth_) * kPageBytes;
    }
    return base_ + page * kPageBytes;
  }
  [[nodiscard]] std::byte* Eighth(std::uint64_t which) const {
    return base_ + which * Bytes();
  }
  [[nodiscard]] std::size_t Bytes() const { return eighth_ * kPageBytes; }
  [[nodiscard]] std::uint64_t EighthOf(std::uint64_t page) const {
    return page / eighth_;
  }
  void Write(std::uint64_t page, std::uint64_t version) const {
    const Record record = MakeRecord(page, page, version);
    for (std::size_t at = 0; at < kPageBytes; at += kRecordBytes) {
      std::memcpy(At(page) + at, &record, kRecordBytes);
    }
  }
  [[nodiscard]] bool Holds(std::uint64_t page, const Record& record) const {
    for (std::size_t at = 0; at < kPageBytes; at += kRecordBytes) {
      if (std::memcmp(At(page) + at, &record, kRecordBytes) != 0) return false;
    }
    return true;
  }
  // Moves the third and fourth eighth.
  [[nodiscard]] absl::Status Move() {
    void* const to = mmap(nullptr, 2 * Bytes(), PROT_NONE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (to == MAP_FAILED) return absl::ErrnoToStatus(errno, "mmap");
    void* const from = At(2 * eighth_);
    if (mremap(from, 2 * Bytes(), 2 * Bytes(), MREMAP_MAYMOVE | MREMAP_FIXED,
               to) != to) {
      return absl::ErrnoToStatus(errno, "mremap");
    }
    moved_ = static_cast<std::byte*>(to);
    return absl::OkStatus();
  }

 private:
  std::byte* const base_;
  const std::uint64_t eighth_;
  std::byte* moved_ = nullptr;
};

}  // namespace internal

inline absl::Status RunMoves(const DirectMemory& memory, Progress& progress) {
  const std::uint64_t all = memory.bytes() / kPageBytes / 8 * 8;
  internal::MovedPages pages(memory.base(), all);
  progress.Begin(Phase::kFill, all);
  for (std::uint64_t page = 0; page < all; ++page) {
    pages.Write(page, 1);
    progress.Add(1);
  }

  progress.Begin(Phase::kServe, 2);
  // The second time it moves what has moved.
  for (int time = 0; time < 2; ++time) {
    const absl::Status moved = pages.Move();
    if (!moved.ok()) return moved;
    progress.Add(1);
  }
  if (munmap(pages.Eighth(4), pages.Bytes()) != 0 ||
      madvise(pages.Eighth(5), pages.Bytes(), MADV_REMOVE) != 0 ||
      madvise(pages.Eighth(6), pages.Bytes(), MADV_DONTNEED) != 0) {
    return absl::ErrnoToStatus(errno, "munmap, madvise");
  }

  progress.Begin(Phase::kCheckTable, 2 * all);
  for (const std::uint64_t version : {1u, 2u}) {
    for (std::uint64_t page = 0; page < all; ++page) {
      const std::uint64_t eighth = pages.EighthOf(page);
      progress.Add(1);
      if (eighth == 4) continue;
      const bool zero = version == 1 && (eighth == 5 || eighth == 6);
      const Record wanted = zero ? Record() : MakeRecord(page, page, version);
      if (!pages.Holds(page, wanted)) {
        return absl::DataLossError(absl::StrFormat(
            "wrong data: page %d, of eighth %d, at its look number %d", page,
            eighth, version));
      }
      pages.Write(page, 2);
    }
  }
  progress.Begin(Phase::kDone, 0);
  return absl::OkStatus();
}

}  // namespace ptage::far_memory

#endif  // PTAGE_EXAMPLES_FAR_MEMORY_MOVES_WORKLOAD_H_
