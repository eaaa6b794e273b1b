# SPDX-License-Identifier: MIT OR Apache-2.0
"""How mutants of small headers are put side by side."""

import pathlib
import re
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).absolute().parent))
import choose  # pylint: disable=wrong-import-position
import list_mutants  # pylint: disable=wrong-import-position

BEFORE = "#define GUARD\n#include \"test/relacy/chosen.h\"\nint Do(Cell<int>& a, int b) {\n"


def made(body, *rows):
    """The body with the rows (old, new) in it; "?N" stands for the choice of row N."""
    text = BEFORE.replace("#include \"test/relacy/chosen.h\"\n", "") + body + "\n}\n"
    mutants = [(number, choose.replaced(text, old, new))
               for number, (old, new) in enumerate(rows, 1)]
    text = choose.choosable("small", text, mutants)
    assert text.startswith(BEFORE), text
    text = " ".join(text[len(BEFORE):].removesuffix("}\n").split())
    return re.sub(r"::ptage::IsChosen\((\d+)\)", r"?\1", text)


def alone(text, old, new):
    return choose.why_alone("small", f"#define GUARD\n{text}\n", old, new)


class Places(unittest.TestCase):

    def test_a_statement(self):
        self.assertEqual(made("a.Set(1);\na.Set(2);", ("2", "3")),
                         "a.Set(1); { if (?1) { a.Set(3); } else { a.Set(2); } }")
        self.assertEqual(made("return a < b;", ("a < b", "a > b")),
                         "{ if (?1) { return a > b; } else { return a < b; } }")

    def test_what_is_inserted(self):
        self.assertEqual(made("a.Set(1);\na.Set(2);", ("a.Set(2);", "Go();\na.Set(2);")),
                         "a.Set(1); if (?1) { Go(); } a.Set(2);")
        self.assertEqual(
            made("if (b > 1) return 1;\nreturn 2;",
                 ("if (b > 1)", "if (b == 0) return 0;\nif (b > 1)")),
            "if (?1) { if (b == 0) return 0; } if (b > 1) return 1; return 2;")

    def test_what_is_taken_away(self):
        self.assertEqual(made("a.Set(1);\na.Set(2);", ("a.Set(2);", "")),
                         "a.Set(1); { if (?1) { } else { a.Set(2); } }")

    def test_a_condition(self):
        for begin, end in (("if (", ") Go();"), ("while (", ") Go();"),
                           ("for (int i = 0; ", "; ++i) Go();"),
                           ("if (const int c = 1; ", ") Go();")):
            self.assertEqual(
                made(f"{begin}a < b{end}", ("a < b", "a < b && b")),
                f"{begin}(?1 ? static_cast<bool>(a < b && b) "
                f": static_cast<bool>(a < b)){end}")

    def test_a_condition_of_the_compiler_is_none(self):
        self.assertEqual(
            made("if constexpr (kA) Go();", ("kA", "!kA")),
            "{ if (?1) { if constexpr (!kA) Go(); } else { if constexpr (kA) Go(); } }")

    def test_an_initializer_whose_type_is_written(self):
        self.assertEqual(
            made("const int x = a + b;\nreturn x;", ("+", "-")),
            "const int x = (?1 ? static_cast<int>(a - b) : static_cast<int>(a + b)); "
            "return x;")

    def test_a_declaration_takes_along_the_rest_of_its_block(self):
        self.assertEqual(
            made("Go();\nconst auto x = a + b;\nGo();\nreturn x;", ("+", "-")),
            "Go(); { if (?1) { const auto x = a - b; Go(); return x; } else "
            "{ const auto x = a + b; Go(); return x; } }")
        self.assertEqual(
            made("Go();\nconst Guard guard(a);\nGo();", ("const Guard guard(a);", "")),
            "Go(); { if (?1) { Go(); } else { const Guard guard(a); Go(); } }")

    def test_a_branch_without_braces_stays_one_statement(self):
        self.assertEqual(
            made("if (b) Go();\nreturn 1;", ("Go();", "return 2;")),
            "if (b) { if (?1) { return 2; } else { Go(); } } return 1;")
        # Without it, the branch is what follows.
        self.assertEqual(
            made("if (b) Go();\nreturn 1;", ("Go();", "")),
            "{ if (?1) { if (b) return 1; } else { if (b) Go(); return 1; } }")

    def test_an_else_stays_with_its_if(self):
        self.assertEqual(
            made("if (b) Go();\nelse Stay();", ("Go();", "if (a) Go();")),
            "{ if (?1) { if (b) if (a) Go(); else Stay(); } else "
            "{ if (b) Go(); else Stay(); } }")

    def test_no_label_is_made_twice(self):
        self.assertEqual(
            made("switch (b) {\ncase 1:\nGo();\nbreak;\ncase 2:\nStay();\n}",
                 ("Go();\nbreak;", "Stop();")),
            "switch (b) { case 1: { if (?1) { Stop(); } else { Go(); break; } } "
            "case 2: Stay(); }")
        self.assertEqual(
            made("switch (b) {\ncase 1: Go();\ncase 2: Stay();\n}",
                 ("case 1: Go();\ncase 2:", "case 2:")),
            "{ if (?1) { switch (b) { case 2: Stay(); } } else "
            "{ switch (b) { case 1: Go(); case 2: Stay(); } } }")

    def test_in_a_lambda(self):
        self.assertEqual(
            made("Each([&](int i) {\na.Set(i);\nb += i;\n});", ("+=", "-=")),
            "Each([&](int i) { a.Set(i); { if (?1) { b -= i; } else { b += i; } } });")


class Together(unittest.TestCase):

    def test_alternatives_of_one_statement(self):
        self.assertEqual(
            made("Go(1);", ("1", "2"), ("1", "3")),
            "{ if (?1) { Go(2); } else if (?2) { Go(3); } else { Go(1); } }")

    def test_one_inside_another(self):
        self.assertEqual(
            made("if (b) {\nGo(1);\n}\nStay();", ("1", "2"),
                 ("if (b) {\nGo(1);\n}\nStay();", "Stay();\nif (b) {\nGo(1);\n}")),
            "{ if (?2) { Stay(); if (b) { Go(1); } } else { if (b) { "
            "{ if (?1) { Go(2); } else { Go(1); } } } Stay(); } }")

    def test_those_that_overlap(self):
        self.assertEqual(
            made("A();\nB();\nC();", ("A();\nB();", "B();\nA();"),
                 ("B();\nC();", "C();\nB();")),
            "{ if (?1) { B(); A(); C(); } else if (?2) { A(); C(); B(); } else "
            "{ A(); B(); C(); } }")

    def test_what_was_inserted_beside_what_is_changed(self):
        self.assertEqual(
            made("A();\nB();", ("B();", "X();\nB();"), ("B", "C")),
            "A(); if (?1) { X(); } { if (?2) { C(); } else { B(); } }")


class Alone(unittest.TestCase):

    def test_what_stands_in_no_body(self):
        for text, old in (("struct A {\nint x = 1;\n};", "1"),
                          ("template <int kN = 1>\nvoid Do();", "1"),
                          ("inline constexpr int kN = 1;", "1"),
                          ("struct A {\nA() : x(1) {}\nint x;\n};", "1")):
            self.assertEqual(alone(text, old, "2"),
                             "changes more than the body of a function")

    def test_what_changes_nothing(self):
        self.assertEqual(alone("void Do() { Go();  // 1\n}", "1", "2"),
                         "changes no token")

    def test_what_can_be_chosen(self):
        self.assertIsNone(alone("void Do() { Go(1); }", "1", "2"))

    def test_a_row_quotes_once(self):
        with self.assertRaises(ValueError):
            choose.replaced("Go(1, 1);", "1", "2")


class Shipped(unittest.TestCase):

    def test_all_that_is_listed_can_be_chosen(self):
        for header, listed in list_mutants.all_mutants().items():
            text = list_mutants.text_of(header)
            made_of = choose.choosable(
                header, text, [(i, m.apply(text)) for i, m in enumerate(listed, 1)])
            for number in range(1, len(listed) + 1):
                self.assertIn(f"IsChosen({number})", made_of)


if __name__ == "__main__":
    unittest.main()
