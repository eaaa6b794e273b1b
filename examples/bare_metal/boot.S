// SPDX-License-Identifier: MIT OR Apache-2.0
//
// From the loader, and from the reset of the second CPU, to C++ in long mode:
// what cannot be said in C++. Multiboot 1 leaves the first CPU in 32-bit mode
// without paging (specification 0.6.96, 3.2); a startup IPI leaves the second
// in real mode (Intel SDM 3A 9.4). Long mode: SDM 3A 10.8.5.

#define CR0_PROTECTED (1 << 0)
#define CR0_WRITE_PROTECT (1 << 16)
#define CR0_PAGING (1 << 31)
#define CR4_PAE (1 << 5)
#define CR4_LA57 (1 << 12)
#define EFER 0xC0000080
#define EFER_LONG_MODE (1 << 8)
#define EFER_NO_EXECUTE (1 << 11)

#if KERNEL_LEVELS == 5
#define CR4_PAGING (CR4_PAE | CR4_LA57)
#else
#define CR4_PAGING CR4_PAE
#endif

#define CODE64 8
#define DATA 16

// ----------------------------------------------------------------------------
// The header that loaders look for. It says itself where the image goes (flag
// 16): loaders read addresses from 32-bit ELF files alone, and this is a 64-bit
// one.

#define MULTIBOOT_MAGIC 0x1BADB002
#define MULTIBOOT_ADDRESSES (1 << 16)

        .section .multiboot, "a"
        .balign 4
multiboot_header:
        .long MULTIBOOT_MAGIC, MULTIBOOT_ADDRESSES
        .long -(MULTIBOOT_MAGIC + MULTIBOOT_ADDRESSES)
        .long multiboot_header, image_begin, image_end, memory_end, Start

// ----------------------------------------------------------------------------
// The first CPU. Its first tables map the first GiB to itself, by 2 MiB pages,
// until the kernel has made its own.

        .section .text, "ax"
        .code32
        .globl Start
Start:
        cli
        cld
        movl $(boot_table_3 + 3), boot_table_4
        movl $(boot_table_2 + 3), boot_table_3
        movl $0x83, %eax        // present, writable, large
        movl $boot_table_2, %edi
1:      movl %eax, (%edi)
        addl $0x200000, %eax
        addl $8, %edi
        cmpl $(boot_table_2 + 4096), %edi
        jne 1b
#if KERNEL_LEVELS == 5
        movl $(boot_table_4 + 3), boot_table_5
        movl $boot_table_5, %eax
#else
        movl $boot_table_4, %eax
#endif
        movl %eax, %cr3
        movl $CR4_PAGING, %eax
        movl %eax, %cr4
        movl $EFER, %ecx
        movl $(EFER_LONG_MODE | EFER_NO_EXECUTE), %eax
        xorl %edx, %edx
        wrmsr
        movl $(CR0_PROTECTED | CR0_WRITE_PROTECT | CR0_PAGING), %eax
        movl %eax, %cr0
        lgdt gdt_pointer
        ljmp $CODE64, $Start64

        .code64
Start64:
        movl $DATA, %eax
        movl %eax, %ds
        movl %eax, %es
        movl %eax, %ss
        movl $first_stack_top, %esp
        call KernelMain
        ud2

// ----------------------------------------------------------------------------
// The second CPU begins at a page below 1 MiB, in 16-bit mode. The kernel copies
// this there, and the address of its own tables.

        .globl second_cpu_code, second_cpu_code_end, second_cpu_root
        .code16
second_cpu_code:
        cli
        cld
        movw %cs, %ax
        movw %ax, %ds
        movl second_cpu_root - second_cpu_code, %eax
        movl %eax, %cr3
        movl $CR4_PAGING, %eax
        movl %eax, %cr4
        movl $EFER, %ecx
        movl $(EFER_LONG_MODE | EFER_NO_EXECUTE), %eax
        xorl %edx, %edx
        wrmsr
        lgdtl second_cpu_gdt - second_cpu_code
        movl $(CR0_PROTECTED | CR0_WRITE_PROTECT | CR0_PAGING), %eax
        movl %eax, %cr0
        ljmpl $CODE64, $SecondStart64
        .balign 4
second_cpu_root:
        .long 0
second_cpu_gdt:
        .word gdt_end - gdt - 1
        .long gdt
second_cpu_code_end:

        .code64
SecondStart64:
        movl $DATA, %eax
        movl %eax, %ds
        movl %eax, %es
        movl %eax, %ss
        movl $second_stack_top, %esp
        call SecondCpuMain
        ud2

// ----------------------------------------------------------------------------
// Exceptions: OnException(frame) of exceptions.h, with what a C++ function may
// overwrite kept. The kernel is compiled without vector registers.

        .globl exception_entries
        .balign 16
exception_entries:
        .irp vector, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, \
                     16, 17, 18, 19, 20, 21
        .balign 16
        // Those that push an error code by themselves (SDM 3A table 6-1).
        .if \vector == 8 || (\vector >= 10 && \vector <= 14) || \vector == 17 || \vector == 21
        .else
        pushq $0
        .endif
        pushq $\vector
        jmp Exception
        .endr

Exception:
        pushq %rax
        pushq %rcx
        pushq %rdx
        pushq %rsi
        pushq %rdi
        pushq %r8
        pushq %r9
        pushq %r10
        pushq %r11
        cld
        leaq 72(%rsp), %rdi
        call OnException
        popq %r11
        popq %r10
        popq %r9
        popq %r8
        popq %rdi
        popq %rsi
        popq %rdx
        popq %rcx
        popq %rax
        addq $16, %rsp
        iretq

// ----------------------------------------------------------------------------

        .section .rodata, "a"
        .balign 8
gdt:
        .quad 0
        .quad 0x00AF9A000000FFFF        // code, 64-bit
        .quad 0x00CF92000000FFFF        // data
gdt_end:
gdt_pointer:
        .word gdt_end - gdt - 1
        .long gdt

        .section .bss, "aw", @nobits
        .balign 4096
boot_table_5:
        .skip 4096
boot_table_4:
        .skip 4096
boot_table_3:
        .skip 4096
boot_table_2:
        .skip 4096
        .skip 32768
first_stack_top:
        .skip 32768
second_stack_top:

        .section .note.GNU-stack, "", @progbits
