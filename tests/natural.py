"""Natural text for measurements: prose and code that every Python installation has, and other scripts."""

# ruff: noqa: E501 - whole sentences of other scripts
import inspect
import json.decoder
import textwrap
from functools import cache
from pydoc_data import topics

OTHER_SCRIPTS = [
    "人工知能は、人間の知的ふるまいの一部をソフトウェアを用いて人工的に再現したものです。経験から学び、新たな入力に順応します。"
    * 4,
    "机器学习是人工智能的一个分支。它使计算机能够从数据中学习，而无需明确编程。今天天气很好，我们去公园散步吧。"
    * 4,
    "Машинное обучение — класс методов искусственного интеллекта, характерной чертой которых является обучение. "
    * 4,
    "الذكاء الاصطناعي هو سلوك وخصائص معينة تتسم بها البرامج الحاسوبية تجعلها تحاكي القدرات الذهنية البشرية. "
    * 4,
    "कृत्रिम बुद्धिमत्ता कंप्यूटर विज्ञान की एक शाखा है जो बुद्धिमान मशीनों के निर्माण से संबंधित है। " * 4,
    "ปัญญาประดิษฐ์ คือ ความฉลาดเทียมที่สร้างขึ้นให้กับสิ่งที่ไม่มีชีวิต " * 4,
    "인공지능은 인간의 학습능력, 추론능력, 지각능력을 인공적으로 구현하려는 컴퓨터 과학의 분야이다. " * 4,
    "Party tonight 🎉🎉 see you at 8! 👩🏽‍💻 brings cake 🍰, don't be late ❤️ " * 4,
]


@cache
def prose() -> str:
    """Return some 400 KB of English prose: Python's own reference."""
    return "\n".join(textwrap.dedent(topics.topics[name]) for name in sorted(topics.topics))


@cache
def code() -> str:
    """Return some 100 KB of Python source."""
    return "".join(
        inspect.getsource(module) for module in (argparse_module(), inspect, json.decoder, textwrap)
    )


def argparse_module():
    """Return a module with much source."""
    import argparse

    return argparse


def natural_texts() -> list[str]:
    """Return some 30 KB of prose, code and other scripts."""
    return [prose()[:12_000], code()[:10_000], *OTHER_SCRIPTS]
