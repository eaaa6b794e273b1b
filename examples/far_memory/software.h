// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The pager without userfaultfd: a buffer pool. The workload reaches its data
// through an accessor, which asks the software table before each access, as a
// processor would, and calls the pager where that does not allow it.

#ifndef PTAGE_EXAMPLES_FAR_MEMORY_SOFTWARE_H_
#define PTAGE_EXAMPLES_FAR_MEMORY_SOFTWARE_H_

#include <sys/mman.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "examples/far_memory/frames.h"
#include "examples/far_memory/page.h"
#include "examples/far_memory/page_map.h"
#include "examples/far_memory/pager.h"
#include "ptage/spte.h"
#include "ptage/types.h"

namespace ptage::far_memory {

// Nothing is ever mapped behind the table's back, so nothing has to be dropped.
class SoftwareBacking {
 public:
  // `frames` outlives it.
  explicit SoftwareBacking(const Frames& frames) : frames_(frames) {}

  absl::Status Fill(Gfn gfn, const Page& page) {
    return frames_.Write(gfn, &page, 1);
  }
  absl::Status Map(Gfn, bool) { return absl::OkStatus(); }
  absl::Status Unmap(GfnRange) { return absl::OkStatus(); }
  absl::Status Take(Gfn gfn, Page& page) {
    const absl::Status read = frames_.Read(gfn, &page, 1);
    return read.ok() ? frames_.Punch({gfn, gfn + 1}) : read;
  }
  absl::Status Free(GfnRange range) { return frames_.Punch(range); }

 private:
  const Frames& frames_;
};

static_assert(Backing<SoftwareBacking>);

// The accessor. After an error reads answer zeros and writes do nothing; the
// status says what it was.
template <class PagerType>
class SoftwareMemory {
 public:
  // The pages of `frames`, which, like the pager, outlives it.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<SoftwareMemory>> Create(
      const Frames& frames, PagerType& pager) {
    void* const at = mmap(nullptr, frames.pages() * kPageBytes,
                          PROT_READ | PROT_WRITE, MAP_SHARED, frames.file(), 0);
    if (at == MAP_FAILED) return absl::ErrnoToStatus(errno, "mmap");
    return std::unique_ptr<SoftwareMemory>(
        new SoftwareMemory(static_cast<std::byte*>(at), frames.pages(), pager));
  }
  ~SoftwareMemory() { (void)munmap(base_, pages_ * kPageBytes); }
  SoftwareMemory(const SoftwareMemory&) = delete;
  SoftwareMemory& operator=(const SoftwareMemory&) = delete;

  [[nodiscard]] std::uint64_t bytes() const { return pages_ * kPageBytes; }
  // Of bytes that lie in one page.
  void Read(std::uint64_t offset, void* to, std::size_t size) {
    if (Allowed(offset, Rights::kRead)) {
      std::memcpy(to, base_ + offset, size);
    } else {
      std::memset(to, 0, size);
    }
  }
  void Write(std::uint64_t offset, const void* from, std::size_t size) {
    if (Allowed(offset, Rights::kReadWrite)) {
      std::memcpy(base_ + offset, from, size);
    }
  }
  // All of it is zero afterwards.
  absl::Status DiscardAll() {
    if (status_.ok()) status_ = pager_.Discard({Gfn{0}, Gfn{pages_}});
    return status_;
  }
  [[nodiscard]] const absl::Status& status() const { return status_; }

 private:
  SoftwareMemory(std::byte* base, std::uint64_t pages, PagerType& pager)
      : base_(base), pages_(pages), pager_(pager) {}

  bool Allowed(std::uint64_t offset, Rights access) {
    const Gfn gfn{offset / kPageBytes};
    {
      const PageMap::Walk walk(pager_.map().reclaimer(), WalkEntry::kWait);
      const Format::Word word = pager_.map().Lookup(walk, gfn).word;
      if (Format::IsPresent(word) && Allows(LiveRights<Format>(word), access)) {
        return true;
      }
    }
    if (status_.ok()) status_ = pager_.Fault(gfn, access);
    return status_.ok();
  }

  std::byte* const base_;
  const std::uint64_t pages_;
  PagerType& pager_;
  absl::Status status_;
};

}  // namespace ptage::far_memory

#endif  // PTAGE_EXAMPLES_FAR_MEMORY_SOFTWARE_H_
