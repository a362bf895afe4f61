"""The texts and conversations that the tokenizers' golden numbers are made from: all from one seed, none from elsewhere."""

import random

# The first article of the Universal Declaration of Human Rights, which is in the public domain, or its beginning.
LANGUAGES = [
    "All human beings are born free and equal in dignity and rights. They are endowed with reason and conscience.",
    "Alle Menschen sind frei und gleich an Würde und Rechten geboren. Straße, Größe, Übermut.",
    "Tous les êtres humains naissent libres et égaux en dignité et en droits. Où ça ? Là-bas, à Noël.",
    "Todos los seres humanos nacen libres e iguales en dignidad y derechos. ¿Qué? ¡Señor!",
    "Tutti gli esseri umani nascono liberi ed eguali in dignità e diritti.",
    "Todos os seres humanos nascem livres e iguais em dignidade e em direitos. Não, coração.",
    "Wszyscy ludzie rodzą się wolni i równi pod względem swej godności i swych praw. Źdźbło.",
    "Všichni lidé rodí se svobodní a sobě rovní co do důstojnosti a práv. Příliš žluťoučký kůň.",
    "Bütün insanlar hür, haysiyet ve haklar bakımından eşit doğarlar. İstanbul, ılık.",
    "Tất cả mọi người sinh ra đều được tự do và bình đẳng về nhân phẩm và quyền.",
    "Все люди рождаются свободными и равными в своем достоинстве и правах.",
    "Всі люди народжуються вільними і рівними у своїй гідності та правах. Ґанок, їжак.",
    "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα.",
    "כל בני האדם נולדו בני חורין ושווים בערכם ובזכויותיהם.",
    "يولد جميع الناس أحرارا متساوين في الكرامة والحقوق.",
    "تمام انسان‌ها آزاد به دنیا می‌آیند و از لحاظ حیثیت و حقوق با هم برابرند.",
    "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है।",
    "সমস্ত মানুষ স্বাধীনভাবে সমান মর্যাদা এবং অধিকার নিয়ে জন্মগ্রহণ করে।",
    "மனிதப் பிறவியினர் சகலரும் சுதந்திரமாகவே பிறக்கின்றனர்.",
    "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ",
    "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心。",
    "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。カタカナ",
    "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.",
    "ყველა ადამიანი იბადება თავისუფალი და თანასწორი თავისი ღირსებითა და უფლებებით.",
    "Բոլոր մարդիկ ծնվում են ազատ ու հավասար իրենց արժանապատվությամբ ու իրավունքներով։",
    "የሰው ልጅ ሁሉ ሲወለድ ነጻና በክብርና በመብትም እኩልነት ያለው ነው።",
]

CODE = [
    "def f(x):\n    return x ** 2  # squared\n",
    "for (let i = 0; i < 10; i++) {\n\tconsole.log(`${i}: ${a[i]}`);\n}\n",
    'if (x != NULL && *x == \'\\0\') { printf("%d\\n", 0x1F); }',
    "SELECT name, COUNT(*) FROM users WHERE id >= 100 GROUP BY name;",
    '{"role": "user", "content": [1, 2.5e-3, null, true]}',
    "<div class=\"a-b\">x &amp; y</div>\r\n\r\n<!-- end -->",
    "import numpy as np\n\n\nclass A(B):\n        pass\n",
    "https://example.org/path?q=a+b&x=%20#top  user@example.com",
    "std::vector<std::pair<int, float>> v{{1, 2.0f}}; v->first;",
]

ODD = [
    "👩‍👩‍👧‍👦", "🏳️‍🌈", "👍🏽", "🇩🇪🇯🇵", "❤️", "1️⃣", "😀😃", "e\u0301", "é", "A\u030a", "Å", "ｆｕｌｌ　ｗｉｄｔｈ", "ﬁnance", "①②", "½", "™",
    "\u1112\u1161\u11ab", "한", "\u00a0", "\u3000", "\u200b", "\u200d", "\ufeff", "\u2028", "\u0085", "\u00ad", "\u202e", "x\u0000y", "\u0001",
    "\u007f", "𝒜𝓑", "𐍈", "𠜎𠜱", "ǅ", "ß", "ẞ", "İ", "ſ", "ϒ", "…", "—", "“quoted”", "don't", "DON'T", "we'll've", "it’s", "naïve", "\ufffd", "▁",
    "▁▁a", "Ġ", "Ċ", "##ing", "<0x0A>", "café", "CAFÉ", "12345678", "3.14", "1,000,000", "٣٤", "Ⅷ", "x²", "a_b__c", "$100", "100%", "C++",
    "\ud7ff", "\ue000", "\U0010ffff", "\u0e33", "\u0f73", "\u2126", "\u212b", "ﷺ", "㌀",
]  # fmt: skip

SPACES = [" ", "  ", "   ", "    ", " " * 7, " " * 24, "\n", "\n\n", "\n \n", "\t", "\t\t", " \t", "\r\n", "\r", " \n", "\n  "]

SPECIAL = [
    "<s>", "</s>", "<unk>", "<pad>", "<bos>", "<eos>", "[INST]", "[/INST]", "<|endoftext|>", "<|im_start|>", "<|im_end|>",
    "<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<start_of_turn>", "<end_of_turn>", "<|user|>", "<|assistant|>", "<|end|>",
    "[CLS]", "[SEP]", "[MASK]", "[UNK]", "<extra_id_0>", "<tool_call>", "<think>",
]  # fmt: skip


def training_texts() -> list[str]:
    """What the small vocabularies are trained on: words of all languages, code and odd marks, each several times."""
    generator = random.Random(1)
    words = [word for text in LANGUAGES for word in text.split(" ")]
    shuffled = [" ".join(generator.choices(words, k=12)) for _ in range(300)]
    return LANGUAGES * 8 + CODE * 8 + ODD * 3 + shuffled


def strings(count: int = 1000) -> list[str]:
    """Texts of one to eight pieces of every kind; the first ones are single pieces."""
    generator = random.Random(2)
    words = [word for text in LANGUAGES for word in text.split(" ")]
    singles = ["", "a", " a", "a ", *ODD, *SPACES, *SPECIAL, *CODE, *LANGUAGES]
    result = list(singles)
    kinds = [words, words, words, ODD, CODE, SPACES, SPACES, SPECIAL]
    while len(result) < count:
        pieces = []
        for _ in range(generator.randint(2, 8)):
            kind = generator.choice(kinds)
            piece = generator.choice(kind)
            if kind is CODE:
                start = generator.randrange(len(piece))
                piece = piece[start : start + generator.randint(3, 20)]
            pieces.append(piece)
            if generator.random() < 0.4:
                pieces.append(" ")
        result.append("".join(pieces))
    return result[:count]


TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Weather at a place, as \"now\" or <later> & 'then'",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string", "description": "Größe, 東京"}, "days": {"type": "integer"}},
                "required": ["city"],
            },
        },
    },
    {"type": "function", "function": {"name": "stop", "description": "Ends it", "parameters": {"type": "object", "properties": {}}}},
]


def conversations(count: int = 50) -> list[dict]:
    """Of one to five turns, with and without a system message, with tools and their results, with and without a generation prompt."""
    generator = random.Random(3)
    texts = [text for text in LANGUAGES + CODE + ODD if text.strip() and "\x00" not in text]

    def say() -> str:
        return generator.choice(SPACES + [""] * 20) + " ".join(generator.choices(texts, k=generator.randint(1, 2)))

    result = []
    for i in range(count):
        messages = [{"role": "system", "content": say()}] if i % 3 == 1 else []
        tools = i % 5 == 4
        for turn in range(generator.randint(1, 4)):
            messages.append({"role": "user", "content": say()})
            if tools and turn == 0:
                arguments = {"city": generator.choice(texts)[:12], "days": i, "exact": None, "share": 0.5, "deep": [{"a": True}]}
                call = {"type": "function", "id": f"call{i:05}", "function": {"name": "get_weather", "arguments": arguments}}
                messages.append({"role": "assistant", "content": "", "tool_calls": [call]})
                messages.append({"role": "tool", "name": "get_weather", "tool_call_id": f"call{i:05}", "content": '{"t": 21.5}'})
            messages.append({"role": "assistant", "content": say()})
        generation = i % 2 == 0
        if generation:
            messages.pop()
        if i % 25 == 24:  # some templates refuse two turns of one role
            messages.insert(-1, dict(messages[-1]))
        result.append({"messages": messages, "tools": TOOLS if tools else None, "add_generation_prompt": generation})
    return result
