// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A guest's RAM, mapped from its files: guest-physical addresses as bytes of
// ours, and frames numbered without the holes between them.

#ifndef PTAGE_EXAMPLES_LIVE_GUEST_GUEST_RAM_H_
#define PTAGE_EXAMPLES_LIVE_GUEST_GUEST_RAM_H_

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "examples/live_guest/backends.h"
#include "ptage/memory/foreign_ram.h"
#include "ptage/types.h"

namespace ptage::live_guest {

// kReadOnly: the pages are mapped so that nothing of ours can write to them.
enum class RamAccess { kReadOnly, kReadWrite };

// Constant once mapped. The guest may write anything anywhere meanwhile; who
// can cut the files short can kill us, see ptage/memory/foreign_ram.h.
class GuestRam {
 public:
  // NotFound, PermissionDenied and the like, with the file. FailedPrecondition:
  // a file is shorter than what the guest has in it, or is a folder (in which
  // QEMU made a file without a name).
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<GuestRam>> Map(
      const std::vector<FilePiece>& pieces, RamAccess access);
  GuestRam(const GuestRam&) = delete;
  GuestRam& operator=(const GuestRam&) = delete;
  ~GuestRam() {
    for (const RamBlock& block : blocks_) {
      munmap(block.mapped - kPage, block.bytes + 2 * kPage);
    }
  }

  [[nodiscard]] const ForeignRam& memory() const { return *memory_; }
  [[nodiscard]] const std::vector<RamBlock>& blocks() const { return blocks_; }
  [[nodiscard]] std::uint64_t Frames() const { return frames_; }
  // The number of a frame, from 0 to Frames() - 1, in the order of addresses.
  // Nothing: it is no RAM.
  [[nodiscard]] std::optional<std::uint64_t> NumberOf(Pfn frame) const {
    for (std::size_t i = 0; i < blocks_.size(); ++i) {
      const std::uint64_t offset = frame.value - blocks_[i].address / kPage;
      if (frame.value >= blocks_[i].address / kPage &&
          offset < blocks_[i].bytes / kPage) {
        return first_[i] + offset;
      }
    }
    return std::nullopt;
  }

 private:
  static constexpr std::uint64_t kPage = ForeignRam::kAlignment;

  GuestRam() = default;
  absl::Status MapPiece(const FilePiece& piece, RamAccess access);
  // Between two pages that fault, so that a step beside it is no silent one.
  // Null: errno says why.
  static std::byte* MapGuarded(int file, const RamPiece& ram, int protection);

  std::vector<RamBlock> blocks_;
  std::vector<std::uint64_t> first_;  // frames before each
  std::uint64_t frames_ = 0;
  std::optional<ForeignRam> memory_;
};

// ---------------------------------------------------------------------------

inline absl::StatusOr<std::unique_ptr<GuestRam>> GuestRam::Map(
    const std::vector<FilePiece>& pieces, RamAccess access) {
  std::unique_ptr<GuestRam> ram(new GuestRam());
  for (const FilePiece& piece : pieces) {
    const absl::Status mapped = ram->MapPiece(piece, access);
    if (!mapped.ok()) return mapped;
  }
  ram->memory_.emplace(ram->blocks_.data(), ram->blocks_.size());
  return ram;
}

inline std::byte* GuestRam::MapGuarded(int file, const RamPiece& ram,
                                       int protection) {
  const std::uint64_t bytes = ram.bytes + 2 * kPage;
  void* const around = mmap(nullptr, bytes, PROT_NONE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (around == MAP_FAILED) return nullptr;
  std::byte* const at = static_cast<std::byte*>(around) + kPage;
  if (mmap(at, ram.bytes, protection, MAP_SHARED | MAP_FIXED, file,
           static_cast<off_t>(ram.offset)) != MAP_FAILED) {
    return at;
  }
  const int error = errno;
  munmap(around, bytes);
  errno = error;
  return nullptr;
}

inline absl::Status GuestRam::MapPiece(const FilePiece& piece,
                                       RamAccess access) {
  const bool writes = access == RamAccess::kReadWrite;
  const int file =
      open(piece.path.c_str(), (writes ? O_RDWR : O_RDONLY) | O_CLOEXEC);
  if (file < 0) {
    return absl::ErrnoToStatus(
        errno, absl::StrCat("cannot open the guest's RAM ", piece.path));
  }
  struct stat about = {};
  absl::Status status;
  if (fstat(file, &about) != 0) {
    status = absl::ErrnoToStatus(errno, piece.path);
  } else if (S_ISDIR(about.st_mode)) {
    status = absl::FailedPreconditionError(absl::StrFormat(
        "%s is a folder, in which QEMU made a file without a name: give "
        "mem-path the name of a file",
        piece.path));
  } else if (S_ISREG(about.st_mode) &&
             static_cast<std::uint64_t>(about.st_size) <
                 piece.ram.offset + piece.ram.bytes) {
    status = absl::FailedPreconditionError(absl::StrFormat(
        "%s has %d bytes, and the guest's RAM would end at %d: it is not the "
        "file that QEMU has open",
        piece.path, about.st_size, piece.ram.offset + piece.ram.bytes));
  } else {
    std::byte* const at =
        MapGuarded(file, piece.ram, PROT_READ | (writes ? PROT_WRITE : 0));
    if (at == nullptr) {
      status = absl::ErrnoToStatus(errno, absl::StrCat("mmap ", piece.path));
    } else {
      blocks_.push_back(RamBlock{piece.ram.address, piece.ram.bytes, at});
      first_.push_back(frames_);
      frames_ += piece.ram.bytes / kPage;
    }
  }
  close(file);
  return status;
}

}  // namespace ptage::live_guest

#endif  // PTAGE_EXAMPLES_LIVE_GUEST_GUEST_RAM_H_
