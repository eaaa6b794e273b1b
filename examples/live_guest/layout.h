// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Where a guest's RAM lies: which guest-physical addresses are which bytes of
// which memory backend, as QEMU itself lists them.

#ifndef PTAGE_EXAMPLES_LIVE_GUEST_LAYOUT_H_
#define PTAGE_EXAMPLES_LIVE_GUEST_LAYOUT_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace ptage::live_guest {

// RAM that follows one another, in the guest and in its backend.
struct RamPiece {
  std::uint64_t address;  // the first guest-physical one
  std::uint64_t bytes;
  std::string region;  // the name of the memory region
  std::uint64_t offset;

  friend bool operator==(const RamPiece&, const RamPiece&) = default;
};

// The RAM in what "info mtree -f" prints: of the flat view that the address
// space "memory" has, so neither of I/O ports nor of system management mode. In
// ascending order; what goes on in guest and backend is one piece. ROM and the
// memory of devices are not in it, nor is what does not fill a page.
// FailedPrecondition: no such view, no RAM in it, or not in this form.
[[nodiscard]] inline absl::StatusOr<std::vector<RamPiece>> ParseFlatView(
    absl::string_view text);

// ---------------------------------------------------------------------------

namespace internal {

// "0000000000100000-000000007fffffff (prio 0, ram): m @0000000000100000", and
// perhaps more words. False: it has another form. A piece of no bytes: it is no
// RAM.
inline bool ParseFlatLine(absl::string_view line, RamPiece& piece) {
  const std::vector<absl::string_view> words =
      absl::StrSplit(line, ' ', absl::SkipEmpty());
  if (words.size() < 5 || words[1] != "(prio") return false;
  const std::vector<absl::string_view> ends = absl::StrSplit(words[0], '-');
  std::uint64_t last = 0;
  if (ends.size() != 2 || !absl::SimpleHexAtoi(ends[0], &piece.address) ||
      !absl::SimpleHexAtoi(ends[1], &last) || last < piece.address) {
    return false;
  }
  piece.bytes = 0;
  if (words[3] != "ram):" && words[3] != "nv-ram):") return true;
  piece.region = std::string(words[4]);
  piece.offset = 0;
  if (words.size() > 5 && absl::StartsWith(words[5], "@") &&
      !absl::SimpleHexAtoi(words[5].substr(1), &piece.offset)) {
    return false;
  }
  // Whole pages; the whole space would have 2^64 bytes.
  constexpr std::uint64_t kPage = 4096;
  const std::uint64_t end = last - (last + 1) % kPage + 1;
  const std::uint64_t before = (kPage - piece.address % kPage) % kPage;
  if (end < piece.address + before) return true;
  piece.address += before;
  piece.offset += before;
  if (piece.offset % kPage == 0) piece.bytes = end - piece.address;
  return true;
}

}  // namespace internal

inline absl::StatusOr<std::vector<RamPiece>> ParseFlatView(
    absl::string_view text) {
  std::vector<RamPiece> pieces;
  bool found = false;
  bool inside = false;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    absl::ConsumeSuffix(&line, "\r");
    if (absl::StartsWith(line, "FlatView #")) {
      if (found) break;
    } else if (absl::StartsWith(line, " AS \"memory\",")) {
      found = true;
    } else if (absl::StartsWith(line, " Root memory region:")) {
      inside = found;
    } else if (inside && absl::StartsWith(line, "  ")) {
      RamPiece piece = {};
      if (!internal::ParseFlatLine(line, piece)) {
        return absl::FailedPreconditionError(absl::StrFormat(
            "a line of QEMU's memory map has an unknown form: \"%s\"", line));
      }
      if (piece.bytes == 0) continue;
      if (!pieces.empty()) {
        RamPiece& before = pieces.back();
        if (piece.address < before.address + before.bytes) {
          return absl::FailedPreconditionError(absl::StrFormat(
              "QEMU's memory map is not in order: \"%s\"", line));
        }
        if (before.region == piece.region &&
            before.address + before.bytes == piece.address &&
            before.offset + before.bytes == piece.offset) {
          before.bytes += piece.bytes;
          continue;
        }
      }
      pieces.push_back(piece);
    }
  }
  if (!found) {
    return absl::FailedPreconditionError(
        "QEMU's memory map shows no address space \"memory\"");
  }
  if (pieces.empty()) {
    return absl::FailedPreconditionError("QEMU's memory map shows no RAM");
  }
  return pieces;
}

}  // namespace ptage::live_guest

#endif  // PTAGE_EXAMPLES_LIVE_GUEST_LAYOUT_H_
