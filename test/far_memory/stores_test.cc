// SPDX-License-Identifier: MIT OR Apache-2.0

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "examples/far_memory/compressed_store.h"
#include "examples/far_memory/failure.h"
#include "examples/far_memory/file_store.h"
#include "examples/far_memory/page.h"
#include "examples/far_memory/store.h"
#include "gtest/gtest.h"

namespace ptage::far_memory {
namespace {

Page Filled(char byte) {
  Page page;
  std::memset(page.bytes.data(), byte, kPageBytes);
  return page;
}

Page Text(int number) {
  Page page;
  for (std::size_t at = 0; at < kPageBytes; ++at) {
    page.bytes[at] =
        static_cast<std::byte>('a' + (at / 7 + std::size_t(number)) % 23);
  }
  return page;
}

// A linear congruential generator: nothing that deflate could find.
Page Noise(std::uint64_t seed) {
  Page page;
  for (std::byte& byte : page.bytes) {
    seed = seed * 6364136223846793005 + 1442695040888963407;
    byte = static_cast<std::byte>(seed >> 56);
  }
  return page;
}

struct Param {
  const char* name;
  std::unique_ptr<PageStore> (*make)(std::uint64_t pages);
};

class StoresTest : public testing::TestWithParam<Param> {};

INSTANTIATE_TEST_SUITE_P(
    Stores, StoresTest,
    testing::Values(
        Param{"compressed",
              [](std::uint64_t pages) -> std::unique_ptr<PageStore> {
                return *CompressedStore::Create(pages);
              }},
        Param{"file",
              [](std::uint64_t pages) -> std::unique_ptr<PageStore> {
                return *FileStore::Create(
                    absl::StrCat(testing::TempDir(), "/far_memory_store"),
                    pages);
              }}),
    [](const testing::TestParamInfo<Param>& tested) {
      return tested.param.name;
    });

TEST_P(StoresTest, WhatWasPutComesBack) {
  const std::unique_ptr<PageStore> store = GetParam().make(8);
  const Page pages[] = {Page(),  Filled('x'), Text(1),
                        Text(2), Noise(1),    Noise(2)};
  for (std::uint64_t i = 0; i < std::size(pages); ++i) {
    EXPECT_FALSE(store->Has(Gfn{i}));
    ASSERT_TRUE(store->Put(Gfn{i}, pages[i]).ok());
  }
  EXPECT_EQ(store->stats().pages, std::size(pages));
  for (int time = 0; time < 2; ++time) {
    for (std::uint64_t i = 0; i < std::size(pages); ++i) {
      ASSERT_TRUE(store->Has(Gfn{i}));
      Page back = Noise(99);
      ASSERT_TRUE(store->Get(Gfn{i}, back).ok());
      EXPECT_TRUE(back == pages[i]) << "page " << i;
    }
  }
  EXPECT_FALSE(store->Has(Gfn{7}));
}

TEST_P(StoresTest, ALaterCopyTakesThePlaceOfAnEarlierOne) {
  const std::unique_ptr<PageStore> store = GetParam().make(2);
  for (const Page& page : {Noise(1), Text(3), Page(), Noise(4)}) {
    ASSERT_TRUE(store->Put(Gfn{1}, page).ok());
    Page back;
    ASSERT_TRUE(store->Get(Gfn{1}, back).ok());
    EXPECT_TRUE(back == page);
    EXPECT_EQ(store->stats().pages, 1u);
  }
}

TEST_P(StoresTest, WhatIsDroppedTakesNoRoom) {
  const std::unique_ptr<PageStore> store = GetParam().make(4);
  ASSERT_TRUE(store->Put(Gfn{0}, Noise(1)).ok());
  ASSERT_TRUE(store->Put(Gfn{1}, Text(1)).ok());
  store->Drop(Gfn{0});
  store->Drop(Gfn{1});
  store->Drop(Gfn{2});  // was never there
  EXPECT_FALSE(store->Has(Gfn{0}) || store->Has(Gfn{1}));
  EXPECT_EQ(store->stats().pages, 0u);
  EXPECT_EQ(store->stats().bytes, 0u);
}

TEST_P(StoresTest, ADamagedCopyIsNotGivenOut) {
  const std::unique_ptr<PageStore> store = GetParam().make(4);
  const Page pages[] = {Filled('x'), Text(1), Noise(1)};
  for (std::uint64_t i = 0; i < std::size(pages); ++i) {
    ASSERT_TRUE(store->Put(Gfn{i}, pages[i]).ok());
    store->FlipBit(Gfn{i});
    Page back;
    const absl::Status status = store->Get(Gfn{i}, back);
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << "page " << i;
    EXPECT_TRUE(absl::StrContains(status.message(), absl::StrCat("page ", i)));
  }
}

TEST_P(StoresTest, ChecksumsTellPagesApart) {
  const std::unique_ptr<PageStore> store = GetParam().make(4);
  // CRC-32 (ISO 3309) of 4096 zero bytes.
  ASSERT_TRUE(store->Put(Gfn{0}, Page()).ok());
  EXPECT_EQ(store->ChecksumOf(Gfn{0}), 0xC71C0011u);
  ASSERT_TRUE(store->Put(Gfn{1}, Text(1)).ok());
  ASSERT_TRUE(store->Put(Gfn{2}, Text(2)).ok());
  EXPECT_NE(store->ChecksumOf(Gfn{1}), store->ChecksumOf(Gfn{2}));
}

TEST(CompressedStoreTest, ARepeatedWordTakesNothingAndNoiseTakesAPage) {
  const std::unique_ptr<CompressedStore> store = *CompressedStore::Create(4);
  ASSERT_TRUE(store->Put(Gfn{0}, Filled('x')).ok());
  const std::uint64_t record = store->stats().bytes;
  EXPECT_LT(record, 64u);
  ASSERT_TRUE(store->Put(Gfn{1}, Noise(1)).ok());
  EXPECT_EQ(store->stats().bytes, 2 * record + kPageBytes);
  ASSERT_TRUE(store->Put(Gfn{2}, Text(1)).ok());
  EXPECT_LT(store->stats().bytes, 3 * record + kPageBytes + kPageBytes / 8);
}

TEST(CompressedStoreTest, AFullStoreSaysSoAndCountsNothing) {
  const std::unique_ptr<CompressedStore> store =
      *CompressedStore::Create(4, 2 * kPageBytes);
  ASSERT_TRUE(store->Put(Gfn{0}, Noise(1)).ok());
  const StoreStats before = store->stats();
  const absl::Status status = store->Put(Gfn{1}, Noise(2));
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_FALSE(store->Has(Gfn{1}));
  EXPECT_EQ(store->stats().bytes, before.bytes);
  EXPECT_EQ(store->stats().pages, 1u);
}

TEST(FileStoreTest, AFileWithSomethingInItIsLeftAlone) {
  const std::string path = absl::StrCat(testing::TempDir(), "/precious");
  std::ofstream(path) << "mine";
  EXPECT_EQ(FileStore::Create(path, 4).status().code(),
            absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(std::filesystem::file_size(path), 4u);
  std::filesystem::remove(path);
}

TEST(FileStoreTest, TheFileIsGoneWhileItIsUsed) {
  const std::string path = absl::StrCat(testing::TempDir(), "/swap");
  const std::unique_ptr<FileStore> store = *FileStore::Create(path, 4);
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(FileStoreTest, AFullDiskIsAnErrorWithThePage) {
  const std::unique_ptr<FileStore> store = *FileStore::Create("/dev/full", 4);
  const absl::Status status = store->Put(Gfn{3}, Text(1));
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(absl::StrContains(status.message(), "page 3")) << status;
  EXPECT_FALSE(store->Has(Gfn{3}));
}

TEST(FileStoreTest, AFolderThatDoesNotExistIsAnError) {
  EXPECT_EQ(FileStore::Create("/nowhere/swap", 4).status().code(),
            absl::StatusCode::kNotFound);
}

TEST(FailingStoreTest, FailsAtTheUseThatWasAskedForAlone) {
  FailingStore full(*CompressedStore::Create(4),
                    {.kind = FailureKind::kStoreFull, .at = 2});
  EXPECT_TRUE(full.Put(Gfn{0}, Text(0)).ok());
  EXPECT_EQ(full.Put(Gfn{1}, Text(1)).code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(full.Put(Gfn{2}, Text(2)).ok());

  FailingStore flips(*CompressedStore::Create(4),
                     {.kind = FailureKind::kFlipBit, .at = 1});
  ASSERT_TRUE(flips.Put(Gfn{0}, Text(0)).ok());
  Page back;
  EXPECT_TRUE(flips.Get(Gfn{0}, back).ok());
  EXPECT_EQ(flips.Get(Gfn{0}, back).code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace ptage::far_memory
