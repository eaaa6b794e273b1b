// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A file that appears whole or not at all.

#ifndef PTAGE_BENCH_OUTPUT_FILE_H_
#define PTAGE_BENCH_OUTPUT_FILE_H_

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"

namespace ptage::bench {

// Opened before a long run, so that a path that cannot be written is known at
// once; committed by renaming, so that whoever is interrupted leaves nothing
// under the name. Not for concurrent use.
class OutputFile {
 public:
  // NotFound or PermissionDenied and the like, with the path.
  [[nodiscard]] static absl::StatusOr<OutputFile> Open(
      const std::string& path) {
    std::string temporary = absl::StrCat(path, ".", getpid(), ".partial");
    const int file =
        open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (file < 0) return Error(path);
    return OutputFile(path, std::move(temporary), file);
  }
  OutputFile(OutputFile&& other) noexcept
      : path_(std::move(other.path_)),
        temporary_(std::move(other.temporary_)),
        file_(std::exchange(other.file_, -1)) {}
  OutputFile& operator=(OutputFile&&) = delete;
  ~OutputFile() { Discard(); }

  // Writes `text` and gives the file its name. Precondition: called once.
  absl::Status Commit(const std::string& text) {
    std::size_t written = 0;
    while (written < text.size()) {
      const ssize_t more =
          write(file_, text.data() + written, text.size() - written);
      if (more < 0 && errno == EINTR) continue;
      if (more < 0) return Error(path_);
      written += static_cast<std::size_t>(more);
    }
    if (fsync(file_) != 0 || rename(temporary_.c_str(), path_.c_str()) != 0) {
      return Error(path_);
    }
    close(std::exchange(file_, -1));
    return absl::OkStatus();
  }

 private:
  OutputFile(std::string path, std::string temporary, int file)
      : path_(std::move(path)), temporary_(std::move(temporary)), file_(file) {}

  static absl::Status Error(const std::string& path) {
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot write ", path));
  }
  void Discard() {
    if (file_ < 0) return;
    close(std::exchange(file_, -1));
    unlink(temporary_.c_str());
  }

  std::string path_;
  std::string temporary_;
  int file_;
};

}  // namespace ptage::bench

#endif  // PTAGE_BENCH_OUTPUT_FILE_H_
