#!/usr/bin/env python3
"""Compares timbre's tokenizer with the official one on many generated lines.

    check_tokenizer.py --model FOLDER [--driver build/tests/tokenize_lines] [--lines 100000] [--seed 1] [--mistral]
    check_tokenizer.py --model FOLDER --write tests/golden/qwen/tokenizer/lines.jsonl --lines 3000
    check_tokenizer.py --model FOLDER --code-points

The lines are the same for a seed on every machine: sentences in many languages, random code points of every script,
combining marks, white space of every kind, emoji, digits, code, fragments of special tokens, and random
pieces of the vocabulary itself, so that every merge has its turn. --code-points instead puts every assigned and
unassigned code point between other characters. --write stores lines with the official ids instead of comparing.

Needs transformers (4.57.3).
"""
import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import unicodedata

SENTENCES = """
The quick brown fox can't jump over 13 lazy dogs, and it's 12:30 already!
“Don’t,” she said—‘we’ll see…’ (Dr. Smith, Ph.D., paid $1,234.56 on 3/4/2021.)
Der Fußgänger überquert die Straße; Größe, Äpfel und Übermut.
Les élèves français naïfs ont mangé à Noël : « déjà vu », œuvre, cœur.
El niño español preguntó: ¿cuántos años tienes? ¡Qué bien!
A criança não fez a lição; coração, avó e avô, maçã.
Perché la città è così bella? L’università, quest’anno, po’ più.
Съешь ещё этих мягких французских булок, да выпей же чаю. Привет, мир!
你好,世界!今天天气很好,我们去公园吧。价格是3.14元,共计一百二十三元。
他说:“這是繁體字測試。”——對不對?《紅樓夢》、(括號)……
東京都は日本の首都です。カタカナ、ひらがな、漢字、ハンカク。「そうですか?」
안녕하세요, 세계! 한국어 문장입니다. 가격은 1,000원이에요.
مرحبا بالعالم، كيف حالك؟ هذا نصٌّ مُشَكَّلٌ بالعربيّة.
שלום עולם, מה שלומך? בְּרֵאשִׁית בָּרָא
नमस्ते दुनिया, आप कैसे हैं? हिन्दी भाषा। १२३
สวัสดีชาวโลก ภาษาไทยไม่มีช่องว่าง ๑๒๓
Xin chào thế giới, tiếng Việt có nhiều dấu: ườ ẫ ặ.
Γειά σου Κόσμε! Ελληνικά με τόνους: άέήίόύώ ΐΰ.
Kia ora, ā ē ī ō ū; Türkçe: İstanbul, ığüşöç. Čeština: příliš žluťoučký kůň.
გამარჯობა მსოფლიო Բարեւ աշխարհ ជំរាបសួរពិភពលោក မင်္ဂလာပါ
iPhone eBay LaTeX camelCase PascalCase HTMLParser ABCdef XMLHttpRequest McDonald's O'Neill
#include <stdio.h> /* ## */ #### #!/bin/sh // --flag=value && x->y::z |= 0x1F; $HOME/.config
https://example.com/a/b?c=d&e=%20f#g user.name+tag@host.co.uk C:\\Windows\\System32
def f(x):\n    return x**2  # comment\n\n\tif (a <= b) { c[i] += 1; }\r\n
<|im_start|>assistant\nHi<|im_end|>\n <|endoftext|> <tts_pad> <think></think> <|im_end <|im_|end|> <tool_call>
👍🏽 👨‍👩‍👧‍👦 🏳️‍🌈 🇩🇪🇫🇷 ❤️ 1️⃣ ☎️ 🤷🏻‍♀️ 😀😃😄
I'M I'LL YOU'RE can'T we'Ve 'ſ x'ſ 'S 'tis ''s '''d 'll'll
""".strip().split("\n")

SPACES = [
    " ",
    "  ",
    "   ",
    "\t",
    "\n",
    "\r\n",
    "\r",
    "\n\n",
    " \n",
    "\n ",
    "\u00a0",
    "\u1680",
    "\u2000",
    "\u2003",
    "\u2009",
    "\u200a",
    "\u2028",
    "\u2029",
    "\u202f",
    "\u205f",
    "\u3000",
    "\u0085",
    "\u000b",
    "\u000c",
    "\u200b",
    "\ufeff",
    "\u180e",
    "\u001c",
    "\u001f",
    "\u200d",
]
MARKS = [
    chr(c)
    for c in [
        *range(0x300, 0x370),
        *range(0x483, 0x488),
        *range(0x591, 0x5BE),
        *range(0x64B, 0x660),
        0x670,
        0x93C,
        0x94D,
        0x9BC,
        0xE38,
        0xE48,
        0xF71,
        0xF72,
        0xF74,
        0x1037,
        0x302A,
        0x3099,
        0x309A,
        0x20D0,
        0x20DD,
        0xFE20,
        0x1D165,
        0x1D16E,
        0x1E8D0,
    ]
]
BLOCKS = [
    (0x20, 0x7F),
    (0xA0, 0x250),
    (0x250, 0x370),
    (0x370, 0x530),
    (0x530, 0x700),
    (0x700, 0x900),
    (0x900, 0xE00),
    (0xE00, 0x1100),
    (0x1100, 0x1200),
    (0x1200, 0x1800),
    (0x1800, 0x2000),
    (0x1E00, 0x2000),
    (0x2000, 0x2C00),
    (0x2C00, 0x3000),
    (0x3000, 0x3400),
    (0x3400, 0x4E00),
    (0x4E00, 0xA000),
    (0xA000, 0xAC00),
    (0xAC00, 0xD7B0),
    (0xD7B0, 0xD800),
    (0xE000, 0xE100),
    (0xF900, 0xFB00),
    (0xFB00, 0x10000),
    (0x10000, 0x12000),
    (0x1D000, 0x1E000),
    (0x1F000, 0x1FB00),
    (0x20000, 0x20100),
    (0x2F800, 0x2FA20),
    (0xE0000, 0xE0200),
    (0x10FFF0, 0x110000),
]


def byte_alphabet():
    """Character of the vocabulary files -> byte."""
    printable = [*range(0x21, 0x7f), *range(0xa1, 0xad), *range(0xae, 0x100)]
    others = [b for b in range(256) if b not in printable]
    return {**{chr(b): b for b in printable}, **{chr(0x100 + i): b for i, b in enumerate(others)}}


class Lines:
    def __init__(self, model, seed):
        self.random = random.Random(seed)
        alphabet = byte_alphabet()
        with open(os.path.join(model, "vocab.json"), encoding="utf-8") as file:
            tokens = sorted(json.load(file).items(), key=lambda item: item[1])
        self.pieces = []
        for token, _ in tokens:
            try:
                self.pieces.append(bytes(alphabet[c] for c in token).decode("utf-8"))
            except UnicodeDecodeError:
                pass
        self.words = [word for line in SENTENCES for word in line.split(" ")]

    def code_point(self):
        low, high = self.random.choice(BLOCKS)
        return chr(self.random.randrange(low, high))

    def space(self):
        return self.random.choice(SPACES) if self.random.random() < 0.3 else " "

    def sentence(self):
        return self.random.choice(SENTENCES).replace("\\n", "\n").replace("\\r", "\r").replace("\\t", "\t")

    def shuffled_words(self):
        return "".join(self.random.choice(self.words) + self.space() for _ in range(self.random.randrange(1, 20)))

    def vocabulary_pieces(self):
        return "".join(self.random.choice(self.pieces) for _ in range(self.random.randrange(1, 12)))

    def code_points(self):
        return "".join(self.code_point() for _ in range(self.random.randrange(1, 25)))

    def one_block(self):
        low, high = self.random.choice(BLOCKS)
        return "".join(chr(self.random.randrange(low, high)) if self.random.random() < 0.9 else self.space()
                       for _ in range(self.random.randrange(1, 25)))

    def marks(self):
        bases = "aeiouAEIOUyncsgkdt가각나각かはカ<>=|"
        return "".join(
            self.random.choice(bases) + "".join(self.random.choice(MARKS) for _ in range(self.random.randrange(0, 6)))
            for _ in range(self.random.randrange(1, 8))
        )

    def jamo(self):
        return "".join(
            chr(
                self.random.choice(
                    [
                        self.random.randrange(0x1100, 0x1115),
                        self.random.randrange(0x1160, 0x1178),
                        self.random.randrange(0x11A6, 0x11C5),
                        self.random.randrange(0xAC00, 0xD7A4),
                    ]
                )
            )
            for _ in range(self.random.randrange(1, 15))
        )

    def spaces(self):
        return "".join(
            self.random.choice(SPACES) if self.random.random() < 0.7 else self.random.choice("aA1.é你#'")
            for _ in range(self.random.randrange(1, 15))
        )

    def punctuation(self):
        return "".join(
            self.random.choice("#'\"!?.,;:-–—_()[]{}<>/\\|@$%^&*+=~`…。，！？、「」«»“”‘’ \n\r")
            for _ in range(self.random.randrange(1, 30))
        )

    def ascii_bytes(self):
        return "".join(chr(self.random.randrange(0, 128)) for _ in range(self.random.randrange(1, 40)))

    def mutated(self):
        text = list(self.sentence())
        for _ in range(self.random.randrange(1, 5)):
            place = self.random.randrange(len(text) + 1)
            action = self.random.random()
            if action < 0.4:
                text.insert(place, self.code_point())
            elif action < 0.7 and place < len(text):
                del text[place]
            elif place < len(text):
                text[place] = text[place].swapcase()
        text = "".join(text)
        return unicodedata.normalize(self.random.choice(["NFC", "NFD", "NFKD"]), text)

    def repeated(self):
        return self.random.choice(
            [self.code_point(), self.random.choice(self.words), "#", "=", "-", " ", "\n", "aA", "0"]
        ) * self.random.randrange(1, 60)

    def line(self):
        kinds = [
            self.sentence,
            self.shuffled_words,
            self.vocabulary_pieces,
            self.vocabulary_pieces,
            self.code_points,
            self.one_block,
            self.marks,
            self.jamo,
            self.spaces,
            self.punctuation,
            self.ascii_bytes,
            self.mutated,
            self.mutated,
            self.repeated,
        ]
        text = self.random.choice(kinds)()
        if self.random.random() < 0.2:
            text += (
                self.random.choice(["", " ", "<|im_end|>", "<tts_pad>", "<|im_start|>"]) + self.random.choice(kinds)()
            )
        return text


def code_point_lines():
    """Every code point, in places where its category and its NFC form show."""
    for code in range(0x110000):
        if not 0xd800 <= code < 0xe000:
            c = chr(code)
            yield f"a{c}b {c}{c}1{c}.{c} {c}\n{c}'{c}"
            if unicodedata.category(c).startswith(("L", "M")):
                yield f"{c}\u0301\u0323{c}"


def official_ids(model, lines, mistral):
    from transformers import AutoTokenizer

    options = {"fix_mistral_regex": True} if mistral else {}
    tokenizer = AutoTokenizer.from_pretrained(model, **options)
    ids = []
    for start in range(0, len(lines), 10000):
        ids += tokenizer(lines[start:start + 10000], add_special_tokens=False)["input_ids"]
    return ids


def timbre_ids(driver, model, lines, mistral):
    with tempfile.TemporaryFile("w+", encoding="utf-8") as given:
        given.writelines(json.dumps(line) + "\n" for line in lines)
        given.seek(0)
        command = [driver, model] + (["mistral"] if mistral else [])
        output = subprocess.run(command, stdin=given, stdout=subprocess.PIPE, check=True).stdout
    return [json.loads(line) for line in output.splitlines()]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--driver", default="build/tests/tokenize_lines")
    parser.add_argument("--lines", type=int, default=100000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--mistral", action="store_true")
    parser.add_argument("--code-points", action="store_true")
    parser.add_argument("--write")
    options = parser.parse_args()
    generator = Lines(options.model, options.seed)
    lines = list(code_point_lines()) if options.code_points else [generator.line() for _ in range(options.lines)]
    expected = official_ids(options.model, lines, options.mistral)
    if options.write:
        with open(options.write, "w", encoding="utf-8") as file:
            for line, ids in zip(lines, expected):
                file.write(json.dumps({"text": line, "ids": ids}, separators=(",", ":")) + "\n")
        return 0
    actual = timbre_ids(options.driver, options.model, lines, options.mistral)
    assert len(actual) == len(lines)
    different = [i for i in range(len(lines)) if actual[i] != expected[i]]
    for i in different[:20]:
        print(f"{lines[i]!r} {[hex(ord(c)) for c in lines[i][:12]]}\n  official {expected[i]}\n  timbre   {actual[i]}")
    print(f"{len(lines)} lines, {sum(map(len, expected))} tokens, {len(different)} lines differ")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
