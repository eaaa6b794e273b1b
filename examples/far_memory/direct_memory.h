// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The workload's data under userfaultfd: plain memory.

#ifndef PTAGE_EXAMPLES_FAR_MEMORY_DIRECT_MEMORY_H_
#define PTAGE_EXAMPLES_FAR_MEMORY_DIRECT_MEMORY_H_

#include <sys/mman.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "examples/far_memory/frames.h"
#include "examples/far_memory/page.h"

namespace ptage::far_memory {

// A view; it is mapped for as long as the process lives.
class DirectMemory {
 public:
  // All pages of `frames`. A child of the process would fault without being
  // heard, so it does not get them.
  [[nodiscard]] static absl::StatusOr<DirectMemory> Map(const Frames& frames) {
    const std::size_t bytes = frames.pages() * kPageBytes;
    void* const at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED,
                          frames.file(), 0);
    if (at == MAP_FAILED) return absl::ErrnoToStatus(errno, "mmap");
    if (madvise(at, bytes, MADV_DONTFORK) != 0) {
      return absl::ErrnoToStatus(errno, "madvise");
    }
    return DirectMemory(static_cast<std::byte*>(at), bytes);
  }

  [[nodiscard]] std::byte* base() const { return base_; }
  [[nodiscard]] std::uint64_t bytes() const { return bytes_; }
  void Read(std::uint64_t offset, void* to, std::size_t size) const {
    std::memcpy(to, base_ + offset, size);
  }
  void Write(std::uint64_t offset, const void* from, std::size_t size) const {
    std::memcpy(base_ + offset, from, size);
  }
  absl::Status DiscardAll() const {
    return madvise(base_, bytes_, MADV_REMOVE) == 0
               ? absl::OkStatus()
               : absl::ErrnoToStatus(errno, "madvise");
  }
  [[nodiscard]] absl::Status status() const { return absl::OkStatus(); }

 private:
  DirectMemory(std::byte* base, std::size_t bytes)
      : base_(base), bytes_(bytes) {}

  std::byte* base_;
  std::size_t bytes_;
};

}  // namespace ptage::far_memory

#endif  // PTAGE_EXAMPLES_FAR_MEMORY_DIRECT_MEMORY_H_
