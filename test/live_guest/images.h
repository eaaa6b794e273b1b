// SPDX-License-Identifier: MIT OR Apache-2.0
//
// RAM of a guest, in a file, with page tables written by hand.

#ifndef PTAGE_TEST_LIVE_GUEST_IMAGES_H_
#define PTAGE_TEST_LIVE_GUEST_IMAGES_H_

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "examples/live_guest/backends.h"
#include "examples/live_guest/guest_ram.h"
#include "gtest/gtest.h"
#include "ptage/types.h"

namespace ptage::test {

// Bits of an x86-64 entry, as Intel SDM 3A, 4.5 has them.
inline constexpr std::uint64_t kP = 1, kW = 2, kU = 4, kA = 0x20, kD = 0x40,
                               kBig = 0x80;
inline constexpr std::uint64_t kInner = kP | kW | kU | kA;

// `frames` frames from guest-physical 0 on, and as many from 4 GiB on.
class Image {
 public:
  explicit Image(std::uint64_t frames) {
    path_ = absl::StrCat(::testing::TempDir(), "/ramXXXXXX");
    const int file = mkstemp(path_.data());
    EXPECT_GE(file, 0);
    const std::uint64_t bytes = frames * 4096;
    EXPECT_EQ(ftruncate(file, static_cast<off_t>(2 * bytes)), 0);
    close(file);
    const live_guest::FilePiece pieces[] = {
        {{0, bytes, "m", 0}, path_},
        {{std::uint64_t{1} << 32, bytes, "m", bytes}, path_}};
    auto ram = live_guest::GuestRam::Map({pieces[0], pieces[1]},
                                         live_guest::RamAccess::kReadWrite);
    EXPECT_TRUE(ram.ok()) << ram.status();
    ram_ = *std::move(ram);
  }
  ~Image() { unlink(path_.c_str()); }
  Image(const Image&) = delete;
  Image& operator=(const Image&) = delete;

  [[nodiscard]] const live_guest::GuestRam& ram() const { return *ram_; }
  [[nodiscard]] const std::string& path() const { return path_; }
  // The word of a table.
  [[nodiscard]] std::uint64_t& At(std::uint64_t frame, unsigned index) const {
    return *reinterpret_cast<std::uint64_t*>(
        ram_->memory().At(frame * 4096 + index * 8, 8));
  }

 private:
  std::string path_;
  std::unique_ptr<live_guest::GuestRam> ram_;
};

}  // namespace ptage::test

#endif  // PTAGE_TEST_LIVE_GUEST_IMAGES_H_
