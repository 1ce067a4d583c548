"""The answer normaliser of the VQA challenges (the EvalAI server), as in lmms-eval 0.7.3. TextVQA uses it."""

import re

NUMBERS = {"none": "0", "zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5"}
NUMBERS |= {"six": "6", "seven": "7", "eight": "8", "nine": "9", "ten": "10"}
ARTICLES = {"a", "an", "the"}
PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
# A missing apostrophe is restored in these. "she'd" and "we'd" are left out, because "shed" and "wed" are words.
APOSTROPHES = """
    ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd he'd've
    he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've needn't not've
    o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's
    someone'd someone'd've someone'll someone's something'd something'd've something'll that's there'd there'd've
    there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's
    what've when's where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't would've
    wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've
"""
CONTRACTIONS = {
    word[: mark.start()] + word[mark.end() :]: word for word in APOSTROPHES.split() for mark in re.finditer("'", word)
}
CONTRACTIONS["somebody'd"] = "somebodyd"  # a bug of the server, kept so that scores agree with it


def normalise(text: str) -> str:
    """Lower case, number words up to ten as digits, no articles, no punctuation, missing apostrophes restored."""
    text = text.lower().replace(",", "").replace("?", "").replace("'s", " 's")
    text = text.replace("\n", " ").replace("\t", " ").strip()
    # A punctuation mark is deleted if it has a space on either side anywhere in the text, else replaced by a space.
    text = text.translate({ord(p): "" if f"{p} " in text or f" {p}" in text else " " for p in PUNCTUATION})
    text = re.sub(r"\.(?!\d)", "", text, count=32)  # 32 is a bug of the server: it passes a flag as the count
    words = [NUMBERS.get(word, word) for word in text.split()]
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in ARTICLES)
