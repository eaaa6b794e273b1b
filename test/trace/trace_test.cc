// SPDX-License-Identifier: MIT OR Apache-2.0

#include "bench/trace.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "bench/access.h"
#include "gtest/gtest.h"

namespace ptage::bench {
namespace {

// CRC-32 of IEEE 802.3, bit by bit from its definition.
std::uint32_t Crc32(absl::string_view bytes) {
  std::uint32_t crc = 0xFFFFFFFF;
  for (const char byte : bytes) {
    crc ^= static_cast<unsigned char>(byte);
    for (int bit = 0; bit < 8; ++bit) {
      crc = (crc & 1) != 0 ? crc >> 1 ^ 0xEDB88320u : crc >> 1;
    }
  }
  return ~crc;
}

std::uint64_t Little(absl::string_view bytes, std::size_t offset,
                     std::size_t size) {
  std::uint64_t value = 0;
  for (std::size_t i = size; i-- > 0;) {
    value = value << 8 | static_cast<unsigned char>(bytes[offset + i]);
  }
  return value;
}

void SetLittle(std::string& bytes, std::size_t offset, std::size_t size,
               std::uint64_t value) {
  for (std::size_t i = 0; i < size; ++i) {
    bytes[offset + i] = static_cast<char>(value >> (8 * i) & 0xFF);
  }
}

void MendCrc(std::string& bytes) {
  const std::size_t body = bytes.size() - 4;
  SetLittle(bytes, body, 4, Crc32(absl::string_view(bytes).substr(0, body)));
}

Trace Small() {
  Trace trace;
  trace.program = "sort";
  trace.arguments = {"-n", "", "a b.txt"};
  trace.package = "coreutils 9.1-1";
  trace.recorder = "qemu-user 7.2";
  trace.about = "ten lines";
  trace.ending = Ending::kLimit;
  trace.records = {{0, Access::kFetch, 1},
                   {1, Access::kWrite, 0xFFFFFFFF},
                   {0, Access::kRead, 300},
                   {2, Access::kRead, 2}};
  trace.references = 1 + std::uint64_t{0xFFFFFFFF} + 300 + 2;
  trace.pages = 3;
  return trace;
}

// Many pages, in order of first reference, with long ways back.
Trace Large(std::size_t records) {
  std::mt19937 random(1);
  Trace trace;
  trace.program = "p";
  for (std::size_t i = 0; i < records; ++i) {
    const std::uint32_t page =
        random() % 4 == 0 || trace.pages == 0
            ? trace.pages
            : static_cast<std::uint32_t>(random() % trace.pages);
    if (page == trace.pages) ++trace.pages;
    const auto repeat = static_cast<std::uint32_t>(random() % 1000 + 1);
    trace.references += repeat;
    trace.records.push_back({page, static_cast<Access>(random() % 3), repeat});
  }
  return trace;
}

std::string Bytes(const Trace& trace) {
  const absl::StatusOr<std::string> bytes = SerializeTrace(trace);
  EXPECT_TRUE(bytes.ok()) << bytes.status();
  return bytes.ok() ? *bytes : std::string();
}

void ExpectSame(const Trace& read, const Trace& written) {
  EXPECT_EQ(read.program, written.program);
  EXPECT_EQ(read.arguments, written.arguments);
  EXPECT_EQ(read.package, written.package);
  EXPECT_EQ(read.recorder, written.recorder);
  EXPECT_EQ(read.about, written.about);
  EXPECT_EQ(read.page_bits, written.page_bits);
  EXPECT_EQ(read.ending, written.ending);
  EXPECT_EQ(read.references, written.references);
  EXPECT_EQ(read.pages, written.pages);
  EXPECT_EQ(read.records, written.records);
}

std::string Folder(const std::string& name) {
  const std::string folder = absl::StrCat(testing::TempDir(), "/", name);
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  return folder;
}

TEST(TraceTest, ReadsBackWhatWasWritten) {
  for (const Trace& written : {Small(), Large(50000), Trace{}}) {
    const absl::StatusOr<Trace> read = ParseTrace(Bytes(written));
    ASSERT_TRUE(read.ok()) << read.status();
    ExpectSame(*read, written);
  }
}

TEST(TraceTest, TheHeaderLiesWhereTheFormatSays) {
  const std::string bytes = Bytes(Small());
  EXPECT_EQ(bytes.substr(0, 8), "ptagetrc");
  EXPECT_EQ(Little(bytes, 8, 4), 1u);
  EXPECT_EQ(Little(bytes, 12, 4), 12u);
  EXPECT_EQ(Little(bytes, 16, 8), 4u);
  EXPECT_EQ(Little(bytes, 24, 8), 4294967598u);
  EXPECT_EQ(Little(bytes, 32, 8), 3u);
  EXPECT_EQ(Little(bytes, 40, 4), 1u);
  const std::uint64_t description = Little(bytes, 44, 4);
  // Five strings and their lengths; a number and three more.
  EXPECT_EQ(description, 5u + 16 + 14 + 10 + 1 + 3 + 1 + 8);
  EXPECT_EQ(bytes.substr(56, 5), "\x04sort");
  const std::uint64_t packed = Little(bytes, 48, 8);
  EXPECT_EQ(bytes.substr(56 + description, 6), std::string("\xFD"
                                                           "7zXZ\0",
                                                           6));
  ASSERT_EQ(bytes.size(), 56 + description + packed + 4);
  EXPECT_EQ(Little(bytes, bytes.size() - 4, 4),
            Crc32(absl::string_view(bytes).substr(0, bytes.size() - 4)));
}

TEST(TraceTest, TheCrcIsThatOfTheFile) {
  const std::string bytes = Bytes(Small());
  const absl::StatusOr<Trace> trace = ParseTrace(bytes);
  ASSERT_TRUE(trace.ok()) << trace.status();
  EXPECT_EQ(trace->crc, Little(bytes, bytes.size() - 4, 4));
}

TEST(TraceTest, NoBeginningOfATraceIsATrace) {
  for (const Trace& whole : {Small(), Large(2000)}) {
    const std::string bytes = Bytes(whole);
    for (std::size_t length = 0; length < bytes.size(); ++length) {
      const absl::StatusOr<Trace> trace =
          ParseTrace(absl::string_view(bytes).substr(0, length));
      ASSERT_FALSE(trace.ok()) << length;
      ASSERT_EQ(trace.status().code(), absl::StatusCode::kDataLoss) << length;
      ASSERT_TRUE(absl::StrContains(trace.status().message(), "truncated"))
          << trace.status();
    }
  }
}

TEST(TraceTest, BytesAfterTheEndAreRefused) {
  const absl::StatusOr<Trace> trace = ParseTrace(Bytes(Small()) + "x");
  ASSERT_FALSE(trace.ok());
  EXPECT_EQ(trace.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_TRUE(absl::StrContains(trace.status().message(), "1 bytes more"));
}

TEST(TraceTest, NoChangedByteIsAccepted) {
  for (const Trace& whole : {Small(), Large(300)}) {
    const std::string bytes = Bytes(whole);
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      for (const unsigned mask : {0x01u, 0x10u, 0x80u, 0xFFu}) {
        std::string changed = bytes;
        changed[i] = static_cast<char>(changed[i] ^ static_cast<char>(mask));
        ASSERT_FALSE(ParseTrace(changed).ok()) << "byte " << i;
      }
    }
  }
}

// A file that someone made on purpose: whatever it says, it is refused, or is
// a trace by every rule.
TEST(TraceTest, AChangedByteUnderAMendedCrcNeverMakesABrokenTrace) {
  const std::string bytes = Bytes(Large(300));
  std::size_t accepted = 0;
  for (std::size_t i = 0; i < bytes.size() - 4; ++i) {
    for (const unsigned mask : {1u << (i % 8), 0xFFu}) {
      std::string changed = bytes;
      changed[i] = static_cast<char>(changed[i] ^ static_cast<char>(mask));
      MendCrc(changed);
      const absl::StatusOr<Trace> trace = ParseTrace(changed);
      if (!trace.ok()) continue;
      ++accepted;
      ASSERT_TRUE(CheckTrace(*trace).ok()) << "byte " << i;
    }
  }
  // The program's name, for one, can be any.
  EXPECT_GT(accepted, 0u);
}

// 2^63 + 4 is 4 once it is doubled in 64 bits.
TEST(TraceTest, PromisesOfTheHeaderCostNoMemory) {
  for (const std::uint64_t records :
       {(std::uint64_t{1} << 28) + 1, (std::uint64_t{1} << 63) + 4,
        ~std::uint64_t{0}}) {
    std::string bytes = Bytes(Small());
    SetLittle(bytes, 16, 8, records);
    MendCrc(bytes);
    const absl::StatusOr<Trace> trace = ParseTrace(bytes);
    ASSERT_FALSE(trace.ok());
    EXPECT_EQ(trace.status().code(), absl::StatusCode::kDataLoss);
    EXPECT_TRUE(
        absl::StrContains(trace.status().message(), absl::StrCat(records)))
        << trace.status();
  }
  // As many as are allowed, none of which are there.
  std::string bytes = Bytes(Small());
  SetLittle(bytes, 16, 8, std::uint64_t{1} << 28);
  MendCrc(bytes);
  EXPECT_FALSE(ParseTrace(bytes).ok());
}

TEST(TraceTest, MorePagesThanRecordsAreRefused) {
  std::string bytes = Bytes(Small());
  SetLittle(bytes, 32, 8, (std::uint64_t{1} << 32) + 3);
  MendCrc(bytes);
  const absl::StatusOr<Trace> trace = ParseTrace(bytes);
  ASSERT_FALSE(trace.ok());
  EXPECT_TRUE(absl::StrContains(trace.status().message(), "4294967299 pages"))
      << trace.status();
}

// The columns of two records are 2, 0 (fetch, read of page 0) and 0, 4. A
// header of one record takes the first two for a fetch repeated once.
TEST(TraceTest, BytesAfterTheLastRecordAreRefused) {
  Trace two;
  two.records = {{0, Access::kFetch, 1}, {0, Access::kRead, 5}};
  two.references = 6;
  two.pages = 1;
  std::string bytes = Bytes(two);
  SetLittle(bytes, 16, 8, 1);
  SetLittle(bytes, 24, 8, 1);
  MendCrc(bytes);
  const absl::StatusOr<Trace> trace = ParseTrace(bytes);
  ASSERT_FALSE(trace.ok());
  EXPECT_TRUE(absl::StrContains(trace.status().message(),
                                "bytes follow the last of 1 records"))
      << trace.status();
}

TEST(TraceTest, ANewerVersionIsNamed) {
  std::string bytes = Bytes(Small());
  SetLittle(bytes, 8, 4, 7);
  const absl::StatusOr<Trace> trace = ParseTrace(bytes);
  ASSERT_FALSE(trace.ok());
  EXPECT_EQ(trace.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(
      absl::StrContains(trace.status().message(), "version 7 is newer"));
}

TEST(TraceTest, AnotherFormatIsNoTrace) {
  const absl::StatusOr<Trace> trace = ParseTrace(std::string(1000, 'x'));
  ASSERT_FALSE(trace.ok());
  EXPECT_EQ(trace.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(trace.status().message(), "not a page trace");
}

void ExpectRefused(const Trace& trace, absl::string_view reason) {
  const absl::Status status = CheckTrace(trace);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(absl::StrContains(status.message(), reason)) << status;
  EXPECT_FALSE(SerializeTrace(trace).ok());
}

TEST(TraceTest, EachRuleOfATraceIsChecked) {
  ASSERT_TRUE(CheckTrace(Small()).ok());
  Trace trace = Small();
  trace.records[3].page = 4;
  ExpectRefused(trace, "record 3 names page 4 before 2");
  trace = Small();
  trace.records[2].kind = static_cast<Access>(3);
  ExpectRefused(trace, "record 2 has unknown kind 3");
  trace = Small();
  trace.records[0].repeat = 0;
  ExpectRefused(trace, "record 0 has repeat count 0");
  trace = Small();
  trace.pages = 4;
  ExpectRefused(trace, "records name 3 pages, the header 4");
  trace = Small();
  --trace.references;
  ExpectRefused(trace, "4294967598 references, the header says 4294967597");
  trace = Small();
  trace.page_bits = 64;
  ExpectRefused(trace, "page size 2^64");
  trace = Small();
  trace.ending = static_cast<Ending>(2);
  ExpectRefused(trace, "unknown ending 2");
}

TEST(TraceTest, FilesHoldTheSameBytes) {
  const std::string folder = Folder("trace_files");
  const std::string path = absl::StrCat(folder, "/small.trace");
  ASSERT_TRUE(WriteTrace(path, Small()).ok());
  ASSERT_TRUE(WriteTrace(path, Small()).ok()) << "over a file that is there";
  const absl::StatusOr<Trace> trace = ReadTrace(path);
  ASSERT_TRUE(trace.ok()) << trace.status();
  ExpectSame(*trace, Small());
  EXPECT_EQ(std::filesystem::file_size(path), Bytes(Small()).size());
  std::size_t files = 0;
  for ([[maybe_unused]] const auto& entry :
       std::filesystem::directory_iterator(folder)) {
    ++files;
  }
  EXPECT_EQ(files, 1u) << "nothing partial is left";
}

TEST(TraceTest, ErrorsOfFilesBeginWithThePath) {
  const std::string folder = Folder("trace_errors");
  const std::string path = absl::StrCat(folder, "/absent.trace");
  absl::StatusOr<Trace> trace = ReadTrace(path);
  EXPECT_EQ(trace.status().code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(absl::StartsWith(trace.status().message(), path));

  trace = ReadTrace(folder);
  EXPECT_EQ(trace.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(absl::StartsWith(trace.status().message(), folder));

  std::ofstream(path) << Bytes(Small()).substr(0, 100);
  trace = ReadTrace(path);
  EXPECT_EQ(trace.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_TRUE(absl::StartsWith(trace.status().message(), path));

  EXPECT_EQ(WriteTrace(absl::StrCat(folder, "/no/folder"), Small()).code(),
            absl::StatusCode::kNotFound);
}

TEST(TraceTest, WhatIsNoFileIsNotReplaced) {
  const std::string pipe = absl::StrCat(Folder("trace_pipe"), "/pipe");
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_EQ(WriteTrace(pipe, Small()).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(std::filesystem::is_fifo(pipe));
  EXPECT_EQ(ReadTrace(pipe).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace ptage::bench
