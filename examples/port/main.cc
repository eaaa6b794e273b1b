// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The port at work: a program's pages get memory when it uses them, are aged
// while it runs, and give their memory back. Ends with 1 if a count is wrong.

#include <cstdint>
#include <cstdio>

#include "examples/port/hosted_kernel.h"
#include "examples/port/port.h"
#include "ptage/core.h"
#include "ptage/sim/vcpu.h"
#include "ptage/sim/vcpu_set.h"

namespace {

constexpr std::uint64_t kPages = 1000;
constexpr ptage::GfnRange kAll{ptage::Gfn{0}, ptage::Gfn{kPages}};
using Cpu = ptage::sim::Vcpu<port::Format, port::Tables>;

int wrong = 0;

void Expect(const char* what, std::uint64_t count, std::uint64_t expected) {
  std::printf("%s: %llu\n", what, static_cast<unsigned long long>(count));
  if (count != expected) wrong = 1;
}

// The program uses every `step`-th page.
void Run(port::Space& space, Cpu& cpu, std::uint64_t step,
         ptage::Rights access) {
  cpu.Resume();
  for (std::uint64_t page = 0; page < kPages; page += step) {
    while (!cpu.Translate(ptage::Gfn{page}, access)) {
      // In a fault a CPU is not waited for.
      cpu.Pause();
      if (!space.Fault(ptage::Gfn{page}, access)) wrong = 1;
      cpu.Resume();
    }
  }
  cpu.Pause();
}

std::uint64_t Young(port::Space& space) {
  std::uint64_t words[(kPages + 63) / 64] = {};
  (void)space.Age(kAll, ptage::Bitmap(words, kPages));
  std::uint64_t young = 0;
  for (const std::uint64_t word : words) young += ptage::CountLanes(word);
  return young;
}

}  // namespace

int main() {
  ptage::sim::VcpuSet cpus(1);
  hosted::Start(/*pages=*/2000, cpus, /*ns_per_look=*/1000);
  {
    port::Space space;
    if (!space.valid()) return 1;
    Cpu cpu(cpus, 0, space.tables(), space.root());
    Run(space, cpu, 1, ptage::Rights::kRead);
    Expect("faulted in, young", Young(space), kPages);
    port::Tlb().Flush(kAll);
    Run(space, cpu, 3, ptage::Rights::kWrite);
    Expect("wrote every third page, young", Young(space), 334);
    Expect("nothing since, young", Young(space), 0);
    Expect("gave memory back, of which was written", space.Zap(kAll), 334);
  }
  Expect("pages that nobody gave back", hosted::Stop(), 0);
  return wrong;
}
