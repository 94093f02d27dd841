"""Prose: meaningless, pleasant text in several scripts, the same for the same seed on every machine and run.

Sentences are numbered through their words alone: a long text hardly repeats itself, so a piece that is missing,
doubled or out of order shows.
"""

import random
from collections.abc import Callable, Iterator

# fmt: off
_SUBJECTS = [
    "a quiet river", "an old clock", "the morning train", "a paper boat", "the lighthouse keeper", "a patient engine",
    "the last lantern", "a small harbour", "the copper kettle", "a wandering signal", "the garden gate",
    "a borrowed map", "the northern wind", "a blue ledger",
]
_VERBS = [
    "remembers", "carries", "follows", "counts", "answers", "repairs", "forgets", "crosses", "measures", "collects",
    "keeps", "outlives",
]
_OBJECTS = [
    "every unopened letter", "the sound of rain", "a handful of stars", "the shortest way home", "seven silver keys",
    "what was promised", "the colour of evening", "a story without an end", "the weight of snow", "one careful step",
    "the names of the islands", "the tide",
]
_PLACES = [
    "before dawn", "under the bridge", "beyond the orchard", "in plain sight", "after the storm", "on the far shore",
    "between two bells",
]
_CJK = [
    "静かな川が夜明けの橋を渡る", "古い時計は星の数を数えている", "小さな港に青い灯がともる",
    "風は遠い島の名前を覚えている", "朝の列車が雪の野を走り抜ける", "约定的信在雨中慢慢展开",
    "老钟记得每一颗星星", "纸船沿着小河漂向大海", "조용한 강은 새벽을 기억한다",
    "작은 항구에 푸른 등이 켜진다",
]
_RTL = [
    "النهر الهادئ يتذكر كل رسالة", "الساعة القديمة تعد النجوم قبل الفجر",
    "القارب الورقي يعبر إلى الشاطئ البعيد", "الريح تحفظ أسماء الجزر",
    "הנהר השקט זוכר כל מכתב", "השעון הישן סופר כוכבים",
    "סירת הנייר חוצה אל החוף הרחוק",
]
_EMOJI = [
    "👩\u200d💻", "👨\u200d👩\u200d👧\u200d👦", "🏳️\u200d🌈", "👍🏽", "🇯🇵", "🚀", "🎉", "❤️\u200d🔥",
    "🧑🏿\u200d🚀", "🐻\u200d❄️", "🌊", "🕰️", "🗺️", "🇫🇷", "✨", "🫖", "1️⃣", "🧵",
]
# fmt: on


def _pick(chance: random.Random, choices: list[str]) -> str:
    # random() is the one method whose sequence is promised to stay the same across Python versions.
    return choices[int(chance.random() * len(choices))]


def _latin(chance: random.Random) -> str:
    words = " ".join(_pick(chance, choices) for choices in (_SUBJECTS, _VERBS, _OBJECTS, _PLACES))
    return f"{words[0].upper()}{words[1:]}. "


def _cjk(chance: random.Random) -> str:
    return f"{_pick(chance, _CJK)}。"


def _rtl(chance: random.Random) -> str:
    return f"{_pick(chance, _RTL)}. "


def _emoji(chance: random.Random) -> str:
    return "".join(_pick(chance, _EMOJI) for _ in range(3)) + " "


def _mixed(chance: random.Random) -> str:
    return (_latin, _cjk, _rtl, _emoji)[int(chance.random() * 4)](chance)


SCRIPTS: dict[str, Callable[[random.Random], str]] = {
    "latin": _latin,
    "cjk": _cjk,
    "rtl": _rtl,
    "emoji": _emoji,
    "mixed": _mixed,
}
SENTENCES_PER_PARAGRAPH = 5


def _sentences(script: str, seed: str) -> Iterator[str]:
    chance = random.Random(seed)
    count = 0
    while True:
        count += 1
        yield SCRIPTS[script](chance)
        if count % SENTENCES_PER_PARAGRAPH == 0:
            yield "\n\n"


def write_prose(script: str, seed: str, length: int) -> str:
    """Exactly `length` code points of prose."""
    pieces: list[str] = []
    written = 0
    for sentence in _sentences(script, seed):
        if written >= length:
            break
        pieces.append(sentence)
        written += len(sentence)
    return "".join(pieces)[:length]


def write_sentences(script: str, seed: str, count: int) -> str:
    chance = random.Random(seed)
    return "".join(SCRIPTS[script](chance) for _ in range(count)).rstrip()
