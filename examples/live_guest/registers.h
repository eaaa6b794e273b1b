// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What a guest's CPUs say of its page tables.

#ifndef PTAGE_EXAMPLES_LIVE_GUEST_REGISTERS_H_
#define PTAGE_EXAMPLES_LIVE_GUEST_REGISTERS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "ptage/types.h"

namespace ptage::live_guest {

enum class Paging {
  kOff,          // still starting
  kFourLevels,   // Intel SDM volume 3A, 4.5
  kFiveLevels,   // the same with CR4.LA57
  kUnsupported,  // of 32 bits
};

struct CpuRegisters {
  std::uint64_t cr0 = 0;
  std::uint64_t cr3 = 0;
  std::uint64_t cr4 = 0;
  std::uint64_t efer = 0;
  int cpl = 0;  // privilege: 3 is a process's

  // SDM volume 3A, 2.5 and 2.2.1: CR0.PG is bit 31, EFER.LMA bit 10, CR4.LA57
  // bit 12.
  [[nodiscard]] Paging GetPaging() const {
    if ((cr0 >> 31 & 1) == 0) return Paging::kOff;
    if ((efer >> 10 & 1) == 0) return Paging::kUnsupported;
    return (cr4 >> 12 & 1) != 0 ? Paging::kFiveLevels : Paging::kFourLevels;
  }
  // The frame of the root. SDM 3A, 4.5.2: bits 51:12 of CR3; what is below is
  // a number or flags, and above there are flags.
  [[nodiscard]] Pfn Root() const {
    return Pfn{(cr3 & 0x000F'FFFF'FFFF'F000) >> 12};
  }
};

// One for each CPU in what "info registers -a" prints; those that lack one of
// the registers are left out.
[[nodiscard]] inline std::vector<CpuRegisters> ParseRegisters(
    absl::string_view text);

// ---------------------------------------------------------------------------

inline std::vector<CpuRegisters> ParseRegisters(absl::string_view text) {
  std::vector<CpuRegisters> all;
  CpuRegisters now;
  unsigned found = 0;
  const auto take = [&](absl::string_view word, absl::string_view name,
                        unsigned bit, std::uint64_t& to) {
    if (absl::StartsWith(word, name) &&
        absl::SimpleHexAtoi(word.substr(name.size()), &to)) {
      found |= 1u << bit;
    }
  };
  const auto finish = [&] {
    if (found == 0x1F) all.push_back(now);
    now = CpuRegisters();
    found = 0;
  };
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    if (absl::StartsWith(line, "CPU#")) finish();
    for (const absl::string_view word :
         absl::StrSplit(line, absl::ByAnyChar(" \r"), absl::SkipEmpty())) {
      std::uint64_t cpl = 0;
      take(word, "CR0=", 0, now.cr0);
      take(word, "CR3=", 1, now.cr3);
      take(word, "CR4=", 2, now.cr4);
      take(word, "EFER=", 3, now.efer);
      take(word, "CPL=", 4, cpl);
      if (cpl != 0) now.cpl = static_cast<int>(cpl);
    }
  }
  finish();
  return all;
}

}  // namespace ptage::live_guest

#endif  // PTAGE_EXAMPLES_LIVE_GUEST_REGISTERS_H_
