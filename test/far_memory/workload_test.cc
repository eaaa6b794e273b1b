// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The workloads over plain memory: that they pass, and that they notice memory
// that loses something.

#include "examples/far_memory/workload.h"

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "examples/far_memory/record.h"
#include "examples/far_memory/shared_state.h"
#include "examples/far_memory/zipf.h"
#include "gtest/gtest.h"

namespace ptage::far_memory {
namespace {

// Plain memory, one write of which is lost.
class LossyMemory {
 public:
  explicit LossyMemory(std::uint64_t records, std::uint64_t lost)
      : bytes_(records * kRecordBytes), lost_(lost) {}
  [[nodiscard]] std::uint64_t bytes() const { return bytes_.size(); }
  void Read(std::uint64_t offset, void* to, std::size_t size) const {
    std::memcpy(to, bytes_.data() + offset, size);
  }
  void Write(std::uint64_t offset, const void* from, std::size_t size) {
    if (++writes_ == lost_) return;
    std::memcpy(bytes_.data() + offset, from, size);
  }
  absl::Status DiscardAll() {
    bytes_.assign(bytes_.size(), std::byte{});
    return absl::OkStatus();
  }
  [[nodiscard]] absl::Status status() const { return absl::OkStatus(); }
  [[nodiscard]] std::uint64_t writes() const { return writes_; }

 private:
  std::vector<std::byte> bytes_;
  const std::uint64_t lost_;
  std::uint64_t writes_ = 0;
};

absl::Status Sort(LossyMemory& memory) {
  SharedState shared;
  Progress progress(shared);
  return RunSort(memory, progress);
}

absl::Status Serve(LossyMemory& memory) {
  SharedState shared;
  Progress progress(shared);
  return RunTable(memory, 1000, 1, progress);
}

TEST(WorkloadTest, EveryLengthIsSorted) {
  for (const std::uint64_t records : {1u, 2u, 3u, 16u, 17u, 18u, 100u, 5000u}) {
    LossyMemory memory(records, 0);
    EXPECT_TRUE(Sort(memory).ok()) << records;
    std::uint64_t before = 0;
    for (std::uint64_t i = 0; i < records; ++i) {
      std::uint64_t key = 0;
      memory.Read(i * kRecordBytes, &key, sizeof key);
      EXPECT_TRUE(i == 0 || key > before);
      before = key;
    }
  }
}

TEST(WorkloadTest, ALostWriteOfTheSortIsNoticedWhereverItIs) {
  LossyMemory whole(150, 0);
  ASSERT_TRUE(Sort(whole).ok());
  for (std::uint64_t lost = 1; lost <= whole.writes(); ++lost) {
    LossyMemory memory(150, lost);
    EXPECT_EQ(Sort(memory).code(), absl::StatusCode::kDataLoss) << lost;
  }
}

TEST(WorkloadTest, ALostWriteOfTheTableIsNoticedWhereverItIs) {
  LossyMemory whole(120, 0);
  ASSERT_TRUE(Serve(whole).ok());
  // 90 keys, and some 50 new versions.
  ASSERT_GT(whole.writes(), 120u);
  for (std::uint64_t lost = 1; lost <= whole.writes(); ++lost) {
    LossyMemory memory(120, lost);
    EXPECT_EQ(Serve(memory).code(), absl::StatusCode::kDataLoss) << lost;
  }
}

TEST(WorkloadTest, TheTableIsNotLoadedOverWhatWasThere) {
  LossyMemory memory(400, 0);
  ASSERT_TRUE(Sort(memory).ok());
  EXPECT_EQ(Serve(memory).code(), absl::StatusCode::kDataLoss);
  ASSERT_TRUE(memory.DiscardAll().ok());
  EXPECT_TRUE(Serve(memory).ok());
}

TEST(RecordTest, MixingIsUndone) {
  for (std::uint64_t x = 0; x < 1000; ++x) {
    ASSERT_EQ(Unmix(Mix(x)), x);
    ASSERT_EQ(Mix(Unmix(~x)), ~x);
  }
}

TEST(RecordTest, NumberAndVersionAreInTheText) {
  const Record record = MakeRecord(7, 1234, 56);
  EXPECT_EQ(std::string(record.text.data(), 30),
            "account 0000001234 version 056");
  EXPECT_EQ(record.key, 7u);
}

// The probability of rank r is (r + 1)^-0.99 ÷ the sum of these.
TEST(ZipfTest, RanksComeAsOftenAsTheirLawSays) {
  constexpr std::uint64_t kCount = 1000;
  constexpr int kDraws = 200'000;
  double sum = 0;
  for (std::uint64_t r = 1; r <= kCount; ++r) {
    sum += std::pow(static_cast<double>(r), -0.99);
  }
  std::vector<int> seen(kCount);
  Random random(1);
  const Zipf zipf(kCount);
  for (int i = 0; i < kDraws; ++i) {
    const std::uint64_t rank = zipf.Next(random);
    ASSERT_LT(rank, kCount);
    ++seen[rank];
  }
  for (const std::uint64_t rank : {0u, 1u, 2u, 9u, 99u}) {
    const double expected =
        kDraws * std::pow(static_cast<double>(rank + 1), -0.99) / sum;
    EXPECT_NEAR(seen[rank], expected, 5 * std::sqrt(expected)) << rank;
  }
}

}  // namespace
}  // namespace ptage::far_memory
