# SPDX-License-Identifier: MIT OR Apache-2.0
"""Kernels broken on purpose, and the count that is then wrong.

A row is (name, file, what it says once, what it says instead, a regular
expression of what the kernel must find wrong). docs/bare_metal.md says what each teaches.
"""

BROKEN = [
    (
        "NoFlushBeforeTheSecondLook",
        "examples/bare_metal/kernel.cc",
        "  cpus.Flush(kFew);\n  read_few();\n  Expect(\"and with one",
        "  read_few();\n  Expect(\"and with one",
        "and with one, young",
    ),
    (
        "TheAccessedBitOfAnotherFormat",
        "include/ptage/spte/x86_64.h",
        "kAccessed = Word{1} << 5;",
        "kAccessed = Word{1} << 8;",
        "read 171 of 512 pages, young",
    ),
    (
        "APageIsMissing",
        "examples/bare_metal/kernel.cc",
        "  window->Map(Gfn{kApic >> 12}, Level{1}, Pfn{kApic >> 12}, Rights::kReadWrite,\n" +
        "              kUncached);\n",
        "  (void)kUncached;\n",
        "page fault at 0xfee00310",
    ),
    (
        "ASplitForgetsAccessed",
        "include/ptage/spte/x86_64.h",
        "word & ~kPageSize : word;",
        "word & ~(kPageSize | kAccessed) : word;",
        "young entries",
    ),
    (
        "ACpuEntersWithWhatItHasCached",
        "examples/bare_metal/cpus.h",
        "    ptage::WriteOnce(answered, flushes, ptage::kSeqCst);\n    DropTranslations();\n",
        "    ptage::WriteOnce(answered, flushes, ptage::kSeqCst);\n",
        # Which of them depends on when it comes.
        "20 looks at 64 pages being|rounds with another set of pages than was read",
    ),
    (
        "AFlushOfOneCpu",
        "examples/bare_metal/cpus.h",
        "ptage::FetchAdd(flushes_, std::uint64_t{1}, ptage::kSeqCst) + 1;",
        "ptage::ReadOnce(flushes_, ptage::kSeqCst);",
        "20 looks at 64 pages being written, dirty",
    ),
    (
        "AgingTakesTheDirtyBit",
        "include/ptage/spte.h",
        "return static_cast<typename F::Word>(word & ~F::kAccessed);",
        "return static_cast<typename F::Word>(word & ~(F::kAccessed | F::kDirty));",
        "20 looks at 64 pages being written, dirty",
    ),
    (
        "AFrameGoesBeforeTheFlush",
        "examples/bare_metal/window.h",
        "ptage::ZapFlush::kEach",
        "ptage::ZapFlush::kByCaller",
        "additions lost",
    ),
    (
        # An ager of its own, which waits for what may come in between: it need not be
        # lucky.
        "AgingStoresWithoutComparing",
        "examples/bare_metal/kernel.cc",
        "      Bits young;\n" +
        "      (void)window->Look(kHotPages, AgeAction::kTestAndClear, young);\n" +
        "    });\n",
        "      const Window::Walk walk(window->reclaimer());\n" +
        "      for (std::size_t page = 0; page < kHot; ++page) {\n" +
        "        const auto found = window->tree().Lookup(walk, kHotPages.begin + page);\n" +
        "        if (!ptage::IsYoung<Format>(found.word) ||\n" +
        "            ptage::IsDirty<Format>(found.word)) {\n" +
        "          continue;\n" +
        "        }\n" +
        "        for (int i = 0; i < 2000 && ReadOnce(*found.entry, ptage::kRelaxed) ==\n" +
        "                                      found.word; ++i) {\n" +
        "          ptage::SpinPause();\n" +
        "        }\n" +
        "        WriteOnce(*found.entry, ptage::Aged<Format>(found.word),\n" +
        "                  ptage::kRelaxed);\n" +
        "      }\n" +
        "    });\n",
        "20 looks at 64 pages being written, dirty",
    ),
]
