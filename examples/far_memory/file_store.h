// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A store in a file, a page at its place. The file is gone with the store.

#ifndef PTAGE_EXAMPLES_FAR_MEMORY_FILE_STORE_H_
#define PTAGE_EXAMPLES_FAR_MEMORY_FILE_STORE_H_

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "examples/far_memory/checksum.h"
#include "examples/far_memory/page.h"
#include "examples/far_memory/store.h"
#include "ptage/config.h"
#include "ptage/types.h"

namespace ptage::far_memory {

class FileStore final : public PageStore {
 public:
  // For pages 0 … pages − 1. The name is taken away at once. AlreadyExists: a
  // file of that name has something in it; or what open() says.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<FileStore>> Create(
      const std::string& path, std::uint64_t pages);
  ~FileStore() override { close(file_); }
  FileStore(const FileStore&) = delete;
  FileStore& operator=(const FileStore&) = delete;

  absl::Status Put(Gfn gfn, const Page& page) override;
  absl::Status Get(Gfn gfn, Page& page) override;
  // The file keeps its size; the place is used again.
  void Drop(Gfn gfn) override {
    pages_ -= copies_[gfn.value].there ? 1 : 0;
    copies_[gfn.value].there = false;
  }
  bool Has(Gfn gfn) const override { return copies_[gfn.value].there; }
  std::uint32_t ChecksumOf(Gfn gfn) const override {
    return copies_[gfn.value].checksum;
  }
  StoreStats stats() const override {
    return {.pages = pages_, .bytes = pages_ * (kPageBytes + sizeof(Copy))};
  }
  void FlipBit(Gfn gfn) override;

 private:
  struct Copy {
    std::uint32_t checksum = 0;
    bool there = false;
  };

  FileStore(int file, const std::string& path, std::uint64_t pages)
      : file_(file), path_(path), copies_(pages) {}
  static off_t PlaceOf(Gfn gfn) {
    return static_cast<off_t>(gfn.value * kPageBytes);
  }

  const int file_;
  const std::string path_;
  std::vector<Copy> copies_;
  std::uint64_t pages_ = 0;
};

// ---------------------------------------------------------------------------

inline absl::StatusOr<std::unique_ptr<FileStore>> FileStore::Create(
    const std::string& path, std::uint64_t pages) {
  const int file = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (file < 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot open ", path));
  }
  std::unique_ptr<FileStore> store(new FileStore(file, path, pages));
  struct stat status = {};
  if (fstat(file, &status) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot read ", path));
  }
  if (S_ISREG(status.st_mode)) {
    if (status.st_size != 0) {
      return absl::AlreadyExistsError(
          absl::StrCat(path, " has something in it: name a new file"));
    }
    unlink(path.c_str());
  }
  return store;
}

inline absl::Status FileStore::Put(Gfn gfn, const Page& page) {
  PTAGE_ASSERT(gfn.value < copies_.size());
  Drop(gfn);
  std::size_t done = 0;
  while (done < kPageBytes) {
    const ssize_t more =
        pwrite(file_, page.bytes.data() + done, kPageBytes - done,
               PlaceOf(gfn) + static_cast<off_t>(done));
    if (more < 0 && errno == EINTR) continue;
    if (more <= 0) {
      return absl::ErrnoToStatus(
          more < 0 ? errno : EIO,
          absl::StrFormat("cannot store page %d in %s", gfn.value, path_));
    }
    done += static_cast<std::size_t>(more);
  }
  copies_[gfn.value] = {.checksum = Checksum(page), .there = true};
  ++pages_;
  return absl::OkStatus();
}

inline absl::Status FileStore::Get(Gfn gfn, Page& page) {
  PTAGE_ASSERT(gfn.value < copies_.size() && Has(gfn));
  std::size_t done = 0;
  while (done < kPageBytes) {
    const ssize_t more =
        pread(file_, page.bytes.data() + done, kPageBytes - done,
              PlaceOf(gfn) + static_cast<off_t>(done));
    if (more < 0 && errno == EINTR) continue;
    if (more <= 0) {
      return absl::ErrnoToStatus(
          more < 0 ? errno : EIO,
          absl::StrFormat("cannot load page %d from %s", gfn.value, path_));
    }
    done += static_cast<std::size_t>(more);
  }
  if (Checksum(page) == copies_[gfn.value].checksum) return absl::OkStatus();
  return absl::DataLossError(
      absl::StrFormat("the stored copy of page %d is damaged", gfn.value));
}

inline void FileStore::FlipBit(Gfn gfn) {
  std::byte byte{};
  if (pread(file_, &byte, 1, PlaceOf(gfn)) != 1) return;
  byte ^= std::byte{1};
  (void)!pwrite(file_, &byte, 1, PlaceOf(gfn));
}

}  // namespace ptage::far_memory

#endif  // PTAGE_EXAMPLES_FAR_MEMORY_FILE_STORE_H_
