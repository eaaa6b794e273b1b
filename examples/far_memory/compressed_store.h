// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A store in memory: pages of one repeated word take none, others are deflated,
// and those that do not get smaller are kept as they are.

#ifndef PTAGE_EXAMPLES_FAR_MEMORY_COMPRESSED_STORE_H_
#define PTAGE_EXAMPLES_FAR_MEMORY_COMPRESSED_STORE_H_

#include <zlib.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_format.h"
#include "examples/far_memory/checksum.h"
#include "examples/far_memory/page.h"
#include "examples/far_memory/store.h"
#include "ptage/config.h"
#include "ptage/types.h"

namespace ptage::far_memory {

class CompressedStore final : public PageStore {
 public:
  static constexpr std::uint64_t kNoLimit = ~std::uint64_t{0};

  // For pages 0 … pages − 1, in at most `limit` bytes. Internal: zlib does not
  // start.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<CompressedStore>> Create(
      std::uint64_t pages, std::uint64_t limit = kNoLimit);
  ~CompressedStore() override;
  CompressedStore(const CompressedStore&) = delete;
  CompressedStore& operator=(const CompressedStore&) = delete;

  absl::Status Put(Gfn gfn, const Page& page) override;
  absl::Status Get(Gfn gfn, Page& page) override;
  void Drop(Gfn gfn) override;
  bool Has(Gfn gfn) const override {
    return copies_[gfn.value].form != Form::kNone;
  }
  std::uint32_t ChecksumOf(Gfn gfn) const override {
    return copies_[gfn.value].checksum;
  }
  StoreStats stats() const override { return stats_; }
  void FlipBit(Gfn gfn) override;

 private:
  enum class Form : std::uint8_t { kNone, kFilled, kDeflated, kRaw };

  struct Copy {
    std::unique_ptr<std::byte[]> data;  // null for kFilled
    std::uint64_t fill = 0;
    std::uint32_t checksum = 0;
    std::uint16_t size = 0;
    Form form = Form::kNone;
  };

  CompressedStore(std::uint64_t pages, std::uint64_t limit)
      : limit_(limit), copies_(pages) {}
  // Whether the page repeats its first word.
  static bool IsFilled(const Page& page, std::uint64_t& fill);
  // Bytes written to `packed_`; 0 if the page does not get smaller.
  std::size_t Deflate(const Page& page);
  bool Inflate(const Copy& copy, Page& page);

  const std::uint64_t limit_;
  std::vector<Copy> copies_;
  StoreStats stats_;
  z_stream deflate_ = {};
  z_stream inflate_ = {};
  bool deflates_ = false;
  bool inflates_ = false;
  std::array<std::byte, kPageBytes> packed_ = {};
};

// ---------------------------------------------------------------------------

inline absl::StatusOr<std::unique_ptr<CompressedStore>> CompressedStore::Create(
    std::uint64_t pages, std::uint64_t limit) {
  std::unique_ptr<CompressedStore> store(new CompressedStore(pages, limit));
  // Raw deflate: the checksum is ours. A window of a page, and little memory,
  // which has to be cleared for each page.
  store->deflates_ = deflateInit2(&store->deflate_, 1, Z_DEFLATED, -12, 5,
                                  Z_DEFAULT_STRATEGY) == Z_OK;
  store->inflates_ = inflateInit2(&store->inflate_, -12) == Z_OK;
  if (!store->deflates_ || !store->inflates_) {
    return absl::InternalError("zlib does not start");
  }
  return store;
}

inline CompressedStore::~CompressedStore() {
  if (deflates_) (void)deflateEnd(&deflate_);
  if (inflates_) (void)inflateEnd(&inflate_);
}

inline bool CompressedStore::IsFilled(const Page& page, std::uint64_t& fill) {
  std::memcpy(&fill, page.bytes.data(), sizeof fill);
  return std::memcmp(page.bytes.data(), page.bytes.data() + sizeof fill,
                     kPageBytes - sizeof fill) == 0;
}

inline std::size_t CompressedStore::Deflate(const Page& page) {
  if (deflateReset(&deflate_) != Z_OK) return 0;
  // zlib takes its input by a pointer to what it does not change.
  deflate_.next_in =
      reinterpret_cast<Bytef*>(const_cast<std::byte*>(page.bytes.data()));
  deflate_.avail_in = kPageBytes;
  deflate_.next_out = reinterpret_cast<Bytef*>(packed_.data());
  deflate_.avail_out = kPageBytes - 1;
  if (deflate(&deflate_, Z_FINISH) != Z_STREAM_END) return 0;
  return kPageBytes - 1 - deflate_.avail_out;
}

inline bool CompressedStore::Inflate(const Copy& copy, Page& page) {
  if (inflateReset(&inflate_) != Z_OK) return false;
  inflate_.next_in = reinterpret_cast<Bytef*>(copy.data.get());
  inflate_.avail_in = copy.size;
  inflate_.next_out = reinterpret_cast<Bytef*>(page.bytes.data());
  inflate_.avail_out = kPageBytes;
  return inflate(&inflate_, Z_FINISH) == Z_STREAM_END &&
         inflate_.avail_out == 0;
}

inline absl::Status CompressedStore::Put(Gfn gfn, const Page& page) {
  PTAGE_ASSERT(gfn.value < copies_.size());
  Drop(gfn);
  Copy copy;
  copy.checksum = Checksum(page);
  if (IsFilled(page, copy.fill)) {
    copy.form = Form::kFilled;
  } else if (const std::size_t size = Deflate(page); size != 0) {
    copy.form = Form::kDeflated;
    copy.size = static_cast<std::uint16_t>(size);
    copy.data.reset(new std::byte[size]);
    std::memcpy(copy.data.get(), packed_.data(), size);
  } else {
    copy.form = Form::kRaw;
    copy.size = kPageBytes;
    copy.data.reset(new std::byte[kPageBytes]);
    std::memcpy(copy.data.get(), page.bytes.data(), kPageBytes);
  }
  const std::uint64_t takes = sizeof(Copy) + copy.size;
  if (limit_ - stats_.bytes < takes) {
    return absl::ResourceExhaustedError(absl::StrFormat(
        "the store is full: page %d takes %d bytes more than the %d of %d that "
        "are used",
        gfn.value, takes, stats_.bytes, limit_));
  }
  stats_.bytes += takes;
  ++stats_.pages;
  copies_[gfn.value] = std::move(copy);
  return absl::OkStatus();
}

inline absl::Status CompressedStore::Get(Gfn gfn, Page& page) {
  PTAGE_ASSERT(gfn.value < copies_.size() && Has(gfn));
  const Copy& copy = copies_[gfn.value];
  bool whole = true;
  switch (copy.form) {
    case Form::kFilled:
      for (std::size_t at = 0; at < kPageBytes; at += sizeof copy.fill) {
        std::memcpy(page.bytes.data() + at, &copy.fill, sizeof copy.fill);
      }
      break;
    case Form::kDeflated:
      whole = Inflate(copy, page);
      break;
    case Form::kRaw:
    case Form::kNone:
      std::memcpy(page.bytes.data(), copy.data.get(), kPageBytes);
      break;
  }
  if (whole && Checksum(page) == copy.checksum) return absl::OkStatus();
  return absl::DataLossError(
      absl::StrFormat("the stored copy of page %d is damaged", gfn.value));
}

inline void CompressedStore::Drop(Gfn gfn) {
  Copy& copy = copies_[gfn.value];
  if (copy.form == Form::kNone) return;
  stats_.bytes -= sizeof(Copy) + copy.size;
  --stats_.pages;
  copy = Copy();
}

inline void CompressedStore::FlipBit(Gfn gfn) {
  Copy& copy = copies_[gfn.value];
  if (copy.data == nullptr) {
    copy.fill ^= 1;
  } else {
    copy.data[copy.size / 2] ^= std::byte{1};
  }
}

}  // namespace ptage::far_memory

#endif  // PTAGE_EXAMPLES_FAR_MEMORY_COMPRESSED_STORE_H_
