// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Text in columns.

#ifndef PTAGE_BENCH_TABLE_H_
#define PTAGE_BENCH_TABLE_H_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "ptage/config.h"

namespace ptage::bench {

// Rows of cells, two or more in a row; the first column is aligned to the left,
// others to the right.
class TextTable {
 public:
  explicit TextTable(std::vector<std::string> header) {
    rows_.push_back(std::move(header));
  }
  // Precondition: as many cells as the header has.
  void Add(std::vector<std::string> row) {
    PTAGE_ASSERT(row.size() == rows_[0].size());
    rows_.push_back(std::move(row));
  }
  // A line of its own, across all columns.
  void AddHeading(std::string text) { rows_.push_back({std::move(text)}); }
  // The lines, each with its end.
  [[nodiscard]] std::string ToString() const;

 private:
  // Characters, not bytes, in UTF-8.
  static std::size_t Width(std::string_view text) {
    return static_cast<std::size_t>(
        std::count_if(text.begin(), text.end(), [](char byte) {
          return (static_cast<unsigned char>(byte) & 0xC0) != 0x80;
        }));
  }

  std::vector<std::vector<std::string>> rows_;
};

// Three significant digits with a unit of thousands: 1234567 → "1.23M".
[[nodiscard]] inline std::string Compact(double value) {
  const char* unit = "";
  for (const char* larger : {"k", "M", "G"}) {
    if (std::abs(value) < 999.5) break;
    value /= 1000;
    unit = larger;
  }
  const double size = std::abs(value);
  const int decimals = size >= 99.95 || value == 0 ? 0 : size >= 9.995 ? 1 : 2;
  return absl::StrFormat("%.*f%s", decimals, value, unit);
}

// Nanoseconds in the unit that fits: 12345 → "12.3us".
[[nodiscard]] inline std::string Duration(double nanoseconds) {
  const char* unit = "ns";
  for (const char* larger : {"us", "ms", "s"}) {
    if (nanoseconds < 999.5) break;
    nanoseconds /= 1000;
    unit = larger;
  }
  return absl::StrCat(Compact(nanoseconds), unit);
}

// ---------------------------------------------------------------------------

inline std::string TextTable::ToString() const {
  std::vector<std::size_t> widths(rows_[0].size());
  for (const auto& row : rows_) {
    for (std::size_t i = 0; i < row.size() && row.size() > 1; ++i) {
      widths[i] = std::max(widths[i], Width(row[i]));
    }
  }
  std::string text;
  for (const auto& row : rows_) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      const std::string pad(widths[i] - std::min(widths[i], Width(row[i])),
                            ' ');
      if (i == 0) {
        absl::StrAppend(&line, row[i], pad);
      } else {
        absl::StrAppend(&line, "  ", pad, row[i]);
      }
    }
    line.erase(line.find_last_not_of(' ') + 1);
    absl::StrAppend(&text, line, "\n");
  }
  return text;
}

}  // namespace ptage::bench

#endif  // PTAGE_BENCH_TABLE_H_
