// SPDX-License-Identifier: MIT OR Apache-2.0

#include "examples/port/hosted_kernel.h"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <memory>
#include <mutex>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "examples/port/kernel.h"
#include "ptage/sim/vcpu_set.h"
#include "ptage/types.h"

namespace {

struct alignas(kernel::kPageBytes) Page {
  std::byte bytes[kernel::kPageBytes];
};
struct alignas(64) Room {
  std::byte bytes[kernel::kRoomBytes];
};

// Frames do not begin at 0, as nothing in a real machine begins there.
constexpr std::uint64_t kFirstFrame = 0x1000;

struct Machine {
  std::mutex mutex;
  std::vector<Page> pages;
  std::vector<Room> rooms;
  std::vector<void*> free;
  ptage::sim::VcpuSet* cpus = nullptr;
  std::uint64_t ns_per_look = 0;
  hosted::Counts counts = {};

  // Sections that are open, and what waits for them, by when they began.
  std::uint64_t now = 0;
  std::set<std::uint64_t> sections;
  std::deque<std::pair<std::uint64_t, kernel::RcuNode*>> waiting;
};

std::unique_ptr<Machine> machine;

// Of the calling thread.
thread_local std::vector<std::uint64_t> my_sections;
thread_local std::uint64_t my_clock = 0;
thread_local std::uint64_t my_section_began = 0;

// What no section holds back any more.
void MakeRipeCalls() {
  for (;;) {
    kernel::RcuNode* node;
    {
      const std::lock_guard hold(machine->mutex);
      if (machine->waiting.empty()) return;
      const auto& [since, first] = machine->waiting.front();
      if (!machine->sections.empty() && *machine->sections.begin() < since) {
        return;
      }
      node = first;
      machine->waiting.pop_front();
      ++machine->counts.called;
    }
    node->call(node);
  }
}

}  // namespace

namespace kernel {

void* AllocatePage() {
  const std::lock_guard hold(machine->mutex);
  if (machine->free.empty()) return nullptr;
  void* const page = machine->free.back();
  machine->free.pop_back();
  ++machine->counts.pages;
  return page;
}

void FreePage(void* page) {
  const std::lock_guard hold(machine->mutex);
  machine->free.push_back(page);
  --machine->counts.pages;
}

void* RoomOf(const void* page) {
  return &machine->rooms[FrameOf(page) - kFirstFrame];
}

std::uint64_t FrameOf(const void* page) {
  return kFirstFrame +
         static_cast<std::uint64_t>(static_cast<const Page*>(page) -
                                    machine->pages.data());
}

void* PageAt(std::uint64_t frame) {
  const std::uint64_t index = frame - kFirstFrame;
  return index < machine->pages.size() ? &machine->pages[index] : nullptr;
}

void RcuEnter() {
  const std::lock_guard hold(machine->mutex);
  if (my_sections.empty()) my_section_began = my_clock;
  my_sections.push_back(++machine->now);
  machine->sections.insert(machine->now);
}

void RcuExit() {
  {
    const std::lock_guard hold(machine->mutex);
    machine->sections.erase(my_sections.back());
    my_sections.pop_back();
    const std::uint64_t ns = my_clock - my_section_began;
    if (my_sections.empty() && ns > machine->counts.longest_section_ns) {
      machine->counts.longest_section_ns = ns;
    }
  }
  if (my_sections.empty()) MakeRipeCalls();
}

void RcuCall(RcuNode* node, void (*call)(RcuNode*)) {
  node->call = call;
  {
    const std::lock_guard hold(machine->mutex);
    machine->waiting.emplace_back(++machine->now, node);
    ++machine->counts.calls;
  }
  if (my_sections.empty()) MakeRipeCalls();
}

void FlushTlb(std::uint64_t first_page, std::uint64_t pages) {
  {
    const std::lock_guard hold(machine->mutex);
    ++machine->counts.flushes;
  }
  machine->cpus->Flush(
      ptage::GfnRange{ptage::Gfn{first_page}, ptage::Gfn{first_page + pages}});
}

std::uint64_t ClockNs() { return my_clock += machine->ns_per_look; }

void Yield() {
  {
    const std::lock_guard hold(machine->mutex);
    ++machine->counts.yields;
    if (!my_sections.empty()) ++machine->counts.wrong_yields;
  }
  std::this_thread::yield();
}

}  // namespace kernel

namespace hosted {

void Start(std::size_t pages, ptage::sim::VcpuSet& cpus,
           std::uint64_t ns_per_look) {
  machine = std::make_unique<Machine>();
  machine->pages = std::vector<Page>(pages);
  machine->rooms = std::vector<Room>(pages);
  for (std::size_t i = pages; i-- > 0;) {
    machine->free.push_back(&machine->pages[i]);
  }
  machine->cpus = &cpus;
  machine->ns_per_look = ns_per_look;
}

std::size_t Stop() {
  MakeRipeCalls();
  const std::size_t left = machine->counts.pages;
  machine.reset();
  return left;
}

Counts CountsNow() {
  const std::lock_guard hold(machine->mutex);
  return machine->counts;
}

}  // namespace hosted
