// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What a small hypervisor sets up for a guest with one vCPU, for the documents:
// their own programs show it, or say that this is it.

#ifndef PTAGE_TEST_DOCS_HOST_H_
#define PTAGE_TEST_DOCS_HOST_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "ptage/ptage.h"
#include "ptage/sim/vcpu.h"
#include "ptage/sim/vcpu_set.h"

template <ptage::SpteFormat F>
struct Host {
  using Memory = ptage::TableArena<F>;
  using Domain = ptage::EpochDomain<>;
  using Chunks = ptage::RmapChunks<F>;
  using Pool = ptage::GracePool<Chunks, Domain>;
  using Rmaps = ptage::Lockless<F, Memory, Pool>;
  static constexpr std::size_t kTables = 64, kChunks = 64;

  std::vector<ptage::Table<F>> tables{kTables};
  std::vector<ptage::TableInfo<F>> infos{kTables};
  std::vector<ptage::Cell<std::uint64_t>> gfns =
      std::vector<ptage::Cell<std::uint64_t>>(kTables *
                                              ptage::kEntriesPerTable<F>);
  std::vector<typename Chunks::First> firsts{kChunks};
  std::vector<typename Chunks::Later> laters{kChunks};
  Memory memory{tables.data(), infos.data(), gfns.data(), kTables,
                ptage::Pfn{0}};
  Domain reclaimer;
  Pool pool{reclaimer, firsts.data(), kChunks, laters.data(), kChunks};
  Rmaps rmaps{memory, pool};
  ptage::sim::VcpuSet cpus{1};
  absl::Mutex lock;
  ptage::Vm<F, Memory, Domain, ptage::sim::VcpuSet, Rmaps> vm{
      {memory, reclaimer, cpus, rmaps, lock}, ptage::Level{1}};
};

#endif  // PTAGE_TEST_DOCS_HOST_H_
