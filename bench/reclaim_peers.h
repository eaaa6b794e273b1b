// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The reclamation schemes that are measured beside each other, each used as its
// authors do, at its fastest.
//
// A scheme of readers is a type with
//   Member        what a thread needs while it reads, as a scope
//   Pair(head)    enters a section and leaves it, with nothing inside; `head`
//                 is for those that can only enter with a pointer
//   Look(head)    the same, with a load of `head` inside, and a test of the
//                 entry that it leads to; 1 if that is young
// One of retiring threads is a type with
//   Update(slot)  puts a new node in the place of the one in `slot`, inside a
//                 section, and retires that
// All may be called by several threads at once, `Update` with a slot for each.

#ifndef PTAGE_BENCH_RECLAIM_PEERS_H_
#define PTAGE_BENCH_RECLAIM_PEERS_H_

#include <urcu/urcu-bp.h>
#include <urcu/urcu-memb.h>
#include <urcu/urcu-qsbr.h>

#include <atomic>
#include <cstdint>
#include <mutex>
#include <new>
#include <shared_mutex>

// It asks for a failed exchange that acquires and a successful one that does
// not, and gcc tells those who are not to blame.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Winvalid-memory-model"
#endif
#include <xenium/reclamation/generic_epoch_based.hpp>
#include <xenium/reclamation/hazard_pointer.hpp>
#include <xenium/reclamation/quiescent_state_based.hpp>
#include <xenium/reclamation/stamp_it.hpp>
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

#include "absl/synchronization/mutex.h"
#include "bench/node_pool.h"
#include "ptage/config.h"
#include "ptage/once.h"
#include "ptage/reclaim.h"
#include "ptage/reclaim/epoch.h"
#include "ptage/spte.h"
#include "ptage/spte/ept.h"

namespace ptage::bench {

// What a section may not be optimised into: nothing, or one with its
// neighbours.
inline void Inside() { asm volatile("" ::: "memory"); }

// What the head leads to, and the head.
struct Rmap {
  explicit Rmap(std::uint64_t value) : entry(value) {}
  SpteCell<Ept> entry;
};
struct ProbeHead {
  Cell<std::uint64_t> word;
};

[[nodiscard]] inline std::uint64_t IsYoungAt(const SpteCell<Ept>& entry) {
  return IsYoung<Ept>(ReadOnce(entry, kRelaxed)) ? 1 : 0;
}
// Inside a section.
[[nodiscard]] inline std::uint64_t IsYoungUnder(const ProbeHead& head) {
  const std::uint64_t word = ReadOnce(head.word, kAcquire);
  return IsYoungAt(reinterpret_cast<const Rmap*>(word)->entry);
}

// --- The library's.

class PtageScheme {
 public:
  using Head = ProbeHead;
  class Member {
   public:
    explicit Member(PtageScheme& scheme) { scheme.domain_.Register(); }
  };

  // `batch`: how many nodes a thread retires before it looks what may be freed.
  PtageScheme(EpochReaders readers, std::uint64_t batch)
      : domain_(EpochOptions{.readers = readers, .batch = batch}) {}

  void Pair(const Head&) {
    const LocklessWalk<EpochDomain<>> walk(domain_);
    Inside();
  }
  std::uint64_t Look(const Head& head) {
    const LocklessWalk<EpochDomain<>> walk(domain_);
    return IsYoungUnder(head);
  }

  struct Node : Retired {
    SpteCell<Ept> entry;
  };
  static_assert(sizeof(Node) <= NodePool::kNodeBytes);
  using Slot = Cell<std::uint64_t>;

  void Update(Slot& slot) {
    Node* const fresh = MakeNode();
    std::uint64_t seen = 0;
    {
      const LocklessWalk<EpochDomain<>> walk(domain_);
      seen = ReadOnce(slot, kAcquire);
      if (!TryCmpxchg(slot, seen, reinterpret_cast<std::uint64_t>(fresh),
                      kAcqRel)) {
        return GiveBack(*fresh, nullptr);
      }
    }
    if (seen != 0) domain_.Retire(*reinterpret_cast<Node*>(seen));
  }

  // Retires a node and waits until it is free.
  void Reclaim() {
    domain_.Retire(*MakeNode());
    domain_.Synchronize();
  }

 private:
  static Node* MakeNode() {
    Node* const node = ::new (NodePool::Take()) Node;
    node->free = GiveBack;
    return node;
  }
  static void GiveBack(Retired& node, void*) {
    NodePool::Give(static_cast<Node*>(&node));
  }

  EpochDomain<> domain_;
};

// --- liburcu.

// One of its flavours.
template <class Flavour>
class UrcuScheme {
 public:
  using Head = ProbeHead;
  class Member {
   public:
    explicit Member(UrcuScheme&) { Flavour::Register(); }
    ~Member() { Flavour::Unregister(); }
    Member(const Member&) = delete;
    Member& operator=(const Member&) = delete;
  };

  void Pair(const Head&) {
    Flavour::Enter();
    Inside();
    Flavour::Leave();
  }
  std::uint64_t Look(const Head& head) {
    Flavour::Enter();
    const std::uint64_t young = IsYoungUnder(head);
    Flavour::Leave();
    return young;
  }
  void Reclaim() {
    void* const node = NodePool::Take();
    Flavour::Synchronize();
    NodePool::Give(node);
  }
};

struct UrcuMemb {
  static void Register() { urcu_memb_register_thread(); }
  static void Unregister() { urcu_memb_unregister_thread(); }
  static void Enter() { urcu_memb_read_lock(); }
  static void Leave() { urcu_memb_read_unlock(); }
  static void Synchronize() { urcu_memb_synchronize_rcu(); }
};

struct UrcuBp {
  // By itself, at the first section.
  static void Register() {}
  static void Unregister() {}
  static void Enter() { urcu_bp_read_lock(); }
  static void Leave() { urcu_bp_read_unlock(); }
  static void Synchronize() { urcu_bp_synchronize_rcu(); }
};

// Sections are nothing here; a thread says now and then that it is in none.
struct UrcuQsbr {
  static void Register() { urcu_qsbr_register_thread(); }
  static void Unregister() { urcu_qsbr_unregister_thread(); }
  static void Enter() { urcu_qsbr_read_lock(); }
  static void Leave() { urcu_qsbr_read_unlock(); }
  static void Synchronize() { urcu_qsbr_synchronize_rcu(); }
};

// The same, saying it after each section, so that a grace period is as short as
// with the others.
struct UrcuQsbrEach : UrcuQsbr {
  static void Leave() {
    urcu_qsbr_read_unlock();
    urcu_qsbr_quiescent_state();
  }
};

// --- xenium.

using XeniumEpoch = xenium::reclamation::epoch_based<>;
using XeniumNewEpoch = xenium::reclamation::new_epoch_based<>;
using XeniumDebra = xenium::reclamation::debra<>;
using XeniumHazard = xenium::reclamation::hazard_pointer<>;
using XeniumQsbr = xenium::reclamation::quiescent_state_based;
using XeniumStampIt = xenium::reclamation::stamp_it;

// How a scheme is entered with nothing to look at.
enum class XeniumEntry {
  kRegion,   // by a region
  kGuard,    // by a guard of any pointer, where regions do nothing
  kAcquire,  // by a guard that acquires, where each pointer is guarded
};

template <class Reclamation, XeniumEntry kEntry>
class XeniumScheme {
 public:
  struct GiveBack {
    template <class Node>
    void operator()(Node* node) const {
      node->~Node();
      NodePool::Give(node);
    }
  };
  struct Node : Reclamation::template enable_concurrent_ptr<Node, 0, GiveBack> {
    explicit Node(std::uint64_t value) : entry(value) {}
    SpteCell<Ept> entry;
  };
  static_assert(sizeof(Node) <= NodePool::kNodeBytes);
  using Slot = typename Reclamation::template concurrent_ptr<Node, 0>;
  using Guard = typename Slot::guard_ptr;
  using Marked = typename Slot::marked_ptr;
  using Head = Slot;
  class Member {
   public:
    explicit Member(XeniumScheme&) {}
  };

  void Pair(const Head& head) {
    if constexpr (kEntry == XeniumEntry::kRegion) {
      [[maybe_unused]] const typename Reclamation::region_guard region{};
      Inside();
    } else if constexpr (kEntry == XeniumEntry::kGuard) {
      const Guard guard(head.load(std::memory_order_relaxed));
      Inside();
    } else {
      Guard guard;
      guard.acquire(head, std::memory_order_acquire);
      Inside();
    }
  }
  std::uint64_t Look(const Head& head) {
    Guard guard;
    guard.acquire(head, std::memory_order_acquire);
    const Node* const node = guard.get();
    if (node == nullptr) __builtin_unreachable();
    return IsYoungAt(node->entry);
  }
  void Update(Slot& slot) {
    Node* const fresh = MakeNode(0);
    Guard guard;
    guard.acquire(slot, std::memory_order_acquire);
    Marked seen(guard);
    if (!slot.compare_exchange_strong(seen, Marked(fresh),
                                      std::memory_order_acq_rel,
                                      std::memory_order_relaxed)) {
      return GiveBack()(fresh);
    }
    if (guard.get() != nullptr) guard.reclaim();
  }

  static Node* MakeNode(std::uint64_t value) {
    return ::new (NodePool::Take()) Node(value);
  }
};

// --- Locks, held shared.

class SharedMutexScheme {
 public:
  using Head = ProbeHead;
  class Member {
   public:
    explicit Member(SharedMutexScheme&) {}
  };
  void Pair(const Head&) {
    const std::shared_lock<std::shared_mutex> hold(mutex_);
    Inside();
  }
  std::uint64_t Look(const Head& head) {
    const std::shared_lock<std::shared_mutex> hold(mutex_);
    return IsYoungUnder(head);
  }

 private:
  std::shared_mutex mutex_;
};

class AbslMutexScheme {
 public:
  using Head = ProbeHead;
  class Member {
   public:
    explicit Member(AbslMutexScheme&) {}
  };
  void Pair(const Head&) {
    const absl::ReaderMutexLock hold(&mutex_);
    Inside();
  }
  std::uint64_t Look(const Head& head) {
    const absl::ReaderMutexLock hold(&mutex_);
    return IsYoungUnder(head);
  }

 private:
  absl::Mutex mutex_;
};

}  // namespace ptage::bench

#endif  // PTAGE_BENCH_RECLAIM_PEERS_H_
