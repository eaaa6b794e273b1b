// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The functions of QEMU's TCG plugin interface, version 1, that page_trace.cc
// calls. Declared here since Debian packages no header for them; the emulator
// resolves them when it loads the plugin. Reference: "QEMU TCG Plugins", the
// QEMU developer documentation.

#ifndef PTAGE_TOOLS_TRACE_QEMU_PLUGIN_API_H_
#define PTAGE_TOOLS_TRACE_QEMU_PLUGIN_API_H_

#include <cstddef>
#include <cstdint>

extern "C" {

// A translated block of guest code and one instruction of it. Valid only
// during the callback that hands them out.
struct qemu_plugin_tb;
struct qemu_plugin_insn;

// Describes the emulator to the plugin.
struct qemu_info_t {
  const char* target_name;
  struct {
    int min;
    int cur;
  } version;
  bool system_emulation;
  // More members follow, for whole-system emulation only.
};

enum qemu_plugin_cb_flags : int {
  // The callback touches no guest register.
  QEMU_PLUGIN_CB_NO_REGS = 0,
};

enum qemu_plugin_mem_rw : int {
  QEMU_PLUGIN_MEM_R = 1,
  QEMU_PLUGIN_MEM_W = 2,
  QEMU_PLUGIN_MEM_RW = 3,
};

using qemu_plugin_id_t = std::uint64_t;
// Opaque: what kind of access, and how wide.
using qemu_plugin_meminfo_t = std::uint32_t;

using qemu_plugin_tb_trans_cb_t = void (*)(qemu_plugin_id_t id,
                                           qemu_plugin_tb* block);
using qemu_plugin_vcpu_udata_cb_t = void (*)(unsigned vcpu, void* userdata);
using qemu_plugin_vcpu_mem_cb_t = void (*)(unsigned vcpu,
                                           qemu_plugin_meminfo_t info,
                                           std::uint64_t address,
                                           void* userdata);
using qemu_plugin_vcpu_syscall_cb_t = void (*)(
    qemu_plugin_id_t id, unsigned vcpu, std::int64_t number, std::uint64_t a1,
    std::uint64_t a2, std::uint64_t a3, std::uint64_t a4, std::uint64_t a5,
    std::uint64_t a6, std::uint64_t a7, std::uint64_t a8);
using qemu_plugin_vcpu_syscall_ret_cb_t = void (*)(qemu_plugin_id_t id,
                                                   unsigned vcpu,
                                                   std::int64_t number,
                                                   std::int64_t result);
using qemu_plugin_udata_cb_t = void (*)(qemu_plugin_id_t id, void* userdata);

void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id,
                                           qemu_plugin_tb_trans_cb_t callback);
void qemu_plugin_register_vcpu_insn_exec_cb(
    qemu_plugin_insn* instruction, qemu_plugin_vcpu_udata_cb_t callback,
    qemu_plugin_cb_flags flags, void* userdata);
void qemu_plugin_register_vcpu_mem_cb(qemu_plugin_insn* instruction,
                                      qemu_plugin_vcpu_mem_cb_t callback,
                                      qemu_plugin_cb_flags flags,
                                      qemu_plugin_mem_rw which, void* userdata);
void qemu_plugin_register_vcpu_syscall_cb(
    qemu_plugin_id_t id, qemu_plugin_vcpu_syscall_cb_t callback);
void qemu_plugin_register_vcpu_syscall_ret_cb(
    qemu_plugin_id_t id, qemu_plugin_vcpu_syscall_ret_cb_t callback);
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t id,
                                    qemu_plugin_udata_cb_t callback,
                                    void* userdata);

std::size_t qemu_plugin_tb_n_insns(const qemu_plugin_tb* block);
qemu_plugin_insn* qemu_plugin_tb_get_insn(const qemu_plugin_tb* block,
                                          std::size_t index);
std::uint64_t qemu_plugin_insn_vaddr(const qemu_plugin_insn* instruction);
std::size_t qemu_plugin_insn_size(const qemu_plugin_insn* instruction);
bool qemu_plugin_mem_is_store(qemu_plugin_meminfo_t info);
// log2 of the bytes accessed.
unsigned qemu_plugin_mem_size_shift(qemu_plugin_meminfo_t info);

}  // extern "C"

#endif  // PTAGE_TOOLS_TRACE_QEMU_PLUGIN_API_H_
