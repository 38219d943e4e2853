"""What made-up people can say about themselves: slots, values, and the ways to say them.

No two slots share a value, so that a value names its slot; each slot's cues are words that tell what
the value is to its subject.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

PERSONA, EVENT, RELATION = "Persona Memory", "Event Memory", "Relationship Memory"


@dataclass(frozen=True, slots=True)
class Slot:
    """One thing that can be known of somebody; it has one value at a time, unless `many`."""

    name: str
    """A noun that fits "my … is {v}"; also the relation of its facts."""
    kind: str
    values: tuple[str, ...]
    said: tuple[str, ...]
    """Ways to say it of oneself (of a person: {who} is "my sister Mia", {v} the value)."""
    cues: str
    """Alternatives of a pattern at word starts, one of which each of `said` has."""
    hints: tuple[str, ...] = ()
    """Ways to let it be known without a cue."""
    fixed: bool = False
    """It never changes."""
    prefers: bool = False
    """Its value is a taste, which decides a choice."""
    many: bool = False


def _persona(name: str, values: str, said: str, cues: str, hints: str = "", **traits: bool) -> Slot:
    return Slot(name, PERSONA, _split(values), (f"My {name} is {{v}}.", *_split(said)), cues, _split(hints), **traits)


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split("|") if part.strip())


@cache
def persona() -> tuple[Slot, ...]:
    """The twenty slots of a person."""
    return (
        _persona("home city", "Oslo|Bergen|Porto|Lyon|Ghent|Turin|Graz|Leeds",
            "I live in {v}.|I'm based in {v}.|{v} is where I live.|I have settled in {v}.|Home means {v} for me.",
            "home|live|living|based|settled|resid", "The view over the roofs of {v} woke me up this morning."),
        _persona("job", "cartographer|welder|beekeeper|optician|translator|paramedic|florist|surveyor",
            "I work as a {v}.|I earn my living as a {v}.|They employ me as a {v}.|By profession I'm a {v}.|"
            "My work is that of a {v}.", "job|work|earn|employ|profession|living as",
            "A stranger on the bus guessed that I'm a {v}, from my hands."),
        _persona("favourite food", "ramen|lasagne|paella|pierogi|falafel|gumbo|laksa|moussaka",
            "The food I like most is {v}.|No dish beats {v} for me.|I could eat {v} every day.|"
            "Of all meals I love {v} best.|Nothing I eat makes me happier than {v}.", "food|dish|eat|meal",
            "I crossed the whole town for {v} again.", prefers=True),
        _persona("pet", "greyhound|tabby cat|cockatiel|tortoise|ferret|gecko|rabbit|hedgehog",
            "As a pet I keep a {v}.|The animal I keep is a {v}.|I share my flat with a pet, a {v}.|"
            "My pet, a {v}, sleeps beside me.|I'm the keeper of a {v}, my only animal.", "pet|animal",
            "The {v} was up all night and so was I."),
        _persona("hobby", "sailing|pottery|fencing|archery|origami|climbing|juggling|birdwatching",
            "In my spare time I do {v}.|My pastime is {v}.|I spend my free time on {v}.|"
            "The hobby I keep up is {v}.|For a pastime I chose {v}.", "hobby|pastime|spare time|free time",
            "My shoulders ache from {v}.", prefers=True),
        _persona("car", "Fiat Panda|Volvo wagon|Honda Jazz|Skoda Octavia|Mini Cooper|Toyota Yaris|Dacia Duster|"
            "Renault Zoe", "I drive a {v}.|The car I drive is a {v}.|I own a car, a {v}.|"
            "You'll see me driving a {v}.|A {v} is the car I bought.", "car|drive|driving",
            "The {v} would not start in the cold."),
        _persona("instrument", "cello|oboe|accordion|trombone|harp|banjo|clarinet|mandolin",
            "I play the {v}.|I practise the {v}.|The instrument I play is the {v}.|I am playing the {v}.|"
            "My teacher has me practise the {v}.", "instrument|play|practis",
            "The neighbours knocked because of the {v}."),
        _persona("usual drink", "oolong tea|flat white|ginger ale|cold brew|chai|kombucha|hot chocolate|tonic water",
            "I mostly drink {v}.|At the bar I order {v}.|{v} is what I drink.|When asked for a drink, I say {v}.|"
            "I always order {v}.", "drink|order", "Another afternoon saved by {v}.", prefers=True),
        _persona("allergy", "peanuts|pollen|shellfish|penicillin|latex|walnuts|lupins|soy",
            "I'm allergic to {v}.|I have an allergy to {v}.|My doctor found an allergy to {v}.|"
            "An allergic reaction to {v} put me in hospital once.|Keep {v} away from me, I'm allergic.", "allerg",
            "One bite with {v} and I cannot breathe.", fixed=True),
        _persona("language course", "Basque|Swahili|Finnish|Korean|Welsh|Catalan|Tamil|Greek",
            "I'm learning {v}.|I study {v} at the evening school.|The language I'm learning is {v}.|"
            "I take a course in {v}.|My evening course is in {v}.", "course|learn|language|study",
            "I dreamt in {v} last night."),
        _persona("team", "Rovers|Harriers|Comets|Wanderers|Falcons|Mariners|Badgers|Otters",
            "I support the {v}.|I'm a fan of the {v}.|The team I cheer for is the {v}.|I am with the {v} as a fan.|"
            "I have always supported the {v}.", "team|support|fan|cheer", "I lost my voice when the {v} scored."),
        _persona("favourite music", "bossa nova|bluegrass|techno|baroque pieces|reggae|fado|swing|ska",
            "I listen to {v} most.|The music I love is {v}.|My kind of music is {v}.|I mostly listen to {v}.|"
            "Of all music I prefer {v}.", "music|listen", "I hummed {v} all day.", prefers=True),
        _persona("current book", "Middlemarch|Dune|Ulysses|Ivanhoe|Solaris|Persuasion|Beloved|Walden",
            "I'm reading {v}.|The book I am reading is {v}.|I'm in the middle of a novel, {v}.|"
            "The novel on my table is {v}.|I have begun to read {v}.", "book|read|novel",
            "I missed my stop because of {v}."),
        _persona("phone", "Pixel|Fairphone|Xperia|Galaxy|Nokia|Motorola|Zenfone|OnePlus",
            "I use a {v} as my phone.|The phone I carry is a {v}.|I bought a phone, a {v}.|"
            "I phone with a {v}.|My handset is a {v}.", "phone|handset", "I dropped the {v} on the stairs."),
        _persona("commute", "tram|ferry|cargo bike|commuter train|scooter|carpool|trolleybus|funicular",
            "I commute by {v}.|I get to work by {v}.|For my commute I take the {v}.|The {v} takes me to work.|"
            "I travel to work by {v}.", "commut|to work", "The {v} was late again and so was I."),
        _persona("diet", "vegan|vegetarian|pescatarian|keto|low-sodium|gluten-free|kosher|halal",
            "I keep to a {v} diet.|I'm on a {v} diet.|My doctor put me on a {v} diet.|I follow a {v} diet.|"
            "I have chosen a {v} diet.", "diet", "I had them change the menu, everything {v} please."),
        _persona("favourite colour", "teal|maroon|ochre|indigo|crimson|lilac|turquoise|beige",
            "The colour I like best is {v}.|I love the colour {v}.|Of all colours I choose {v}.|"
            "I like the shade {v} best.|The colour for me is {v}.", "colour|shade",
            "I painted the door {v} and cannot stop smiling.", prefers=True),
        _persona("country of birth", "Portugal|Chile|Latvia|Kenya|Vietnam|Iceland|Jordan|Peru",
            "I was born in {v}.|I was born and raised in {v}.|{v} is the country I was born in.|"
            "My birth was in {v}.|My parents had me, their firstborn, in {v}.", "birth|born|firstborn",
            "Every winter I miss the {v} of my childhood.", fixed=True),
        _persona("volunteer place", "food bank|animal shelter|public library|hospice|repair shop|lifeboat station|"
            "community garden|soup kitchen", "I volunteer at the {v}.|On Fridays I'm a volunteer at the {v}.|"
            "I do volunteer work at the {v}.|I give my time as a volunteer to the {v}.|I am volunteering at the {v}.",
            "volunteer", "They gave me the keys of the {v}."),
        _persona("favourite holiday spot", "Crete|Madeira|Tasmania|Sardinia|Corfu|Menorca|Shetland|Bali",
            "For a holiday I go to {v}.|I spend my holidays in {v}.|The holiday I love is in {v}.|"
            "On holiday you find me in {v}.|No holiday like one in {v}.", "holiday|vacation",
            "I still have sand from {v} in my shoes.", prefers=True),
    )  # fmt: skip


def _related(name: str, values: str, said: str, cues: str) -> Slot:
    first = f"{{who}}'s {name} is {{v}}."
    return Slot(f"{name} of a person", RELATION, _split(values), (first, *_split(said)), cues)


@cache
def related() -> tuple[Slot, ...]:
    """The four slots of somebody whom the person knows."""
    return (
        _related("town", "Quito|Dakar|Hanoi|Lima|Perth|Cork|Malmo|Gdansk",
            "{who} lives in {v}.|{who} has a flat in the town of {v}.|{who} is living in {v}.|"
            "The town where {who} lives is {v}.|{who} resides in {v}.", "town|live|living|resid"),
        _related("trade", "dentist|plumber|architect|librarian|pilot|tailor|chemist|notary",
            "{who} works as a {v}.|{who} has a job as a {v}.|{who} earns a living as a {v}.|"
            "The job of {who} is that of a {v}.|{who} is working as a {v}.", "trade|work|job|earn"),
        _related("pastime", "knitting|surfing|chess|gardening|karaoke|skydiving|calligraphy|bouldering",
            "{who} has a hobby, {v}.|{who} does {v} as a hobby.|The hobby of {who} is {v}.|"
            "{who} spends all free time on {v}.|{who}, whose hobby is {v}, sends regards.", "pastime|hobby|free time"),
        _related("animal", "dachshund|parrot|goldfish|hamster|pony|chinchilla|canary|iguana",
            "{who} keeps a pet, a {v}.|{who} has a {v} as a pet.|The pet of {who} is a {v}.|"
            "{who} adopted a {v} as a pet.|{who} lives with a pet, a {v}.", "animal|pet"),
    )  # fmt: skip


@cache
def event() -> Slot:
    """What somebody did on a day; values with the verb that goes with them are in `DEEDS`."""
    return Slot(
        "event", EVENT, tuple(DEEDS),
        ("Today I {did}.", "I {did} today.", "You know what? I {did}.", "This morning I {did}.",
         "Guess what, I {did}.", "At last I {did}."),
        "|".join(sorted({did.split()[0] for did in DEEDS.values()})), many=True,
    )  # fmt: skip


DEEDS = {
    "half marathon": "ran a half marathon",
    "planetarium": "visited the planetarium",
    "garden fence": "repaired the garden fence",
    "velvet sofa": "sold the velvet sofa",
    "first aid class": "finished the first aid class",
    "wisdom tooth": "lost a wisdom tooth",
    "bicycle race": "won a bicycle race",
    "opera house": "visited the opera house",
    "apple trees": "planted two apple trees",
    "tax return": "finished the tax return",
    "driving licence": "renewed my driving licence",
    "school reunion": "attended a school reunion",
    "telescope": "built a telescope",
    "wallet": "lost my wallet",
    "poetry prize": "won a poetry prize",
    "attic": "cleared the attic",
    "blood donation": "made a blood donation",
    "museum of glass": "visited the museum of glass",
    "quilt": "finished a quilt",
    "kitchen tiles": "repaired the kitchen tiles",
    "swimming badge": "won a swimming badge",
    "canoe": "built a canoe",
    "spelling contest": "attended a spelling contest",
    "piano": "sold the piano",
}

SYSTEM_DEEDS = (
    "booked a table at the Blue Heron", "reserved a seat on the night train", "ordered a new pair of glasses",
    "arranged a visit of the chimney sweep", "extended the loan of the library card", "cancelled the gym contract",
)  # fmt: skip
"""What an assistant can do for somebody."""

CLAIMS = (
    "As you said, {it}.", "You mentioned that {it}, if I remember right.", "Since {it}, I would plan ahead.",
    "I noted last time that {it}.", "Good to know that {it}.", "Of course {it}, so that fits.",
)  # fmt: skip
"""How an assistant lets a false memory slip in; {it} is "your … is {v}"."""

CHANGES = (
    "{said} No longer {old}.", "Things have changed. {said} Not {old} any more.", "{said} It used to be {old}.",
    "News: {said} Before, it was {old}.",
)  # fmt: skip
"""How a change is told, beside saying the new value alone."""

CHATTER = (
    "What weather we are having.", "I slept badly.", "The coffee machine is broken again.", "I am a bit tired today.",
    "Traffic was awful.", "My shoes got wet in the rain.", "The queue at the bakery was endless.",
    "I need to tidy up my desk.", "The lift is out of order.", "It is getting dark so early now.",
    "I forgot my umbrella.", "The neighbours are renovating.", "I have been staring at a screen all day.",
    "I should go to bed earlier.",
)  # fmt: skip
REPLIES = (
    "I see.", "Thanks for telling me.", "That sounds like a lot.", "How are you feeling about it?", "Noted.",
    "Tell me more whenever you like.", "That is good to hear.", "I am here if you need anything.", "Fair enough.",
    "What else is on your mind?",
)  # fmt: skip
TRIVIA = (
    ("How far away is the moon?", "On average about 384,400 kilometres."),
    ("What is the chemical symbol of tungsten?", "It is W, after wolfram."),
    ("How many strings has a violin?", "Four, tuned in fifths."),
    ("Who wrote Don Quixote?", "Miguel de Cervantes, in two parts."),
    ("What does a barometer measure?", "The pressure of the air."),
    ("How deep is the Mariana Trench?", "Close to eleven kilometres."),
    ("What is the square root of 1,024?", "It is 32."),
    ("Why is the sky blue?", "Air scatters short waves of light more than long ones."),
)  # fmt: skip

USERS = (
    "Ada Bruno Celia Dmitri Elena Farid Gwen Hugo Ida Jonas Kira Luca Mona Nils Olga Pavel Quinn Rosa Stefan Tilda"
).split()
PEOPLE = "Robin Alex Noa Charlie Sascha Andrea Jamie Toni Micha Jona Ronny Bente".split()
ROLES = ("sister", "brother", "mother", "neighbour", "colleague")


@cache
def slots() -> dict[str, Slot]:
    """Every slot by name."""
    return {slot.name: slot for slot in (*persona(), *related(), event())}


@cache
def slot_of_value() -> dict[str, Slot]:
    """The slot of each value, in lower case."""
    return {value.lower(): slot for slot in slots().values() for value in slot.values}


@cache
def value_pattern() -> re.Pattern[str]:
    """Any value of any slot, as whole words."""
    longest_first = sorted(slot_of_value(), key=len, reverse=True)
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)", re.IGNORECASE)
