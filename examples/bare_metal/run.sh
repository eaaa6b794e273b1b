#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# run.sh KERNEL: runs it on two CPUs in software; what it prints on its serial port
# goes to standard output. The exit status is the kernel's (machine.h): 33 is
# success. A machine that resets itself ends with 0 and no output.

exec qemu-system-x86_64 -accel tcg,thread=multi -cpu "${KERNEL_CPU:-qemu64,+la57}" \
  -smp 2 -m 32M -nodefaults -display none -no-reboot -serial stdio \
  -device isa-debug-exit,iobase=0xf4,iosize=4 -kernel "$1" </dev/null
