// SPDX-License-Identifier: MIT OR Apache-2.0
//
// ptage's core in the kernel of kernel.h: what that kernel gives as the
// policies that the core asks for, and an address space made with them.
//
// Contract of Space
//   Any threads may call anything at any time, and CPUs use the tables, but for
//   the destructor. Nobody calls from inside a section.
//
//   Progress: Fault waits where other threads change the same entry; Zap as
//   page_table.h says; Age is wait-free, but for the turns in which it yields.

#ifndef PTAGE_EXAMPLES_PORT_PORT_H_
#define PTAGE_EXAMPLES_PORT_PORT_H_

#include <cstddef>
#include <cstdint>
#include <new>

#include "examples/port/kernel.h"
#include "ptage/core.h"

namespace port {

using Format = ptage::X86_64;

// What stands beside a page that is a table.
struct TableRoom {
  ptage::TableInfo<Format>
      info;  // first: core and kernel find each other by it
  kernel::RcuNode rcu;
};
static_assert(sizeof(TableRoom) <= kernel::kRoomBytes);
static_assert(sizeof(ptage::Table<Format>) == kernel::kPageBytes);

// Memory: any page may be a table.
class Tables {
 public:
  using Table = ptage::Table<Format>;

  [[nodiscard]] Table* Allocate(ptage::TableKind) {
    void* const page = kernel::AllocatePage();
    if (page == nullptr) return nullptr;
    new (kernel::RoomOf(page)) TableRoom{};
    return new (page) Table;
  }
  void Free(Table* table) { kernel::FreePage(table); }
  [[nodiscard]] ptage::TableInfo<Format>& InfoOf(const Table* table) const {
    return static_cast<TableRoom*>(kernel::RoomOf(table))->info;
  }
  [[nodiscard]] Table* TableOf(const ptage::SpteCell<Format>& entry) const {
    const auto address = reinterpret_cast<std::uintptr_t>(&entry);
    return reinterpret_cast<Table*>(address & ~(kernel::kPageBytes - 1));
  }
  [[nodiscard]] ptage::Pfn FrameOf(const Table* table) const {
    return ptage::Pfn{kernel::FrameOf(table)};
  }
  [[nodiscard]] Table* TableAt(ptage::Pfn pfn) const {
    return static_cast<Table*>(kernel::PageAt(pfn.value));
  }
};

// Reclaim: what is retired here are tables alone.
class Rcu {
 public:
  bool Enter() {
    kernel::RcuEnter();
    return true;
  }
  void Exit() { kernel::RcuExit(); }
  void FreeAfterGrace(ptage::Retired& retired) {
    auto& room = reinterpret_cast<TableRoom&>(retired);
    kernel::RcuCall(&room.rcu, [](kernel::RcuNode* node) {
      auto* const at = reinterpret_cast<std::byte*>(node);
      auto* const freed =
          reinterpret_cast<TableRoom*>(at - offsetof(TableRoom, rcu));
      freed->info.retired.free(freed->info.retired, freed->info.retired.owner);
    });
  }
};

// Flush.
struct Tlb {
  void Flush(ptage::GfnRange pages) {
    kernel::FlushTlb(pages.begin.value, pages.Frames());
  }
};

// An address space whose pages get memory when they are used.
class Space {
 public:
  using Reclaim = ptage::ExternalReclaimer<Rcu>;
  using Tree = ptage::PageTable<Format, Tables, Reclaim, Tlb>;

  // Check valid().
  Space() : reclaimer_(rcu_), tree_(tables_, reclaimer_, tlb_, kKind) {}
  // Gives all memory back. No CPU uses the space any more.
  ~Space() { Zap({ptage::Gfn{0}, ptage::Gfn{Tree::kFrames}}); }
  Space(const Space&) = delete;
  Space& operator=(const Space&) = delete;

  [[nodiscard]] bool valid() const { return tree_.valid(); }
  [[nodiscard]] Tables& tables() { return tables_; }
  // What CPUs are given.
  [[nodiscard]] ptage::Table<Format>& root() { return *tree_.root(); }

  // After a fault of an access to `page`: false if there is no memory.
  [[nodiscard]] bool Fault(ptage::Gfn page, ptage::Rights access);

  // Which pages were accessed since the last time: sets bit i of `young` for
  // the page range.begin + i.
  ptage::AgeResult Age(ptage::GfnRange range, ptage::Bitmap young);

  // Takes the memory of pages away. Returns how many of them were written.
  std::uint64_t Zap(ptage::GfnRange range);

 private:
  using Walk = ptage::LocklessWalk<Reclaim>;
  static constexpr ptage::TableKind kKind = ptage::TableKind::kDirect;

  Tables tables_;
  Rcu rcu_;
  Tlb tlb_;
  Reclaim reclaimer_;
  Tree tree_;
};

}  // namespace port

#endif  // PTAGE_EXAMPLES_PORT_PORT_H_
