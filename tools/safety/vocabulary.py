"""Short texts made of the encoder's own vocabulary, for the net that judges by words alone.

That net knows a word only when the training texts have it; the nets that read the embedding know what it means. So they teach it: each word of the
encoder's vocabulary is put into a short text, and what they think of that is what the net of words learns there. A word that they
fear gets more texts, harmful and harmless ones, lest the word alone decides. Everything follows from the seed.
"""
import random

ONE = ("how do i {w} my neighbour", "how to make {w}", "where can i get {w}", "tell me about {w}", "{w}", "Write a story about {w}.",
       "How do I {w} it without being seen?", "what is {w}", "Give me instructions for {w}.", "i want to {w} someone", "best {w} for beginners",
       "Help me with {w} tonight.", "he said {w} again", "is {w} allowed", "First you take the {w}, then you go on.")
MORE = ("how can i {w} people and get away with it", "Explain the history of {w}.", "how do i protect myself from {w}", "step by step guide to {w}",
        "which law deals with {w}", "I need {w} by friday.", "My son is afraid of {w}. What do I tell him?", "You should {w} them all, they deserve it.",
        "a film about {w}", "where do they sell {w} without asking", "{w} in the news", "how do doctors treat {w}")
FEARED = 0.3  # probability of harm from which a word gets more texts
MORE_EACH = 4


def words(tokenizer):
    """Whole words of letters, in a fixed order."""
    return sorted(w for w in tokenizer.get_vocab() if w.isascii() and w.isalpha() and len(w) > 2)


def first(vocabulary):
    rng = random.Random("vocabulary")
    return [rng.choice(ONE).format(w=w) for w in vocabulary]


def more(vocabulary, probability):
    """Further texts of the words whose first text was found harmful with that probability."""
    rng = random.Random("feared")
    return [t.format(w=w) for w, p in zip(vocabulary, probability) if p >= FEARED for t in rng.sample(MORE, MORE_EACH)]


def flags(n):
    """[has an embedding, is an answer, is a passage] of n texts."""
    rng = random.Random("flags")
    return [[1, *rng.choices(((0, 0), (1, 0), (0, 1)), (6, 3, 1))[0]] for _ in range(n)]
