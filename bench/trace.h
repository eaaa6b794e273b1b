// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Page-reference traces of real programs, as files.
//
// The format, version 1. Integers are little-endian; a varint holds 7 bits a
// byte, least significant first, its top bit set in all bytes but the last; a
// string is the varint of its length and its bytes.
//
//   offset 0   8 bytes   magic, "ptagetrc"
//          8   u32       version, 1
//         12   u32       log2 of the page size in bytes
//         16   u64       number of records
//         24   u64       number of references: the sum of their repeat counts
//         32   u64       number of pages
//         40   u32       how recording ended (Ending)
//         44   u32       bytes of the description that follows
//         48   u64       bytes of the compressed records
//         56   ...       description: strings program, package, recorder,
//         about;
//                        varint number of arguments, that many strings
//              ...       the records, compressed as one .xz stream (liblzma)
//              u32       CRC-32 (IEEE 802.3) of every byte before it
//
// Uncompressed, the records are two columns, first one varint a record,
//
//   zigzag(page - page of the record before, or 0) * 4 + kind
//
// where zigzag(d) is 2d for d >= 0 and -2d - 1 below, then one varint a record,
// repeat - 1. Pages are numbered 0, 1, 2, ... in the order in which records
// first name them. What a record stands for is in tools/trace/fold.h.

#ifndef PTAGE_BENCH_TRACE_H_
#define PTAGE_BENCH_TRACE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "bench/access.h"

namespace ptage::bench {

inline constexpr std::uint32_t kTraceVersion = 1;

// A file that claims more is refused before memory is spent on it.
inline constexpr std::uint64_t kMaxTraceRecords = std::uint64_t{1} << 28;

struct Record {
  // Number of the page, counted from 0 in the order of first references.
  std::uint32_t page;
  Access kind;
  // References that the record stands for; at least 1.
  std::uint32_t repeat;

  friend bool operator==(const Record&, const Record&) = default;
};

// How recording ended.
enum class Ending : std::uint32_t {
  kProgramEnded = 0,
  // A limit on references or records stopped the program.
  kLimit = 1,
};

struct Trace {
  // As it was named on the command line, and its arguments.
  std::string program;
  std::vector<std::string> arguments;
  // Name and version of the package that the program is from, else "unknown".
  std::string package;
  // What emulated the program.
  std::string recorder;
  // Free text: the input, for a reader.
  std::string about;
  // log2 of the page size in bytes.
  std::uint32_t page_bits = 12;
  Ending ending = Ending::kProgramEnded;
  // The sum of the records' repeat counts.
  std::uint64_t references = 0;
  // Every record's page is below this, and every number below this occurs.
  std::uint32_t pages = 0;
  // CRC-32 of the file; written and checked here, ignored by SerializeTrace.
  std::uint32_t crc = 0;
  std::vector<Record> records;
};

// Checks a trace by the rules above (counts, kinds, page numbers), which a
// reader relies on: InvalidArgument, naming the offending value.
absl::Status CheckTrace(const Trace& trace);

// The bytes of a file that holds `trace`, which must pass CheckTrace.
absl::StatusOr<std::string> SerializeTrace(const Trace& trace);

// The reverse. Never returns a trace that CheckTrace refuses. Errors name the
// offending value:
//   InvalidArgument  not a trace, or one of a newer version
//   DataLoss         truncated or corrupt
absl::StatusOr<Trace> ParseTrace(absl::string_view bytes);

// The same with files; errors begin with the path. NotFound and the like where
// the file cannot be read or written. A file is written under another name and
// renamed, so that none is ever there in part.
absl::StatusOr<Trace> ReadTrace(const std::string& path);
absl::Status WriteTrace(const std::string& path, const Trace& trace);

}  // namespace ptage::bench

#endif  // PTAGE_BENCH_TRACE_H_
