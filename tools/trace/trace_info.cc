// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Prints what trace files (bench/trace.h) hold, and how often a TLB of 64 sets
// of 8 ways, least recently used, would hit on them.

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <iostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "bench/access.h"
#include "bench/trace.h"
#include "tools/trace/fold.h"
#include "tools/trace/tlb_model.h"

namespace ptage::trace {
namespace {

constexpr absl::string_view kUsage =
    R"(usage: trace_info FILE...
       trace_info --help

Prints each trace's header, its counts, and the hit rate of a TLB of 64 sets
of 8 ways, least recently used: kept over the whole trace, and emptied before
every block of 1,024 records, as it is when a replay moves on to another copy
of the program. "Per record" counts a record as one translation, "per
reference" as as many as it stands for.
)";

// The replayer takes a record as one translation or as `repeat` of them, of
// which only the first can miss.
struct HitRates {
  double per_record;
  double per_reference;
};

struct Figures {
  std::array<std::uint64_t, bench::kAccessKinds> records_of_kind = {};
  std::array<std::uint64_t, bench::kAccessKinds> references_of_kind = {};
  HitRates kept = {};
  HitRates emptied = {};
  // Different pages in a block of kBlock records.
  std::size_t block_median = 0;
  std::size_t block_largest = 0;
};

HitRates Rates(const bench::Trace& trace, std::uint64_t misses) {
  const auto share = [misses](std::uint64_t of) {
    return of == 0
               ? 0.0
               : 1.0 - static_cast<double>(misses) / static_cast<double>(of);
  };
  return {share(trace.records.size()), share(trace.references)};
}

Figures Measure(const bench::Trace& trace) {
  Figures figures;
  TlbModel kept;
  TlbModel emptied;
  std::uint64_t kept_misses = 0;
  std::uint64_t emptied_misses = 0;
  // Page by page, the last block that named it, counted from 1.
  std::vector<std::size_t> named(trace.pages, 0);
  std::vector<std::size_t> block_pages;
  for (std::size_t i = 0; i < trace.records.size(); ++i) {
    const bench::Record& record = trace.records[i];
    if (i % kBlock == 0) emptied.Flush();
    const auto kind = static_cast<std::size_t>(record.kind);
    ++figures.records_of_kind[kind];
    figures.references_of_kind[kind] += record.repeat;
    kept_misses += kept.Translate(record.page) ? 0 : 1;
    emptied_misses += emptied.Translate(record.page) ? 0 : 1;
    const std::size_t block = i / kBlock + 1;
    if (block > block_pages.size()) block_pages.push_back(0);
    if (std::exchange(named[record.page], block) != block) ++block_pages.back();
  }
  figures.kept = Rates(trace, kept_misses);
  figures.emptied = Rates(trace, emptied_misses);
  if (!block_pages.empty()) {
    std::sort(block_pages.begin(), block_pages.end());
    figures.block_median = block_pages[block_pages.size() / 2];
    figures.block_largest = block_pages.back();
  }
  return figures;
}

void Print(const std::string& path, const bench::Trace& trace) {
  const Figures figures = Measure(trace);
  const auto kinds =
      [](const std::array<std::uint64_t, bench::kAccessKinds>& counts) {
        return absl::StrCat(
            "reads ", counts[static_cast<std::size_t>(bench::Access::kRead)],
            ", writes ",
            counts[static_cast<std::size_t>(bench::Access::kWrite)],
            ", fetches ",
            counts[static_cast<std::size_t>(bench::Access::kFetch)]);
      };
  const auto rates = [](const HitRates& hits) {
    return absl::StrFormat("%.4f per record, %.4f per reference",
                           hits.per_record, hits.per_reference);
  };
  std::cout << path << "\n"
            << "  program     " << trace.program << "\n"
            << "  arguments   " << absl::StrJoin(trace.arguments, " ") << "\n"
            << "  package     " << trace.package << "\n"
            << "  recorder    " << trace.recorder << "\n"
            << "  about       " << trace.about << "\n"
            << "  ended       "
            << (trace.ending == bench::Ending::kLimit ? "stopped at a limit"
                                                      : "the program ended")
            << "\n"
            << "  pages       " << trace.pages << " of "
            << (std::uint64_t{1} << trace.page_bits) << " bytes\n"
            << "  records     " << trace.records.size() << " ("
            << kinds(figures.records_of_kind) << ")\n"
            << "  references  " << trace.references << " ("
            << kinds(figures.references_of_kind) << ")\n"
            << "  per block   " << figures.block_median
            << " pages in the median block of " << kBlock << " records, "
            << figures.block_largest << " in the largest\n"
            << "  TLB kept    " << rates(figures.kept) << "\n"
            << "  TLB emptied " << rates(figures.emptied) << "\n"
            << "  CRC-32      "
            << absl::StrCat(absl::Hex(trace.crc, absl::kZeroPad8)) << "\n";
}

int Fail(absl::string_view message) {
  std::cerr << "trace_info: " << message << "\n";
  return 2;
}

int Main(int argc, char** argv) {
  const std::vector<std::string> paths(argv + 1, argv + argc);
  if (paths.empty()) return Fail("no file given; see --help");
  for (const std::string& path : paths) {
    if (path == "--help") {
      std::cout << kUsage;
      return 0;
    }
    if (absl::StartsWith(path, "-")) {
      return Fail(absl::StrCat("unknown flag ", path, "; see --help"));
    }
  }
  for (const std::string& path : paths) {
    const absl::StatusOr<bench::Trace> trace = bench::ReadTrace(path);
    if (!trace.ok()) return Fail(trace.status().message());
    Print(path, *trace);
  }
  return 0;
}

}  // namespace
}  // namespace ptage::trace

int main(int argc, char** argv) { return ptage::trace::Main(argc, argv); }
