// SPDX-License-Identifier: MIT OR Apache-2.0

#include "bench/trace.h"

#include <lzma.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "bench/access.h"

namespace ptage::bench {
namespace {

constexpr absl::string_view kMagic = "ptagetrc";
constexpr std::size_t kFixedBytes = 56;
constexpr std::size_t kCrcBytes = 4;

// Column one needs at most 6 bytes a record (33 bits of zigzag, 2 of kind),
// column two at most 5.
constexpr std::uint64_t kMaxBytesPerRecord = 11;
constexpr std::uint64_t kMinBytesPerRecord = 2;

// Decoding what this library writes takes 9 MiB, whatever its size.
constexpr std::uint64_t kDecoderMemory = std::uint64_t{64} << 20;
constexpr std::uint32_t kPreset = 6;

std::uint32_t Crc32(absl::string_view bytes) {
  return lzma_crc32(reinterpret_cast<const std::uint8_t*>(bytes.data()),
                    bytes.size(), 0);
}

template <class Unsigned>
void PutFixed(Unsigned value, std::string& to) {
  for (std::size_t i = 0; i < sizeof(value); ++i) {
    to.push_back(static_cast<char>(value >> (8 * i) & 0xFF));
  }
}

template <class Unsigned>
Unsigned GetFixed(absl::string_view bytes, std::size_t offset) {
  Unsigned value = 0;
  for (std::size_t i = 0; i < sizeof(value); ++i) {
    const auto byte = static_cast<unsigned char>(bytes[offset + i]);
    value |= static_cast<Unsigned>(Unsigned{byte} << (8 * i));
  }
  return value;
}

void PutVarint(std::uint64_t value, std::string& to) {
  while (value >= 0x80) {
    to.push_back(static_cast<char>((value & 0x7F) | 0x80));
    value >>= 7;
  }
  to.push_back(static_cast<char>(value));
}

void PutString(absl::string_view text, std::string& to) {
  PutVarint(text.size(), to);
  to.append(text.data(), text.size());
}

// Takes values off the front of `bytes`. Once one is missing or malformed, ok()
// is false and every later value is 0 or empty.
class Reader {
 public:
  explicit Reader(absl::string_view bytes) : left_(bytes) {}

  bool ok() const { return ok_; }
  bool AtEnd() const { return left_.empty(); }

  std::uint64_t Varint() {
    std::uint64_t value = 0;
    for (unsigned shift = 0; ok_ && shift < 63; shift += 7) {
      if (left_.empty()) break;
      const auto byte = static_cast<unsigned char>(left_.front());
      left_.remove_prefix(1);
      value |= std::uint64_t{byte & 0x7Fu} << shift;
      if (byte < 0x80) return value;
    }
    ok_ = false;
    return 0;
  }

  std::string String() {
    const std::uint64_t length = Varint();
    if (length > left_.size()) {
      ok_ = false;
      return "";
    }
    std::string text(left_.substr(0, length));
    left_.remove_prefix(length);
    return text;
  }

 private:
  absl::string_view left_;
  bool ok_ = true;
};

std::uint64_t Zigzag(std::int64_t value) {
  return static_cast<std::uint64_t>(value) << 1 ^
         static_cast<std::uint64_t>(value >> 63);
}

std::int64_t Unzigzag(std::uint64_t value) {
  return static_cast<std::int64_t>(value >> 1) ^
         -static_cast<std::int64_t>(value & 1);
}

std::string PackRecords(const std::vector<Record>& records) {
  std::string bytes;
  bytes.reserve(records.size() * 3);
  std::int64_t previous = 0;
  for (const Record& record : records) {
    const std::int64_t page = record.page;
    PutVarint(
        Zigzag(page - previous) << 2 | static_cast<std::uint64_t>(record.kind),
        bytes);
    previous = page;
  }
  for (const Record& record : records) PutVarint(record.repeat - 1, bytes);
  return bytes;
}

// Only what cannot be held in a Record is refused here; CheckTrace does the
// rest.
absl::StatusOr<std::vector<Record>> UnpackRecords(absl::string_view bytes,
                                                  std::uint64_t count) {
  constexpr std::uint64_t kMax32 = std::numeric_limits<std::uint32_t>::max();
  std::vector<Record> records;
  records.reserve(count);
  Reader reader(bytes);
  std::int64_t page = 0;
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint64_t value = reader.Varint();
    page += Unzigzag(value >> 2);
    if (!reader.ok() || page < 0 || page > std::int64_t{kMax32}) {
      return absl::DataLossError(
          absl::StrCat("corrupt: record ", i, " has no valid page"));
    }
    records.push_back(
        {static_cast<std::uint32_t>(page), static_cast<Access>(value & 3), 0});
  }
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint64_t repeat = reader.Varint() + 1;
    if (!reader.ok() || repeat > kMax32) {
      return absl::DataLossError(
          absl::StrCat("corrupt: record ", i, " has no valid repeat count"));
    }
    records[i].repeat = static_cast<std::uint32_t>(repeat);
  }
  if (!reader.AtEnd()) {
    return absl::DataLossError(
        absl::StrCat("corrupt: bytes follow the last of ", count, " records"));
  }
  return records;
}

absl::StatusOr<std::string> Compress(absl::string_view bytes) {
  std::string packed(lzma_stream_buffer_bound(bytes.size()), '\0');
  std::size_t used = 0;
  const lzma_ret result = lzma_easy_buffer_encode(
      kPreset, LZMA_CHECK_NONE, nullptr,
      reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size(),
      reinterpret_cast<std::uint8_t*>(packed.data()), &used, packed.size());
  if (result != LZMA_OK) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "liblzma cannot compress ", bytes.size(), " bytes: error ", result));
  }
  packed.resize(used);
  return packed;
}

// At least `least` and at most `most` bytes. Memory grows with what the stream
// really holds, not with what the header promises.
absl::StatusOr<std::string> Decompress(absl::string_view packed,
                                       std::uint64_t least,
                                       std::uint64_t most) {
  lzma_stream stream = LZMA_STREAM_INIT;
  lzma_ret result = lzma_stream_decoder(&stream, kDecoderMemory, 0);
  std::string bytes;
  std::vector<std::uint8_t> piece(
      std::min<std::uint64_t>(std::uint64_t{1} << 20, most + 1));
  stream.next_in = reinterpret_cast<const std::uint8_t*>(packed.data());
  stream.avail_in = packed.size();
  while (result == LZMA_OK && bytes.size() <= most) {
    stream.next_out = piece.data();
    stream.avail_out = piece.size();
    result = lzma_code(&stream, LZMA_FINISH);
    bytes.append(reinterpret_cast<const char*>(piece.data()),
                 piece.size() - stream.avail_out);
  }
  const bool all_read = stream.avail_in == 0;
  lzma_end(&stream);
  if (result != LZMA_STREAM_END || !all_read || bytes.size() < least ||
      bytes.size() > most) {
    return absl::DataLossError(absl::StrCat(
        "corrupt: ", packed.size(),
        " bytes of compressed records do not decompress to ", least, " to ",
        most, " bytes (liblzma says ", result, ")"));
  }
  return bytes;
}

absl::Status Annotate(const std::string& path, const absl::Status& status) {
  if (status.ok()) return status;
  return absl::Status(status.code(),
                      absl::StrCat(path, ": ", status.message()));
}

}  // namespace

absl::Status CheckTrace(const Trace& trace) {
  if (trace.records.size() > kMaxTraceRecords) {
    return absl::InvalidArgumentError(
        absl::StrCat(trace.records.size(), " records; at most ",
                     kMaxTraceRecords, " are allowed"));
  }
  if (trace.page_bits < 10 || trace.page_bits > 30) {
    return absl::InvalidArgumentError(
        absl::StrCat("page size 2^", trace.page_bits, " is not sensible"));
  }
  if (trace.ending != Ending::kProgramEnded && trace.ending != Ending::kLimit) {
    return absl::InvalidArgumentError(
        absl::StrCat("unknown ending ", static_cast<unsigned>(trace.ending)));
  }
  std::uint64_t references = 0;
  std::uint32_t pages = 0;
  for (std::size_t i = 0; i < trace.records.size(); ++i) {
    const Record& record = trace.records[i];
    if (static_cast<unsigned>(record.kind) >= kAccessKinds) {
      return absl::InvalidArgumentError(
          absl::StrCat("record ", i, " has unknown kind ",
                       static_cast<unsigned>(record.kind)));
    }
    if (record.repeat == 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("record ", i, " has repeat count 0"));
    }
    if (record.page > pages) {
      return absl::InvalidArgumentError(absl::StrCat(
          "record ", i, " names page ", record.page, " before ", pages));
    }
    if (record.page == pages) ++pages;
    references += record.repeat;
  }
  if (pages != trace.pages) {
    return absl::InvalidArgumentError(absl::StrCat(
        "records name ", pages, " pages, the header ", trace.pages));
  }
  if (references != trace.references) {
    return absl::InvalidArgumentError(
        absl::StrCat("repeat counts add up to ", references,
                     " references, the header says ", trace.references));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> SerializeTrace(const Trace& trace) {
  if (absl::Status status = CheckTrace(trace); !status.ok()) return status;
  std::string description;
  PutString(trace.program, description);
  PutString(trace.package, description);
  PutString(trace.recorder, description);
  PutString(trace.about, description);
  PutVarint(trace.arguments.size(), description);
  for (const std::string& argument : trace.arguments) {
    PutString(argument, description);
  }
  if (description.size() > std::numeric_limits<std::uint32_t>::max()) {
    return absl::InvalidArgumentError(
        absl::StrCat("a description of ", description.size(), " bytes"));
  }
  absl::StatusOr<std::string> packed = Compress(PackRecords(trace.records));
  if (!packed.ok()) return packed.status();

  std::string bytes(kMagic);
  PutFixed<std::uint32_t>(kTraceVersion, bytes);
  PutFixed<std::uint32_t>(trace.page_bits, bytes);
  PutFixed<std::uint64_t>(trace.records.size(), bytes);
  PutFixed<std::uint64_t>(trace.references, bytes);
  PutFixed<std::uint64_t>(trace.pages, bytes);
  PutFixed<std::uint32_t>(static_cast<std::uint32_t>(trace.ending), bytes);
  PutFixed<std::uint32_t>(static_cast<std::uint32_t>(description.size()),
                          bytes);
  PutFixed<std::uint64_t>(packed->size(), bytes);
  bytes += description;
  bytes += *packed;
  PutFixed<std::uint32_t>(Crc32(bytes), bytes);
  return bytes;
}

absl::StatusOr<Trace> ParseTrace(absl::string_view bytes) {
  if (bytes.substr(0, kMagic.size()) !=
      kMagic.substr(0, std::min(bytes.size(), kMagic.size()))) {
    return absl::InvalidArgumentError("not a page trace");
  }
  if (bytes.size() < kFixedBytes + kCrcBytes) {
    return absl::DataLossError(absl::StrCat("truncated: ", bytes.size(),
                                            " bytes are fewer than a header"));
  }
  const auto version = GetFixed<std::uint32_t>(bytes, 8);
  if (version > kTraceVersion) {
    return absl::InvalidArgumentError(
        absl::StrCat("version ", version, " is newer than ", kTraceVersion,
                     ", the newest that this build reads"));
  }
  if (version != kTraceVersion) {
    return absl::DataLossError(
        absl::StrCat("corrupt: there is no version ", version));
  }
  const auto description_bytes = GetFixed<std::uint32_t>(bytes, 44);
  const auto packed_bytes = GetFixed<std::uint64_t>(bytes, 48);
  // Sizes are compared by subtraction: a sum of these could overflow.
  const std::uint64_t left = bytes.size() - kFixedBytes - kCrcBytes;
  if (description_bytes > left || packed_bytes > left - description_bytes) {
    return absl::DataLossError(
        absl::StrCat("truncated or corrupt: ", bytes.size(),
                     " bytes, where the header promises more"));
  }
  if (packed_bytes != left - description_bytes) {
    return absl::DataLossError(
        absl::StrCat("corrupt: ", left - description_bytes - packed_bytes,
                     " bytes more than the header promises"));
  }
  const absl::string_view checked = bytes.substr(0, bytes.size() - kCrcBytes);
  Trace trace;
  trace.crc = GetFixed<std::uint32_t>(bytes, checked.size());
  if (const std::uint32_t crc = Crc32(checked); crc != trace.crc) {
    return absl::DataLossError(absl::StrCat(
        "corrupt: its CRC is ", absl::Hex(crc, absl::kZeroPad8),
        ", the file says ", absl::Hex(trace.crc, absl::kZeroPad8)));
  }

  trace.page_bits = GetFixed<std::uint32_t>(bytes, 12);
  const auto record_count = GetFixed<std::uint64_t>(bytes, 16);
  trace.references = GetFixed<std::uint64_t>(bytes, 24);
  const auto pages = GetFixed<std::uint64_t>(bytes, 32);
  trace.ending = static_cast<Ending>(GetFixed<std::uint32_t>(bytes, 40));
  if (record_count > kMaxTraceRecords || pages > record_count) {
    return absl::DataLossError(absl::StrCat("corrupt: ", record_count,
                                            " records of ", pages, " pages"));
  }
  trace.pages = static_cast<std::uint32_t>(pages);

  Reader description(bytes.substr(kFixedBytes, description_bytes));
  trace.program = description.String();
  trace.package = description.String();
  trace.recorder = description.String();
  trace.about = description.String();
  const std::uint64_t arguments = description.Varint();
  for (std::uint64_t i = 0; description.ok() && i < arguments; ++i) {
    trace.arguments.push_back(description.String());
  }
  if (!description.ok() || !description.AtEnd()) {
    return absl::DataLossError(absl::StrCat(
        "corrupt: a description of ", description_bytes, " malformed bytes"));
  }

  absl::StatusOr<std::string> unpacked = Decompress(
      bytes.substr(kFixedBytes + description_bytes, packed_bytes),
      record_count * kMinBytesPerRecord, record_count * kMaxBytesPerRecord);
  if (!unpacked.ok()) return unpacked.status();
  absl::StatusOr<std::vector<Record>> records =
      UnpackRecords(*unpacked, record_count);
  if (!records.ok()) return records.status();
  trace.records = *std::move(records);
  if (const absl::Status status = CheckTrace(trace); !status.ok()) {
    return absl::DataLossError(absl::StrCat("corrupt: ", status.message()));
  }
  return trace;
}

absl::StatusOr<Trace> ReadTrace(const std::string& path) {
  // A directory opens, and only fails to be read.
  struct stat what;
  if (stat(path.c_str(), &what) != 0) {
    return Annotate(path, absl::ErrnoToStatus(errno, "cannot be read"));
  }
  if (!S_ISREG(what.st_mode)) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": not a regular file"));
  }
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    return Annotate(path, absl::ErrnoToStatus(errno, "cannot be read"));
  }
  const std::string bytes{std::istreambuf_iterator<char>(file),
                          std::istreambuf_iterator<char>()};
  if (file.bad()) {
    return absl::DataLossError(absl::StrCat(path, ": cannot be read"));
  }
  absl::StatusOr<Trace> trace = ParseTrace(bytes);
  if (!trace.ok()) return Annotate(path, trace.status());
  return trace;
}

absl::Status WriteTrace(const std::string& path, const Trace& trace) {
  absl::StatusOr<std::string> bytes = SerializeTrace(trace);
  if (!bytes.ok()) return Annotate(path, bytes.status());
  // Renaming a file to the name of a device would replace the device.
  struct stat what;
  if (stat(path.c_str(), &what) == 0 && !S_ISREG(what.st_mode)) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": not a regular file"));
  }
  const std::string partial = absl::StrCat(path, ".partial.", getpid());
  std::ofstream file(partial, std::ios::binary | std::ios::trunc);
  if (!file) {
    return Annotate(path, absl::ErrnoToStatus(errno, "cannot be written"));
  }
  file << *bytes;
  file.close();
  if (!file || std::rename(partial.c_str(), path.c_str()) != 0) {
    const int error = errno;
    std::remove(partial.c_str());
    return Annotate(path, absl::ErrnoToStatus(error, "cannot be written"));
  }
  return absl::OkStatus();
}

}  // namespace ptage::bench
