// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A running guest: its monitor, its RAM, and the address spaces seen so far.

#ifndef PTAGE_EXAMPLES_LIVE_GUEST_GUEST_H_
#define PTAGE_EXAMPLES_LIVE_GUEST_GUEST_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "examples/live_guest/backends.h"
#include "examples/live_guest/guest_ram.h"
#include "examples/live_guest/json.h"
#include "examples/live_guest/qmp.h"
#include "examples/live_guest/registers.h"
#include "examples/live_guest/roots.h"

namespace ptage::live_guest {

// One thread at a time.
class Guest {
 public:
  // Asks the monitor at `socket` for the layout, and maps the RAM. Errors:
  // those of Qmp::Connect, ReadLayout and GuestRam::Map.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<Guest>> Open(
      const std::string& socket, RamAccess access,
      absl::Duration patience = Qmp::kPatience);

  // Adds the address spaces that CPUs have loaded now. FailedPrecondition: a
  // CPU has tables of 32 bits.
  absl::Status LookAtCpus();
  // Of the guest's CPUs when they were last looked at; kOff: none has paging
  // yet.
  [[nodiscard]] Paging paging() const { return paging_; }
  [[nodiscard]] Roots& roots() { return roots_; }
  [[nodiscard]] const GuestRam& ram() const { return *ram_; }
  [[nodiscard]] const std::vector<FilePiece>& layout() const { return layout_; }
  [[nodiscard]] std::size_t cpus() const { return cpus_; }
  // Address bits of its CPUs.
  [[nodiscard]] int physical_bits() const { return physical_bits_; }
  [[nodiscard]] Qmp& qmp() { return qmp_; }

 private:
  Guest(Qmp qmp, std::vector<FilePiece> layout, std::unique_ptr<GuestRam> ram)
      : qmp_(std::move(qmp)),
        layout_(std::move(layout)),
        ram_(std::move(ram)) {}
  void ReadPhysicalBits();

  Qmp qmp_;
  const std::vector<FilePiece> layout_;
  const std::unique_ptr<GuestRam> ram_;
  Roots roots_;
  Paging paging_ = Paging::kOff;
  std::size_t cpus_ = 0;
  // All that entries have room for.
  int physical_bits_ = 52;
};

// Stops a guest as long as it lives, if the guest is running.
class Paused {
 public:
  // Check status().
  explicit Paused(Qmp& qmp) : qmp_(qmp) {
    const absl::StatusOr<Json> about = qmp.Command("query-status");
    status_ = about.status();
    if (!status_.ok()) return;
    const Json* const running = about->Find("running");
    if (running == nullptr || !running->boolean) return;
    status_ = qmp.Command("stop").status();
    stopped_ = status_.ok();
  }
  ~Paused() { (void)Resume(); }
  Paused(const Paused&) = delete;
  Paused& operator=(const Paused&) = delete;

  [[nodiscard]] const absl::Status& status() const { return status_; }
  absl::Status Resume() {
    if (!std::exchange(stopped_, false)) return absl::OkStatus();
    return qmp_.Command("cont").status();
  }

 private:
  Qmp& qmp_;
  absl::Status status_;
  bool stopped_ = false;
};

// ---------------------------------------------------------------------------

inline absl::StatusOr<std::unique_ptr<Guest>> Guest::Open(
    const std::string& socket, RamAccess access, absl::Duration patience) {
  absl::StatusOr<Qmp> qmp = Qmp::Connect(socket, patience);
  if (!qmp.ok()) return qmp.status();
  absl::StatusOr<std::vector<FilePiece>> layout = ReadLayout(*qmp);
  if (!layout.ok()) return layout.status();
  absl::StatusOr<std::unique_ptr<GuestRam>> ram =
      GuestRam::Map(*layout, access);
  if (!ram.ok()) return ram.status();
  std::unique_ptr<Guest> guest(
      new Guest(*std::move(qmp), *std::move(layout), *std::move(ram)));
  guest->ReadPhysicalBits();
  const absl::Status looked = guest->LookAtCpus();
  if (!looked.ok()) return looked;
  return guest;
}

inline void Guest::ReadPhysicalBits() {
  const absl::StatusOr<Json> cpus = qmp_.Command("query-cpus-fast");
  if (!cpus.ok() || cpus->items.empty()) return;
  const absl::StatusOr<Json> bits = qmp_.Command(
      "qom-get",
      absl::StrFormat("{\"path\":%s,\"property\":\"phys-bits\"}",
                      QuoteJson(cpus->items[0].StringAt("qom-path"))));
  std::uint64_t number = 0;
  if (bits.ok() && bits->ToNumber(number) && number >= 32 && number <= 52) {
    physical_bits_ = static_cast<int>(number);
  }
}

inline absl::Status Guest::LookAtCpus() {
  const absl::StatusOr<std::string> text = qmp_.Human("info registers -a");
  if (!text.ok()) return text.status();
  const std::vector<CpuRegisters> cpus = ParseRegisters(*text);
  if (cpus.empty()) {
    return absl::FailedPreconditionError(
        "QEMU shows no x86 CPU (\"info registers -a\")");
  }
  cpus_ = cpus.size();
  Paging now = Paging::kOff;
  for (const CpuRegisters& cpu : cpus) {
    const Paging paging = cpu.GetPaging();
    if (paging == Paging::kUnsupported) {
      return absl::FailedPreconditionError(
          "the guest uses page tables of 32 bits, which are not supported "
          "(4 and 5 levels are)");
    }
    if (paging != Paging::kOff) now = paging;
  }
  // Started anew, or on its way up: what was seen is of another kernel.
  if (now != paging_) roots_ = Roots();
  paging_ = now;
  roots_.See(cpus, ram_->memory());
  return absl::OkStatus();
}

}  // namespace ptage::live_guest

#endif  // PTAGE_EXAMPLES_LIVE_GUEST_GUEST_H_
