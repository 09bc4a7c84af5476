#!/usr/bin/env python3
"""Writes data/scenes/concepts.inc: the objects of the sample scenes, from Debian's unicode-data (emoji-test.txt).

Kept are single-code-point emoji whose names of one or two words say what a small picture shows. Left out by hand: near-duplicates,
scenes, symbols, and things that are hard to tell apart at 64 pixels.
Usage: scripts/make_concepts.py > data/scenes/concepts.inc
"""
import re

CATEGORIES = {
    "animal": "animal-mammal animal-bird animal-amphibian animal-reptile animal-bug",
    "sea animal": "animal-marine food-marine",
    "plant": "plant-flower plant-other",
    "fruit": "food-fruit",
    "vegetable": "food-vegetable",
    "food": "food-prepared food-asian food-sweet",
    "drink": "drink",
    "vehicle": "transport-ground transport-water transport-air",
    "building": "place-building place-religious",
    "clothing": "clothing",
    "sport": "sport game event",
    "music": "musical-instrument music sound",
    "tool": "tool lock writing office dishware",
    "device": "computer phone light&video science medical",
    "household": "household money mail book-paper",
}
KEEP = """
monkey gorilla fox lion leopard zebra deer cow pig goat camel giraffe elephant rhinoceros mouse rabbit hedgehog bat koala panda sloth kangaroo
turkey rooster bird penguin duck swan owl flamingo peacock parrot frog crocodile turtle lizard snake dragon snail butterfly ant honeybee
beetle spider scorpion whale dolphin seal octopus shark jellyfish crab lobster shrimp squid coral
rose sunflower tulip hibiscus cactus shamrock mushroom
grapes melon watermelon tangerine lemon banana pineapple mango pear peach cherries strawberry blueberries tomato coconut
avocado eggplant potato carrot cucumber onion chestnut
bread croissant pretzel bagel pancakes waffle bacon hamburger pizza sandwich taco popcorn doughnut cookie cupcake pie lollipop spaghetti sushi
teapot train bus ambulance taxi automobile tractor motorcycle bicycle skateboard sailboat canoe speedboat ship airplane helicopter rocket parachute anchor
stadium house hospital castle church mosque tent
glasses necktie jeans scarf gloves coat socks dress shorts backpack crown umbrella ring
baseball basketball volleyball kite balloon trophy
saxophone accordion guitar trumpet violin banjo drum bell radio
hammer axe bomb shield wrench screwdriver gear magnet ladder key pencil crayon scissors paperclip spoon briefcase
battery laptop printer keyboard telephone television camera candle flashlight microscope telescope syringe pill
door chair toilet bathtub broom basket bucket soap toothbrush envelope scroll newspaper coin
""".split() + ["soccer ball", "red apple", "green apple", "bell pepper", "hot dog", "french fries", "ice cream", "birthday cake", "fire engine", "police car",
               "top hat", "teddy bear", "light bulb", "alarm clock", "magic wand", "flying saucer", "palm tree", "maple leaf", "spiral shell", "tropical fish",
               "bubble tea", "wine glass", "beer mug", "shopping cart", "mobile phone", "roller skate", "high-heeled shoe", "boxing glove", "green book",
               "blue book", "orange book"]
PLURALS = {"mouse": "mice", "sheep": "sheep", "deer": "deer", "fish": "fish", "shrimp": "shrimp", "squid": "squid", "bread": "loaves of bread", "leaf": "leaves",
           "scarf": "scarves", "calf": "calves", "bacon": "pieces of bacon", "broccoli": "broccoli", "popcorn": "boxes of popcorn",
           "spaghetti": "plates of spaghetti", "sushi": "pieces of sushi", "jeans": "pairs of jeans", "glasses": "pairs of glasses", "gloves": "pairs of gloves",
           "socks": "pairs of socks", "shorts": "pairs of shorts", "scissors": "pairs of scissors", "soap": "bars of soap", "octopus": "octopuses",
           "rhinoceros": "rhinoceroses", "coral": "corals", "pancakes": "plates of pancakes", "grapes": "bunches of grapes", "cherries": "pairs of cherries",
           "blueberries": "bunches of blueberries", "french fries": "boxes of french fries", "mango": "mangos", "tomato": "tomatoes", "potato": "potatoes"}
COLOURS = ["red", "green", "blue", "orange", "black"]


def plural(name):
    if name in PLURALS:
        return PLURALS[name]
    head, _, last = name.rpartition(" ")
    head = head + " " if head else ""
    if last in PLURALS:
        return head + PLURALS[last]
    if last.endswith("y") and last[-2] not in "aeiou":
        return head + last[:-1] + "ies"
    return head + last + ("es" if last.endswith(("s", "x", "ch", "sh", "z")) else "s")


def main():
    category_of = {sub: c for c, subs in CATEGORIES.items() for sub in subs.split()}
    subgroup, rows = None, []
    for line in open("/usr/share/unicode/emoji/emoji-test.txt", encoding="utf8"):
        if line.startswith("# subgroup:"):
            subgroup = line[11:].strip().replace(" ", "")
        match = re.match(r"([0-9A-F ]+?)\s*;\s*fully-qualified\s*# \S+ E[\d.]+ (.+)", line)
        if not match:
            continue
        points = [p for p in match[1].split() if p != "FE0F"]
        if len(points) == 1 and match[2] in KEEP and " of " not in plural(match[2]):  # "a socks" is no caption
            rows.append((points[0], match[2], plural(match[2]), category_of.get(subgroup, "object"), int(match[2].split()[0] in COLOURS)))
    print("// Made by scripts/make_concepts.py from Unicode's emoji-test.txt (names (c) Unicode, Inc., see THIRD_PARTY.md).")
    print("// code point, name, plural, category, whether the name holds its colour")
    for point, name, many, category, coloured in rows:
        print('{0x%s, "%s", "%s", "%s", %s},' % (point, name, many, category, "true" if coloured else "false"))


main()
