// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The memory that the resident pages take: a file in memory, page n at its
// place. A hole takes none.

#ifndef PTAGE_EXAMPLES_FAR_MEMORY_FRAMES_H_
#define PTAGE_EXAMPLES_FAR_MEMORY_FRAMES_H_

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_format.h"
#include "examples/far_memory/page.h"
#include "ptage/types.h"

namespace ptage::far_memory {

class Frames {
 public:
  [[nodiscard]] static absl::StatusOr<Frames> Create(std::uint64_t pages);
  Frames(Frames&& other) noexcept
      : file_(std::exchange(other.file_, -1)), pages_(other.pages_) {}
  Frames& operator=(Frames&&) = delete;
  ~Frames() {
    if (file_ >= 0) close(file_);
  }

  // Of `count` pages from `first` on.
  [[nodiscard]] absl::Status Read(Gfn first, Page* to,
                                  std::uint64_t count) const;
  [[nodiscard]] absl::Status Write(Gfn first, const Page* from,
                                   std::uint64_t count) const;
  // Makes them holes. No process has them mapped when it returns.
  [[nodiscard]] absl::Status Punch(GfnRange range) const;

  [[nodiscard]] int file() const { return file_; }
  [[nodiscard]] std::uint64_t pages() const { return pages_; }
  // Pages that are no holes, as the kernel counts them.
  [[nodiscard]] std::uint64_t InUse() const {
    struct stat status = {};
    if (fstat(file_, &status) != 0) return 0;
    return static_cast<std::uint64_t>(status.st_blocks) * 512 / kPageBytes;
  }

 private:
  Frames(int file, std::uint64_t pages) : file_(file), pages_(pages) {}
  static off_t PlaceOf(Gfn gfn) {
    return static_cast<off_t>(gfn.value * kPageBytes);
  }

  int file_;
  std::uint64_t pages_;
};

// ---------------------------------------------------------------------------

inline absl::StatusOr<Frames> Frames::Create(std::uint64_t pages) {
  const int file = memfd_create("far_memory", MFD_CLOEXEC);
  if (file < 0) return absl::ErrnoToStatus(errno, "memfd_create");
  Frames frames(file, pages);
  if (ftruncate(file, PlaceOf(Gfn{pages})) != 0) {
    return absl::ErrnoToStatus(errno, "ftruncate of the pages");
  }
  return frames;
}

inline absl::Status Frames::Read(Gfn first, Page* to,
                                 std::uint64_t count) const {
  const auto bytes = static_cast<ssize_t>(count * kPageBytes);
  const ssize_t done =
      pread(file_, to, static_cast<std::size_t>(bytes), PlaceOf(first));
  if (done == bytes) return absl::OkStatus();
  return absl::ErrnoToStatus(
      done < 0 ? errno : EIO,
      absl::StrFormat("cannot read page %d", first.value));
}

inline absl::Status Frames::Write(Gfn first, const Page* from,
                                  std::uint64_t count) const {
  const auto bytes = static_cast<ssize_t>(count * kPageBytes);
  const ssize_t done =
      pwrite(file_, from, static_cast<std::size_t>(bytes), PlaceOf(first));
  if (done == bytes) return absl::OkStatus();
  return absl::ErrnoToStatus(
      done < 0 ? errno : ENOMEM,
      absl::StrFormat("no memory for page %d", first.value));
}

inline absl::Status Frames::Punch(GfnRange range) const {
  if (fallocate(file_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                PlaceOf(range.begin), PlaceOf(Gfn{range.Frames()})) == 0) {
    return absl::OkStatus();
  }
  return absl::ErrnoToStatus(
      errno, absl::StrFormat("cannot free page %d", range.begin.value));
}

}  // namespace ptage::far_memory

#endif  // PTAGE_EXAMPLES_FAR_MEMORY_FRAMES_H_
