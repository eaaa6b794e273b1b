// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What the tests of the epoch domains share: an object that knows how often it
// was freed, and a board on which objects are replaced while others read.

#ifndef PTAGE_TEST_RECLAIM_EPOCH_DOMAINS_H_
#define PTAGE_TEST_RECLAIM_EPOCH_DOMAINS_H_

#include <cstdint>

#include "ptage/once.h"
#include "ptage/reclaim.h"

namespace ptage::test {

struct Object {
  Object() {
    retired.free = [](Retired& self, void* owner) {
      auto& object = reinterpret_cast<Object&>(self);
      ++object.freed;
      object.freed_with = owner;
    };
    retired.owner = this;
  }
  Retired retired;
  int freed = 0;
  void* freed_with = nullptr;
};

// A published object, poisoned when it is freed, and used again. The value is
// plain: the thread sanitizer sees a read under which it is freed.
struct Published {
  static constexpr std::uint64_t kAlive = 0xA11E;
  static constexpr std::uint64_t kPoison = 0xDEAD;

  Published() : value(kAlive), free(1u) {
    retired.free = [](Retired& self, void*) {
      auto& object = reinterpret_cast<Published&>(self);
      object.value.Set(kPoison);
      WriteOnce(object.free, 1u, kRelease);
    };
  }
  Retired retired;
  Plain<std::uint64_t> value;
  Cell<std::uint32_t> free;
};

template <class Domain>
struct Board {
  static constexpr int kObjects = 16;

  Board() = default;
  template <class Options>
  explicit Board(const Options& options) : domain(options) {}

  // Unlinks what is there, publishes another, retires the first.
  void Replace() {
    for (Published& object : objects) {
      if (ReadOnce(object.free, kAcquire) == 0) continue;
      WriteOnce(object.free, 0u, kRelaxed);
      object.value.Set(Published::kAlive);
      Published* const old = ReadOnce(current, kRelaxed);
      WriteOnce(current, &object, kRelease);
      if (old != nullptr) domain.Retire(old->retired);
      ++replaced;
      return;
    }
    domain.Poll();
  }

  std::uint64_t replaced = 0;
  Published objects[kObjects];
  Cell<Published*> current{nullptr};
  Domain domain;
};

struct Reader {
  std::uint64_t walks = 0;
  std::uint64_t poisoned = 0;

  template <class Domain>
  void Read(Board<Domain>& board) {
    const LocklessWalk walk(board.domain);
    if (!static_cast<bool>(walk)) return;
    ++walks;
    for (int i = 0; i < 3; ++i) {
      const Published* const seen = ReadOnce(board.current, kAcquire);
      if (seen == nullptr) continue;
      for (int j = 0; j < 20; ++j) {
        if (seen->value.Get() != Published::kAlive) ++poisoned;
      }
    }
  }
};

}  // namespace ptage::test

#endif  // PTAGE_TEST_RECLAIM_EPOCH_DOMAINS_H_
