#!/usr/bin/env python3
"""Writes src/tts/qwen3/text/unicode_ranges.h: where the official tokenizer's Unicode tables differ from our libraries'.

    make_unicode_ranges.py > src/tts/qwen3/text/unicode_ranges.h

Its regular expressions know Unicode 16, PCRE2 10.42 knows 14: letters, numbers and marks since then are listed. Its
normalizer knows Unicode 9, utf8proc 2.8 knows 15: marks since 9 are starters to it. Needs the Python package tokenizers
(0.22.2) and a Python whose unicodedata is 14.0.0 (3.11).
"""
import unicodedata

from tokenizers import Regex, normalizers, pre_tokenizers

assert unicodedata.unidata_version == "14.0.0"
CODES = [c for c in range(0x110000) if not 0xd800 <= c < 0xe000]


def ranges(codes):
    found = []
    for code in sorted(codes):
        if found and found[-1][1] == code - 1:
            found[-1][1] = code
        else:
            found.append([code, code])
    return found


def newer(category):
    split = pre_tokenizers.Split(Regex(r"\p{%s}" % category), "removed")
    return ranges(c for c in CODES if unicodedata.category(chr(c)) == "Cn" and not split.pre_tokenize_str(chr(c)))


def wrap(name, items):
    lines, line = [], ""
    for item in items:
        if len(line) + len(item) > 100:
            lines.append(line)
            line = ""
        line += item
    lines.append(line)
    return f"#define {name} \\\n" + " \\\n".join(f'    "{text}"' for text in lines)


def macro(name, category):
    return wrap(
        name,
        [
            f"\\\\x{{{low:x}}}-\\\\x{{{high:x}}}" if low != high else f"\\\\x{{{low:x}}}"
            for low, high in newer(category)
        ],
    )


def starters():
    """Marks by today's tables (including 15's, which Python 3.11 lacks) that the official NFC does not reorder."""
    nfc = normalizers.NFC()
    since_14 = {0x10efd, 0x10efe, 0x10eff, 0x11f41, 0x11f42, 0x1e08f, *range(0x1e4ec, 0x1e4f0)}
    found = set()
    for code in CODES:
        c = chr(code)
        if unicodedata.combining(c) == 0 and code not in since_14 or code in (0x345, 0x334):
            continue
        if (
            not nfc.normalize_str("a\u0345" + c).endswith("\u0345")
            and nfc.normalize_str("a" + c + "\u0334") == "a" + c + "\u0334"
        ):
            found.add(code)
    # U+11A7 is no trailing consonant, though utf8proc composes it; U+11938 came with Unicode 13.
    return ranges(found | {0x11a7, 0x11930, 0x11938})


def main():
    print("/* Where the official tokenizer's Unicode tables differ from PCRE2's and utf8proc's; made by")
    print(" * tools/make_unicode_ranges.py. */")
    print(
        "#ifndef TMB_TTS_QWEN3_TEXT_UNICODE_RANGES_H\n#define TMB_TTS_QWEN3_TEXT_UNICODE_RANGES_H\n\n#include"
        " <stdint.h>\n"
    )
    print("/* Code points since Unicode 14, for use inside a character class. */")
    for name, category in [
        ("LETTERS", "L"),
        ("NUMBERS", "N"),
        ("UPPER", "Lu"),
        ("LOWER", "Ll"),
        ("MODIFIERS", "Lm"),
        ("OTHERS", "Lo"),
        ("MARKS", "M"),
    ]:
        print(macro(f"TMB_NEWER_{name}", category))
    print(
        "\n/* Code points that normalization passes over, with nothing composed or reordered across them: [first,"
        " last]. */"
    )
    print("static const uint32_t tmb_normalization_breaks[][2] = {")
    for low, high in starters():
        print(f"    {{0x{low:x}, 0x{high:x}}},")
    print("};\n\n#endif")


main()
