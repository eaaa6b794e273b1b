// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Accesses that somebody still has to be told of: what makes an eviction that
// forgets one visible.
//
// Contract
//   An access that walks the tables sets an accessed bit. From then on the bit
//   is in an entry; or a question has taken it, and tells; or a zap has, and
//   marks the page. A page that goes while none of these is so was in use.
//
//   * A CPU calls Begin before the reference, and End if it was translated: the
//     use is *owed* from then on. Whoever is told that a page is young, or
//     handed its bit, calls Told when it knows; a use that began before that is
//     owed no longer. So a use may be forgotten here, which finds less; it is
//     never owed when it was told, which would find what is not there.
//   * A translation that was cached sets no bit, and owes nothing new: what a
//     flush policy loses.
//   * Between the taking of a bit and Told, a question is under way (Asking).
//     An eviction is judged only if none was, from before its first freeze to
//     the end of the judgement.
//
//   All is relaxed: what it must find is ordered by the locked instructions
//   that Begin, End and Asking are on x86, and the thread sanitizer learns of
//   no order from it.

#ifndef PTAGE_TEST_SOAK_RECLAIM_USES_H_
#define PTAGE_TEST_SOAK_RECLAIM_USES_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "ptage/once.h"

namespace ptage::reclaim_soak {

class Uses {
 public:
  Uses(std::size_t pages, std::size_t cpus)
      : cpus_(cpus),
        owed_(pages * cpus, Cell<std::uint64_t>(0)),
        tickets_(cpus, 1) {}

  // A question that clears is under way: a scope.
  class [[nodiscard]] Asking {
   public:
    explicit Asking(Uses& uses) : uses_(uses) {
      FetchAdd(uses_.asking_, std::uint64_t{1}, kRelaxed);
    }
    ~Asking() { FetchAdd(uses_.asking_, ~std::uint64_t{0}, kRelaxed); }
    Asking(const Asking&) = delete;
    Asking& operator=(const Asking&) = delete;

   private:
    Uses& uses_;
  };
  [[nodiscard]] bool NobodyAsks() const {
    return ReadOnce(asking_, kRelaxed) == 0;
  }

  // A CPU's access, by that CPU's thread.
  struct Use {
    std::uint64_t ticket;
    bool was_owed;
  };
  [[nodiscard]] Use Begin(std::size_t cpu, std::size_t page) {
    const std::uint64_t ticket = tickets_[cpu] += 2;  // odd
    Cell<std::uint64_t>& owed = At(cpu, page);
    for (;;) {
      const std::uint64_t seen = ReadOnce(owed, kRelaxed);
      if (TryCmpxchg(owed, seen, ticket, kRelaxed)) {
        return Use{ticket, IsOwed(seen)};
      }
    }
  }
  // `walked`: through the tables. Not called of what was not translated.
  void End(std::size_t cpu, std::size_t page, Use use, bool walked) {
    if (!walked && !use.was_owed) return;
    (void)TryCmpxchg(At(cpu, page), use.ticket, use.ticket + 1, kRelaxed);
  }

  void Told(std::size_t page) {
    for (std::size_t cpu = 0; cpu < cpus_; ++cpu) {
      WriteOnce(At(cpu, page), std::uint64_t{0}, kRelaxed);
    }
  }
  // Of some CPU: its ticket; 0 if none.
  [[nodiscard]] std::uint64_t Owed(std::size_t page) {
    for (std::size_t cpu = 0; cpu < cpus_; ++cpu) {
      const std::uint64_t seen = ReadOnce(At(cpu, page), kRelaxed);
      if (IsOwed(seen)) return seen;
    }
    return 0;
  }

 private:
  // Even, and not zero: odd while the access is under way.
  static bool IsOwed(std::uint64_t value) {
    return value != 0 && value % 2 == 0;
  }
  Cell<std::uint64_t>& At(std::size_t cpu, std::size_t page) {
    return owed_[page * cpus_ + cpu];
  }

  const std::size_t cpus_;
  std::vector<Cell<std::uint64_t>> owed_;
  std::vector<std::uint64_t> tickets_;
  Cell<std::uint64_t> asking_{0};
};

}  // namespace ptage::reclaim_soak

#endif  // PTAGE_TEST_SOAK_RECLAIM_USES_H_
