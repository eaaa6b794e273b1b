// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What a thread of the reclaim soak counts, and what it finds wrong. One
// thread's, or the sum of theirs.

#ifndef PTAGE_TEST_SOAK_RECLAIM_TALLIES_H_
#define PTAGE_TEST_SOAK_RECLAIM_TALLIES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"

namespace ptage::reclaim_soak {

struct Tallies {
  // What was done.
  std::uint64_t accesses = 0;
  std::uint64_t writes = 0;
  std::uint64_t faults = 0;      // that mapped something
  std::uint64_t no_slot = 0;     // faults that met no memory slot, or mapping
  std::uint64_t brought_in = 0;  // pages, from the store
  std::uint64_t aged = 0;        // pages that aging found young
  std::uint64_t looked_at = 0;   // the same of look-around
  std::uint64_t evicted = 0;     // pages,
  std::uint64_t evicted_clean = 0;  // of which so many were not stored
  std::uint64_t aborted = 0;        // evictions of a page that was in use
  std::uint64_t judged = 0;         // evictions asked for a lost access
  std::uint64_t unmapped = 0;       // entries that were zapped
  std::uint64_t slot_changes = 0;   // slots and mappings, away and back
  // What was wrong.
  std::uint64_t lost_write = 0;  // a page went back to an older value
  std::uint64_t lost_young = 0;  // an access that nothing knows of
  std::uint64_t foreign = 0;     // a frame was used when it was not the page's
  std::uint64_t corrupt = 0;     // states that do not fit each other

  [[nodiscard]] std::uint64_t Lost() const {
    return lost_write + lost_young + foreign + corrupt;
  }

  struct Field {
    absl::string_view name;
    std::uint64_t Tallies::* value;
  };
  static constexpr Field kDone[] = {
      {"accesses", &Tallies::accesses},
      {"writes", &Tallies::writes},
      {"faults", &Tallies::faults},
      {"no_slot", &Tallies::no_slot},
      {"brought_in", &Tallies::brought_in},
      {"aged", &Tallies::aged},
      {"looked_at", &Tallies::looked_at},
      {"evicted", &Tallies::evicted},
      {"evicted_clean", &Tallies::evicted_clean},
      {"aborted", &Tallies::aborted},
      {"judged", &Tallies::judged},
      {"unmapped", &Tallies::unmapped},
      {"slot_changes", &Tallies::slot_changes},
  };
  static constexpr Field kWrong[] = {
      {"lost_write", &Tallies::lost_write},
      {"lost_young", &Tallies::lost_young},
      {"foreign", &Tallies::foreign},
      {"corrupt", &Tallies::corrupt},
  };

  Tallies& operator+=(const Tallies& other) {
    for (const Field& field : kDone) this->*field.value += other.*field.value;
    for (const Field& field : kWrong) this->*field.value += other.*field.value;
    return *this;
  }
};

// What should have happened and did not.
[[nodiscard]] inline std::vector<absl::string_view> Starved(
    const Tallies& total) {
  std::vector<absl::string_view> starved;
  for (const Tallies::Field& field : Tallies::kDone) {
    if (total.*field.value == 0) starved.push_back(field.name);
  }
  return starved;
}

// As fields of a JSON object.
[[nodiscard]] inline std::string ToJsonFields(const Tallies& total) {
  std::vector<std::string> fields;
  const auto add = [&](const Tallies::Field& field) {
    fields.push_back(
        absl::StrFormat("\"%s\":%d", field.name, total.*field.value));
  };
  for (const Tallies::Field& field : Tallies::kDone) add(field);
  for (const Tallies::Field& field : Tallies::kWrong) add(field);
  return absl::StrCat(absl::StrJoin(fields, ","), ",\"lost\":", total.Lost());
}

}  // namespace ptage::reclaim_soak

#endif  // PTAGE_TEST_SOAK_RECLAIM_TALLIES_H_
