"""The small world that the demo model's text is about: tables of facts and word lists.

Everything the generator states as a fact comes from here, so that two documents never contradict
each other. The tables are plain text, one row a line, so that a reader can check them at a glance.
"""

# name|plural|size 1-10|legs|eats|lives|voice (third person)|young|cover|can|colours
_ANIMALS = """
ant|ants|1|6|seeds and crumbs|in an ant hill|-|-|-|climb,dig|black,red
badger|badgers|5|4|worms and roots|in a burrow|growls|cub|fur|dig|grey
bat|bats|2|2|insects|in a cave|squeaks|pup|fur|fly|brown,black
bear|bears|9|4|fish and honey|in a cave|growls|cub|fur|climb,swim|brown,black
beaver|beavers|4|4|bark and leaves|in a lodge on the river|-|kit|fur|swim|brown
bee|bees|1|6|nectar|in a hive|buzzes|-|-|fly|yellow
camel|camels|9|4|grass and leaves|in the desert|-|calf|fur|run|brown
cat|cats|4|4|fish and mice|in a house|meows|kitten|fur|climb,jump|black,white,grey,orange
cow|cows|9|4|grass|on a farm|moos|calf|fur|-|brown,black,white
crab|crabs|2|10|seaweed and small fish|by the sea|-|-|a shell|swim|red,orange
crow|crows|3|2|seeds and insects|in a nest|caws|chick|feathers|fly|black
deer|deer|8|4|grass and leaves|in the forest|-|fawn|fur|run,jump|brown
dog|dogs|5|4|meat and bones|in a house|barks|puppy|fur|run,swim|brown,black,white
dolphin|dolphins|8|0|fish|in the sea|clicks|calf|smooth skin|swim,jump|grey
donkey|donkeys|8|4|hay and grass|on a farm|brays|foal|fur|run|grey,brown
duck|ducks|3|2|seeds and water plants|on the pond|quacks|duckling|feathers|swim,fly|white,brown
elephant|elephants|10|4|leaves and grass|on the plain|trumpets|calf|thick skin|swim|grey
fox|foxes|5|4|mice and berries|in a den|barks|cub|fur|run,dig|red,orange
frog|frogs|2|4|flies|by the pond|croaks|tadpole|smooth skin|jump,swim|green
giraffe|giraffes|10|4|leaves|on the plain|-|calf|fur|run|yellow
goat|goats|6|4|grass and leaves|on a farm|bleats|kid|fur|climb,jump|white,grey,brown
goose|geese|4|2|grass and seeds|on the pond|honks|gosling|feathers|swim,fly|white,grey
hedgehog|hedgehogs|2|4|insects and worms|under a hedge|-|hoglet|spines|dig|brown
hen|hens|3|2|corn and seeds|on a farm|clucks|chick|feathers|-|brown,white
horse|horses|9|4|hay and apples|on a farm|neighs|foal|fur|run,jump|brown,black,white
kangaroo|kangaroos|8|4|grass|on the plain|-|joey|fur|jump|brown
lamb|lambs|4|4|milk and grass|on a farm|bleats|-|wool|jump|white
lion|lions|9|4|meat|on the plain|roars|cub|fur|run|yellow
monkey|monkeys|5|4|fruit and nuts|in the jungle|chatters|infant|fur|climb,jump|brown
mole|moles|2|4|worms|in a burrow|-|pup|fur|dig|black
mouse|mice|1|4|seeds and cheese|in a hole|squeaks|pup|fur|run,climb|grey,white,brown
otter|otters|4|4|fish|by the river|-|pup|fur|swim|brown
owl|owls|3|2|mice|in a hollow tree|hoots|owlet|feathers|fly|brown,white
panda|pandas|8|4|bamboo|in the forest|-|cub|fur|climb|-
parrot|parrots|3|2|fruit and nuts|in the jungle|squawks|chick|feathers|fly|green,red,blue
penguin|penguins|4|2|fish|on the ice|-|chick|feathers|swim|-
pig|pigs|7|4|corn and vegetables|on a farm|oinks|piglet|-|dig|pink
pony|ponies|8|4|hay and grass|on a farm|neighs|foal|fur|run,jump|brown,white,grey
rabbit|rabbits|3|4|carrots and grass|in a burrow|-|kit|fur|jump,dig,run|white,brown,grey
raccoon|raccoons|4|4|fruit and eggs|in the forest|-|kit|fur|climb|grey
robin|robins|2|2|worms and berries|in a nest|sings|chick|feathers|fly|-
seal|seals|7|0|fish|by the sea|barks|pup|fur|swim|grey
shark|sharks|9|0|fish|in the sea|-|pup|rough skin|swim|grey
sheep|sheep|6|4|grass|on a farm|bleats|lamb|wool|-|white,black
snail|snails|1|0|leaves|in the garden|-|-|a shell|climb|brown
snake|snakes|4|0|mice and eggs|in the grass|hisses|-|scales|swim|green,brown
spider|spiders|1|8|flies|in a web|-|-|-|climb|black,brown
squirrel|squirrels|2|4|nuts and seeds|in a tree|chatters|kit|fur|climb,jump|red,grey
swan|swans|5|2|water plants|on the lake|hisses|cygnet|feathers|swim,fly|white
tiger|tigers|9|4|meat|in the jungle|roars|cub|fur|swim,run|orange
turtle|turtles|3|4|leaves and berries|by the pond|-|hatchling|a shell|swim|green,brown
whale|whales|10|0|tiny sea animals|in the sea|sings|calf|smooth skin|swim|blue,grey
wolf|wolves|7|4|meat|in the forest|howls|cub|fur|run|grey
worm|worms|1|0|leaves and soil|under the ground|-|-|-|dig|pink,brown
zebra|zebras|8|4|grass|on the plain|-|foal|fur|run|-
"""


class Animal:
    def __init__(self, row):
        (
            self.name,
            self.plural,
            size,
            legs,
            self.eats,
            self.lives,
            voice,
            young,
            cover,
            can,
            colours,
        ) = row.split("|")
        self.size, self.legs = int(size), int(legs)
        self.voice = None if voice == "-" else voice
        self.young = None if young == "-" else young
        self.cover = None if cover == "-" else cover
        self.can = [] if can == "-" else can.split(",")
        self.colours = [] if colours == "-" else colours.split(",")


ANIMALS = {a.name: a for a in map(Animal, _ANIMALS.strip().split("\n"))}

# Animals that can walk about and carry things in a story.
STORY_ANIMALS = [
    n
    for n in ANIMALS
    if n not in (
        "ant",
        "bee",
        "shark",
        "whale",
        "dolphin",
        "worm",
        "spider",
        "crab",
        "seal",
        "snake",
        "bat",
        "snail",
        "camel",
        "swan",
    )
]
PEOPLE = [
    "girl",
    "boy",
    "girl",
    "boy",
    "farmer",
    "baker",
    "king",
    "queen",
    "princess",
    "prince",
    "knight",
    "wizard",
    "pirate",
    "sailor",
    "gardener",
    "teacher",
    "painter",
    "witch",
    "astronaut",
    "clown",
    "doctor",
]
FANTASY = ["dragon", "robot", "giant", "fairy", "unicorn", "ghost", "elf", "monster", "dinosaur"]
SEX_OF = {
    "girl": "she",
    "boy": "he",
    "king": "he",
    "queen": "she",
    "princess": "she",
    "prince": "he",
    "wizard": "he",
    "witch": "she",
    "fairy": "she",
    "cow": "she",
    "hen": "she",
}
GROWN_UP = {
    "king",
    "queen",
    "farmer",
    "baker",
    "knight",
    "wizard",
    "pirate",
    "sailor",
    "gardener",
    "teacher",
    "painter",
    "witch",
    "astronaut",
    "clown",
    "doctor",
}

SHE_NAMES = (
    "Lily Mia Anna Rosie Daisy Ella Nora Ruby Clara Molly Poppy Hazel Ivy Lucy Tilly Maya "
    "Zoe Sara Emma Grace Bella Fern Penny Dora Lola"
).split()
HE_NAMES = (
    "Tom Ben Max Sam Leo Finn Jack Oscar Toby Rusty Theo Milo Hugo Felix Charlie Noah Otto "
    "Bruno Peter Archie Jasper Barney Ned Gus Henry"
).split()

# The villagers: fixed characters with fixed facts; their names are used for nobody else.
# name|sex|kind|trait|home|favourite food|favourite colour|best friend|job
_VILLAGERS = """
Pip|he|mouse|brave|in the old mill|cheese|yellow|Juno|post carrier
Juno|she|owl|wise|in the hollow oak tree|blueberries|purple|Pip|teacher
Bramble|he|hedgehog|shy|under the garden hedge|apples|green|Willa|gardener
Willa|she|otter|cheerful|by the stone bridge|fish|blue|Bramble|boat builder
Marlo|he|bear|gentle|in the cave on the hill|honey|orange|Tansy|baker
Tansy|she|squirrel|quick|in the tall pine tree|nuts|red|Marlo|messenger
Odo|he|badger|patient|in the burrow by the well|mushrooms|brown|Saffi|builder
Saffi|she|fox|clever|in the den behind the farm|strawberries|orange|Odo|shopkeeper
Quill|he|goose|proud|on the round pond|corn|white|Fennel|singer
Fennel|he|goat|stubborn|in the red barn|cabbages|green|Quill|farmer
Nell|she|rabbit|kind|in the burrow under the willow|carrots|pink|Dot|doctor
Dot|she|frog|curious|by the lily pond|plums|green|Nell|painter
"""


class Villager:
    def __init__(self, row):
        (
            self.name,
            self.sex,
            self.kind,
            self.trait,
            self.home,
            self.food,
            self.colour,
            self.friend,
            self.job,
        ) = row.split("|")


VILLAGERS = {v.name: v for v in map(Villager, _VILLAGERS.strip().split("\n"))}
VILLAGE = "Willow Village"

COLOURS = "red blue green yellow orange purple pink white black brown silver golden".split()
PLAIN_COLOURS = "red blue green yellow orange purple pink white black brown".split()

# object|what one does with it (infinitive, % stands for the object)|weather that suits it
_OBJECTS = """
ball|play with %|-
balloon|play with %|-
basket|carry berries in %|-
bell|ring %|-
bicycle|ride %|-
blanket|sleep under %|-
book|read %|-
bucket|carry water in %|-
button|look at %|-
cap|wear %|-
candle|light %|-
clock|wind up %|-
coat|wear %|cold
coin|look at %|-
cup|drink milk from %|-
doll|play with %|-
drum|play %|-
feather|look at %|-
flag|wave %|windy
flower|smell %|-
flute|play %|-
guitar|play %|-
hat|wear %|-
jar|keep jam in %|-
kite|fly %|windy
lantern|carry %|-
map|look at %|-
mirror|look into %|-
necklace|wear %|-
paintbrush|paint with %|-
pencil|draw with %|-
pillow|sleep on %|-
puppet|play with %|-
puzzle|play with %|-
ribbon|wear %|-
ring|wear %|-
scarf|wear %|cold
shell|listen to %|-
skateboard|ride %|-
sled|ride %|snowy
spoon|eat soup with %|-
stone|look at %|-
teapot|make tea in %|-
telescope|look at the stars through %|-
top|spin %|-
toy boat|sail %|-
toy car|play with %|-
toy train|play with %|-
trumpet|play %|-
umbrella|walk in the rain under %|rainy
violin|play %|-
wagon|pull %|-
whistle|blow %|-
"""


class Thing:
    def __init__(self, row):
        self.name, self.use, weather = row.split("|")
        self.weather = None if weather == "-" else weather


OBJECTS = {o.name: o for o in map(Thing, _OBJECTS.strip().split("\n"))}

# the place|where one is|spots where a thing can lie
_PLACES = """
the forest|in|under a bush;behind an old tree;inside a hollow log;in the tall ferns
the garden|in|under a bush;behind the shed;in the flower bed;next to the gate
the park|in|under a bench;behind a tree;near the fountain;in the tall grass
the meadow|in|in the tall grass;behind a big rock;under a bush;among the flowers
the farm|on|behind the barn;under the hay;next to the well;beside the fence
the market|at|under a table;behind a cart;beside a basket of apples;next to the bread stall
the river|by|under the bridge;behind a big rock;in the reeds;on the sandy bank
the lake|by|under an old boat;in the reeds;behind a big rock;on the sandy shore
the pond|by|in the reeds;behind a big rock;under a bench;on the muddy bank
the beach|on|behind a big rock;under an old boat;in the sand;beside a sand castle
the hill|on|behind a big rock;under a bush;in the tall grass;beside the old wall
the village|in|behind the bakery;next to the well;under a bench;beside the bridge
the school|at|under a desk;behind the door;in the yard;beside the book shelf
the castle|in|behind the throne;under the stairs;in the tower;next to the gate
the mill|at|behind a sack of flour;under the stairs;next to the wheel;beside the door
the orchard|in|under an apple tree;behind a ladder;in the tall grass;beside the fence
"""


class Place:
    def __init__(self, row):
        self.the, self.prep, spots = row.split("|")
        self.at = self.prep + " " + self.the
        self.spots = spots.split(";")


PLACES = [Place(r) for r in _PLACES.strip().split("\n")]

# fruit and food: singular|plural|colour|grows
_FRUIT = """
apple|apples|red|on a tree
banana|bananas|yellow|on a tree
blueberry|blueberries|blue|on a bush
carrot|carrots|orange|in the ground
cherry|cherries|red|on a tree
lemon|lemons|yellow|on a tree
orange|oranges|orange|on a tree
peach|peaches|orange|on a tree
pear|pears|green|on a tree
plum|plums|purple|on a tree
potato|potatoes|brown|in the ground
pumpkin|pumpkins|orange|on a vine
strawberry|strawberries|red|on a small plant
tomato|tomatoes|red|on a vine
"""
FRUIT = [tuple(r.split("|")) for r in _FRUIT.strip().split("\n")]
CAKES = [
    "apple pie",
    "carrot cake",
    "honey cake",
    "blueberry pie",
    "cherry pie",
    "chocolate cake",
    "strawberry cake",
    "pumpkin soup",
    "vegetable soup",
    "nut bread",
]

TRAITS = [
    "brave",
    "shy",
    "kind",
    "clever",
    "curious",
    "clumsy",
    "cheerful",
    "patient",
    "quiet",
    "gentle",
    "proud",
    "stubborn",
    "lazy",
    "lonely",
    "playful",
    "friendly",
    "careful",
    "quick",
]

DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
SEASONS = ["spring", "summer", "autumn", "winter"]
NUMBERS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen twenty"
).split()

OPPOSITES = [
    tuple(p.split("-"))
    for p in (
        "hot-cold big-small fast-slow happy-sad day-night up-down open-closed full-empty hard-soft"
        " high-low old-young new-old wet-dry light-dark loud-quiet long-short clean-dirty rich-poor"
        " strong-weak heavy-light early-late first-last near-far left-right inside-outside"
        " sweet-sour thick-thin wide-narrow rough-smooth brave-afraid asleep-awake kind-cruel"
        " right-wrong tall-short deep-shallow sharp-blunt true-false noisy-quiet cheap-expensive"
        " easy-difficult north-south east-west"
    ).split()
]
# Only these may be asked in the other direction too (the others have two answers).
OPPOSITES_BOTH = {a for a, _ in OPPOSITES} - {
    "new",
    "light",
    "tall",
    "noisy",
    "loud",
    "long",
    "old",
    "right",
    "heavy",
    "left",
}

CAPITALS = [
    tuple(p.split("-"))
    for p in (
        "France-Paris England-London Italy-Rome Spain-Madrid Germany-Berlin Japan-Tokyo"
        " China-Beijing Egypt-Cairo Greece-Athens Norway-Oslo Sweden-Stockholm Poland-Warsaw"
        " Portugal-Lisbon Ireland-Dublin Austria-Vienna Denmark-Copenhagen Finland-Helsinki"
        " Canada-Ottawa Kenya-Nairobi Peru-Lima"
    ).split()
]

COLOUR_OF = [
    ("the sky on a clear day", "blue"),
    ("grass", "green"),
    ("snow", "white"),
    ("a ripe banana", "yellow"),
    ("a ripe strawberry", "red"),
    ("milk", "white"),
    ("coal", "black"),
    ("a carrot", "orange"),
    ("chocolate", "brown"),
    ("the sun", "yellow"),
    ("a lemon", "yellow"),
    ("a ripe tomato", "red"),
    ("a leaf in summer", "green"),
    ("the sea", "blue"),
    ("a pumpkin", "orange"),
    ("a plum", "purple"),
    ("a cloud", "white"),
    ("the night sky", "black"),
    ("a fire engine", "red"),
    ("gold", "yellow"),
    ("a cherry", "red"),
    ("sand", "yellow"),
    ("a stop sign", "red"),
]

# job|does (third person)|works (where)|makes or gives
JOBS = [tuple(r.split("|")) for r in """
baker|bakes bread and cakes|in a bakery
farmer|grows food and looks after animals|on a farm
doctor|helps people who are ill|in a hospital
teacher|teaches children|in a school
gardener|takes care of plants|in a garden
builder|builds houses|on a building site
sailor|sails a ship|on the sea
painter|paints pictures|in a studio
fisher|catches fish|on a boat
tailor|makes clothes|in a workshop
pilot|flies a plane|in the sky
cook|cooks meals|in a kitchen
librarian|looks after books|in a library
shoemaker|makes and mends shoes|in a workshop
singer|sings songs|on a stage
carpenter|makes things from wood|in a workshop
miner|digs for coal|under the ground
beekeeper|looks after bees and collects honey|in a garden
shepherd|looks after sheep|in the meadow
vet|helps animals that are ill|in an animal clinic
""".strip().split("\n")]

# question|full answer|short answer: causes, uses, everyday knowledge
CAUSES = [tuple(r.split("|")) for r in """
Why do we use an umbrella?|We use an umbrella because it keeps us dry in the rain.|to stay dry
Why do we wear a coat in winter?|We wear a coat in winter because it keeps us warm.|to stay warm
Why do we sleep?|We sleep because our bodies and minds need rest.|to rest
Why do we eat?|We eat because food gives us energy.|for energy
Why do plants need water?|Plants need water to live and grow.|to grow
Why do plants need sunlight?|Plants need sunlight to make their food.|to make food
Why does ice melt?|Ice melts because it gets warm.|because it gets warm
Why do we brush our teeth?|We brush our teeth to keep them clean and healthy.|to keep them clean
Why do we wash our hands?|We wash our hands to get rid of dirt and germs.|to get rid of germs
Why do birds build nests?|Birds build nests to keep their eggs and chicks safe.|to keep their eggs safe
Why do squirrels hide nuts?|Squirrels hide nuts so that they have food in winter.|for food in winter
Why do bees visit flowers?|Bees visit flowers to collect nectar.|to collect nectar
Why does a turtle have a shell?|A turtle has a shell because it keeps the turtle safe.|to stay safe
Why is it dark at night?|It is dark at night because our side of the Earth faces away from the sun.|because the sun is on the other side
Why do leaves move in the wind?|Leaves move in the wind because the air pushes them.|because the air pushes them
Why do we use a lamp?|We use a lamp because it gives us light in the dark.|for light
Why do ducks not get wet?|Ducks do not get wet because their feathers are oily and keep the water off.|because of oily feathers
Why do we wear boots in the snow?|We wear boots in the snow to keep our feet warm and dry.|to keep our feet warm
Why do people say thank you?|People say thank you to show that they are grateful.|to show thanks
Why should we share?|We should share because it makes others happy and it is kind.|because it is kind
Why should we tell the truth?|We should tell the truth because then others can trust us.|so that others trust us
Why do we need friends?|We need friends because they help us and make us happy.|because they help us
What happens when it rains?|When it rains, water falls from the clouds and the ground gets wet.|the ground gets wet
What happens when water freezes?|When water freezes, it turns into ice.|it turns into ice
What happens when snow gets warm?|When snow gets warm, it melts and turns into water.|it melts
What happens when water boils?|When water boils, it turns into steam.|it turns into steam
What happens when you drop a glass?|When you drop a glass, it falls and may break.|it breaks
What happens when you plant a seed?|When you plant a seed and water it, a plant grows.|a plant grows
What do you use to cut paper?|You use scissors to cut paper.|scissors
What do you use to write?|You use a pencil or a pen to write.|a pencil
What do you use to eat soup?|You use a spoon to eat soup.|a spoon
What do you use to open a lock?|You use a key to open a lock.|a key
What do you use to see far away?|You use a telescope to see far away.|a telescope
What do you use to dig a hole?|You use a shovel to dig a hole.|a shovel
What do you use to tell the time?|You use a clock to tell the time.|a clock
What do you wear on your feet?|You wear shoes or boots on your feet.|shoes
What do you wear on your head?|You wear a hat on your head.|a hat
What do you wear on your hands when it is cold?|You wear gloves on your hands when it is cold.|gloves
What do we see with?|We see with our eyes.|eyes
What do we hear with?|We hear with our ears.|ears
What do we smell with?|We smell with our nose.|the nose
What do bees make?|Bees make honey.|honey
What do cows give us?|Cows give us milk.|milk
What do hens lay?|Hens lay eggs.|eggs
What do sheep give us?|Sheep give us wool.|wool
What is bread made from?|Bread is made from flour and water.|flour and water
What is cheese made from?|Cheese is made from milk.|milk
What is jam made from?|Jam is made from fruit and sugar.|fruit and sugar
What is ice?|Ice is frozen water.|frozen water
What is rain?|Rain is water that falls from the clouds.|water from the clouds
What is a friend?|A friend is someone who likes you and helps you.|someone who likes you
What is the moon?|The moon is a ball of rock that goes around the Earth.|a ball of rock
What is the sun?|The sun is a star. It gives us light and warmth.|a star
What shines in the sky at night?|The moon and the stars shine in the sky at night.|the moon and the stars
What shines in the sky during the day?|The sun shines in the sky during the day.|the sun
Where does the sun rise?|The sun rises in the east.|in the east
Where does the sun set?|The sun sets in the west.|in the west
Where do you buy bread?|You buy bread in a bakery.|in a bakery
Where do you borrow books?|You borrow books from a library.|a library
Where do you sleep?|People sleep in a bed. I am only a model, so I do not sleep.|in a bed
Where do fish live?|Fish live in the water.|in the water
Where do birds build their nests?|Birds often build their nests in trees.|in trees
How many legs does a chair have?|Most chairs have four legs.|four
How many wheels does a bicycle have?|A bicycle has two wheels.|two
How many wheels does a car have?|A car has four wheels.|four
How many days are in a week?|There are seven days in a week.|seven
How many months are in a year?|There are twelve months in a year.|twelve
How many hours are in a day?|There are twenty-four hours in a day.|twenty-four
How many seasons are in a year?|There are four seasons in a year.|four
How many fingers are on one hand?|There are five fingers on one hand.|five
How many eyes do you have?|I am a model, so I have no eyes. People have two eyes.|none
What is the biggest animal in the sea?|The biggest animal in the sea is the whale.|the whale
What is the tallest animal?|The tallest animal is the giraffe.|the giraffe
What is the coldest season?|The coldest season is winter.|winter
What is the hottest season?|The hottest season is summer.|summer
When do leaves fall from the trees?|Leaves fall from the trees in autumn.|in autumn
When do flowers begin to grow?|Flowers begin to grow in spring.|in spring
When does it snow?|It snows in winter, when it is cold.|in winter
What is the first month of the year?|The first month of the year is January.|January
What is the last month of the year?|The last month of the year is December.|December
What is the first day of the week?|In this small world, the week starts on Monday.|Monday
Is fire hot?|Yes, fire is hot. Be careful with it.|yes
Is ice cold?|Yes, ice is cold.|yes
Is snow hot?|No, snow is cold.|no
Is the sun a star?|Yes, the sun is a star.|yes
Is sugar sweet?|Yes, sugar is sweet.|yes
Is a lemon sweet?|No, a lemon is sour.|no
Is a feather heavy?|No, a feather is light.|no
Is a stone soft?|No, a stone is hard.|no
Is a pillow soft?|Yes, a pillow is soft.|yes
Is water wet?|Yes, water is wet.|yes
""".strip().split("\n")]

JOKES = [
    (
        "Why did the bear bring a ladder to the party?",
        "Because he heard that the drinks were on the house!",
    ),
    ("What do you call a bear with no teeth?", "A gummy bear!"),
    ("Why did the cow cross the road?", "To get to the other moo!"),
    ("What do you call a sleeping dinosaur?", "A dino-snore!"),
    ("What did the ocean say to the beach?", "Nothing, it just waved!"),
    ("Why do bees have sticky hair?", "Because they use honeycombs!"),
    ("What has hands but cannot clap?", "A clock!"),
    ("What gets wet while it dries?", "A towel!"),
]

POEMS = [
    (
        "the moon",
        (
            "The moon is bright, the night is deep,\nThe little birds are fast asleep.\nThe stars"
            " look down on hill and tree,\nAnd shine their light on you and me."
        ),
    ),
    (
        "the sea",
        (
            "The sea is blue, the sea is wide,\nIt comes and goes with every tide.\nThe small white"
            " boats sail out of sight,\nAnd all come home before the night."
        ),
    ),
    (
        "a cat",
        (
            "The cat sat down beside the door,\nAnd then she slept upon the floor.\nShe dreamed of"
            " fish, she dreamed of cream,\nAnd purred all through her happy dream."
        ),
    ),
    (
        "spring",
        (
            "The snow has gone, the grass is green,\nThe finest flowers I have seen.\nThe birds"
            " come back, the robins sing,\nAnd all the world is glad of spring."
        ),
    ),
    (
        "winter",
        (
            "The snow falls soft, the snow falls slow,\nThe river sleeps, the cold winds blow.\nWe"
            " sit inside beside the fire,\nAnd watch the sparks fly up and higher."
        ),
    ),
    (
        "the rain",
        (
            "The rain comes down on roof and street,\nIt makes a puddle for my feet.\nI splash and"
            " jump and laugh and play,\nI like to walk on a rainy day."
        ),
    ),
    (
        "a friend",
        (
            "A friend is someone who is kind,\nThe finest thing that you can find.\nThrough sun and"
            " rain, through night and day,\nA friend will help you on your way."
        ),
    ),
    (
        "a tree",
        (
            "The tree is old, the tree is tall,\nIt gives us shade, it shelters all.\nThe squirrels"
            " run, the small birds nest,\nAnd in its leaves they take their rest."
        ),
    ),
]
