// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Failures on purpose, to see how the program ends.

#ifndef PTAGE_EXAMPLES_FAR_MEMORY_FAILURE_H_
#define PTAGE_EXAMPLES_FAR_MEMORY_FAILURE_H_

#include <cstdint>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "examples/far_memory/page.h"
#include "examples/far_memory/store.h"
#include "ptage/types.h"

namespace ptage::far_memory {

enum class FailureKind {
  kNone,
  kStoreFull,  // the store refuses a page
  kFlipBit,    // a stored copy changes by itself
  kKill,       // the handler is killed with a fault in its hands
  kHang,       // the handler stops, and does not end
};

struct Failure {
  FailureKind kind = FailureKind::kNone;
  std::uint64_t at = 1;  // at the how manieth page stored, or fault
};

struct FailureName {
  absl::string_view name;
  FailureKind kind;
};
inline constexpr FailureName kFailureNames[] = {
    {"store-full", FailureKind::kStoreFull},
    {"flip-bit", FailureKind::kFlipBit},
    {"kill", FailureKind::kKill},
    {"hang", FailureKind::kHang}};

// A store that fails as told.
class FailingStore final : public PageStore {
 public:
  FailingStore(std::unique_ptr<PageStore> store, Failure failure)
      : store_(std::move(store)), failure_(failure) {}

  absl::Status Put(Gfn gfn, const Page& page) override {
    if (failure_.kind == FailureKind::kStoreFull && ++puts_ == failure_.at) {
      return absl::ResourceExhaustedError(absl::StrFormat(
          "the store is full, as was asked for: page %d", gfn.value));
    }
    return store_->Put(gfn, page);
  }
  absl::Status Get(Gfn gfn, Page& page) override {
    const absl::Status got = store_->Get(gfn, page);
    // The pager has just looked at what it put: from here on it trusts it.
    if (failure_.kind == FailureKind::kFlipBit && ++gets_ == failure_.at) {
      store_->FlipBit(gfn);
    }
    return got;
  }
  void Drop(Gfn gfn) override { store_->Drop(gfn); }
  bool Has(Gfn gfn) const override { return store_->Has(gfn); }
  std::uint32_t ChecksumOf(Gfn gfn) const override {
    return store_->ChecksumOf(gfn);
  }
  StoreStats stats() const override { return store_->stats(); }
  void FlipBit(Gfn gfn) override { store_->FlipBit(gfn); }

 private:
  const std::unique_ptr<PageStore> store_;
  const Failure failure_;
  std::uint64_t puts_ = 0;
  std::uint64_t gets_ = 0;
};

}  // namespace ptage::far_memory

#endif  // PTAGE_EXAMPLES_FAR_MEMORY_FAILURE_H_
