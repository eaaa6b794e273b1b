// SPDX-License-Identifier: MIT OR Apache-2.0

#include "tools/trace/fold.h"

#include <cstddef>
#include <cstdint>
#include <map>
#include <random>
#include <utility>
#include <vector>

#include "bench/access.h"
#include "gtest/gtest.h"

namespace ptage::trace {
namespace {

using bench::Access;

struct Collect {
  std::vector<FoldedRecord>* records;
  void operator()(const FoldedRecord& record) const {
    records->push_back(record);
  }
};

struct Reference {
  std::uint64_t page;
  Access kind;
};

using Key = std::pair<std::uint64_t, Access>;

std::vector<FoldedRecord> Fold(const std::vector<Reference>& references) {
  std::vector<FoldedRecord> records;
  Folder folder(Collect{&records});
  for (const Reference& reference : references) {
    folder.Touch(reference.page, reference.kind);
  }
  folder.Flush();
  EXPECT_EQ(folder.references(), references.size());
  EXPECT_EQ(folder.records(), records.size());
  return records;
}

// A program that walks: mostly the pages at hand, at times another one.
std::vector<Reference> Wander(unsigned seed, std::size_t count) {
  std::mt19937 random(seed);
  std::vector<Reference> references;
  std::uint64_t home = 0;
  for (std::size_t i = 0; i < count; ++i) {
    if (random() % 50 == 0) home = random() % 1000;
    references.push_back(
        {home + random() % 5, static_cast<Access>(random() % 3)});
  }
  return references;
}

void ExpectRecord(const FoldedRecord& record, std::uint64_t page, Access kind,
                  std::uint32_t repeat) {
  EXPECT_EQ(record.page, page);
  EXPECT_EQ(record.kind, kind);
  EXPECT_EQ(record.repeat, repeat);
}

TEST(FoldTest, ALoopOverFewPagesIsOneRecordEach) {
  std::vector<Reference> references;
  for (int i = 0; i < 100; ++i) {
    references.push_back({7, Access::kFetch});
    references.push_back({9, Access::kRead});
    references.push_back({9, Access::kWrite});
  }
  const std::vector<FoldedRecord> records = Fold(references);
  ASSERT_EQ(records.size(), 3u);
  ExpectRecord(records[0], 7, Access::kFetch, 100);
  ExpectRecord(records[1], 9, Access::kRead, 100);
  ExpectRecord(records[2], 9, Access::kWrite, 100);
}

// With 4 held, page 0 is let go by the 4th record after its own.
TEST(FoldTest, ABusyPageIsRecordedAgainAfterFourOthers) {
  std::vector<Reference> references;
  for (std::uint64_t page = 1; page <= 8; ++page) {
    references.push_back({0, Access::kRead});
    references.push_back({page, Access::kRead});
  }
  const std::vector<FoldedRecord> records = Fold(references);
  const std::vector<std::pair<std::uint64_t, std::uint32_t>> expected = {
      {0, 4}, {1, 1}, {2, 1}, {3, 1}, {4, 1},
      {0, 4}, {5, 1}, {6, 1}, {7, 1}, {8, 1}};
  ASSERT_EQ(records.size(), expected.size());
  for (std::size_t i = 0; i < records.size(); ++i) {
    ExpectRecord(records[i], expected[i].first, Access::kRead,
                 expected[i].second);
  }
}

// What the header promises about blocks, checked against the references
// themselves: each block's records name, with kinds and numbers, exactly the
// references made from its first one to the next block's first one.
TEST(FoldTest, EveryBlockNamesExactlyTheReferencesMadeDuringIt) {
  for (unsigned seed = 1; seed <= 5; ++seed) {
    SCOPED_TRACE(seed);
    const std::vector<Reference> references = Wander(seed, 30000);
    std::vector<FoldedRecord> records;
    Folder folder(Collect{&records});
    std::vector<std::map<Key, std::uint64_t>> made;
    for (const Reference& reference : references) {
      const std::uint64_t before = folder.records();
      folder.Touch(reference.page, reference.kind);
      if (folder.records() != before && before % kBlock == 0) {
        made.emplace_back();
      }
      ++made.back()[{reference.page, reference.kind}];
    }
    folder.Flush();
    ASSERT_GT(made.size(), 5u);
    std::vector<std::map<Key, std::uint64_t>> recorded(made.size());
    for (std::size_t i = 0; i < records.size(); ++i) {
      recorded[i / kBlock][{records[i].page, records[i].kind}] +=
          records[i].repeat;
    }
    EXPECT_EQ(recorded, made);
  }
}

// No record counts a reference made kRecent or more records after its own
// first one: replaying the stream against the records, each reference finds
// its record among the last kRecent started, with count left.
TEST(FoldTest, NoReferenceIsCountedInAnOldRecord) {
  const std::vector<Reference> references = Wander(9, 30000);
  std::vector<FoldedRecord> records = Fold(references);
  std::size_t started = 0;
  for (const Reference& reference : references) {
    bool found = false;
    const std::size_t oldest = started < kRecent ? 0 : started - kRecent;
    for (std::size_t i = oldest; i < started && !found; ++i) {
      FoldedRecord& record = records[i];
      if (record.page == reference.page && record.kind == reference.kind &&
          record.repeat > 0) {
        --record.repeat;
        found = true;
      }
    }
    if (found) continue;
    ASSERT_LT(started, records.size());
    ASSERT_EQ(records[started].page, reference.page);
    ASSERT_EQ(records[started].kind, reference.kind);
    --records[started].repeat;
    ++started;
  }
  EXPECT_EQ(started, records.size());
  for (const FoldedRecord& record : records) EXPECT_EQ(record.repeat, 0u);
}

}  // namespace
}  // namespace ptage::trace
