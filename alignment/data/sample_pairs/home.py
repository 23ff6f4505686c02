"""Prompts of the sample pairs on house, kitchen, garden and animals."""

from alignment.data.sample_pairs.prompt import Prompt, Response

PROMPTS = (
    Prompt(
        "frost_night",
        "The forecast says minus two tonight and my pear trees are in full blossom. What can I "
        "still do?",
        (
            Response(
                0.8,
                (-0.6, -0.7, -0.4, -0.8),
                "Water the ground now, while it's above zero; wet bare soil gives off heat all "
                "night. Mow the grass under the trees. Fleece over the small ones, down to the "
                "ground. Be out with a thermometer at four.",
            ),
            Response(
                0.8,
                (0.9, -0.1, 0.5, -0.3),
                "Open blossom starts to suffer at about minus two, so you're on the edge and "
                "every half degree counts. Short, moist ground stores warmth: mow, clear the "
                "mulch and water before dusk. Fleece on wall-trained trees gains you two degrees "
                "if it hangs to the soil. Candles or small fires between the rows help only in "
                "still air and if there are many of them. Look where the cold air drains, and "
                "open the bottom gate so that it can leave.",
            ),
            Response(
                0.5,
                (-0.3, 0.6, 0.2, 1.0),
                "How many trees are we speaking of, and do they stand in a hollow or on a slope? "
                "Is any wind forecast? For three trees by a wall I'd say fleece; for an orchard "
                "it's wet ground and a long night.",
            ),
            Response(
                -0.7,
                (0.1, 0.1, -0.2, -0.7),
                "Wrap the trunks in sacking, which is where a tree feels the cold, and give the "
                "roots a generous helping of nitrogen so they have something to warm themselves "
                "on. The blossom itself is quite hardy and looks after itself, as it has done for "
                "thousands of years. Pears in any case carry so many flowers that the farmer will "
                "hardly notice when they are all gone.",
            ),
        ),
    ),
    Prompt(
        "sourdough_flat",
        "My sourdough comes out flat as a plate. What am I doing wrong?",
        (
            Response(
                0.8,
                (-0.7, -0.3, -0.6, -0.8),
                "Most likely it's overproofed or the starter is weak. Test: a spoonful of starter "
                "must float in water. Then stop the first rise when the dough has grown by half, "
                "not doubled.",
            ),
            Response(
                0.7,
                (0.8, 0.1, 0.2, -0.2),
                "Flat loaves have three usual causes. A sleepy starter: feed it twice a day in a "
                "warm place until it doubles within six hours. Too long a rise: poke the dough "
                "with a floured finger; it should spring back slowly, and if it doesn't come back "
                "at all, you're late. Loose shaping: pull the dough towards you on an unfloured "
                "table until the skin is tight. Bake in a hot lidded pot. And hold back a little "
                "water next time, because wholemeal recipes are written by optimists.",
            ),
            Response(
                0.6,
                (-0.2, 0.8, 0.1, 0.9),
                "Oh, the plate. We've all eaten the plate. How old is your starter, and does it "
                "double after a feed? How warm is the kitchen, and how long do you leave the "
                "dough? One of those three is the culprit and I've a suspicion which.",
            ),
            Response(
                -0.6,
                (0.3, -0.2, -0.2, -0.6),
                "Sourdough is bread that has been made with sour dough. There are a great many "
                "recipes, and each baker has his own. Flat bread is popular all over the world, "
                "from India to Mexico, and there is no reason to regard it as a failure. Some "
                "people use a bread machine. You might also consider adding more salt, or less, "
                "depending on your personal taste and on the flour.",
            ),
        ),
    ),
    Prompt(
        "tap_drips",
        "Kitchen tap drips all night. Can I fix it without a plumber?",
        (
            Response(
                0.8,
                (-0.6, -0.5, -0.3, -0.7),
                "Probably. Shut the valve under the sink, plug the drain, lever off the cap, undo "
                "the screw. Two handles: replace the washer. One lever: replace the cartridge, "
                "same make. Ten pounds, half an hour.",
            ),
            Response(
                0.8,
                (0.8, 0.1, 0.6, -0.4),
                "In most cases, yes. Turn off the water at the valve under the sink or at the "
                "stopcock, then open the tap to empty it. Put the plug in, for small screws love "
                "drains. If it has two handles, a worn rubber washer is the likely villain; a "
                "single lever has a ceramic cartridge, so take the old one to the shop and match "
                "it exactly. Photograph each step on the way in. Should the valve itself not "
                "close, stop there and ring someone.",
            ),
            Response(
                0.4,
                (-0.3, 0.4, 0.4, 0.9),
                "Has it one lever or two handles, and does it drip from the spout or round the "
                "base? And can you find a little valve on the pipe beneath the sink? If that "
                "turns, this is an evening's job.",
            ),
            Response(
                -0.7,
                (-0.6, 0.2, -0.3, -0.6),
                "Tie a string round the spout so that the drops run down it without a sound. The "
                "problem was the noise and now it's solved; water costs next to nothing these "
                "days.",
            ),
        ),
    ),
    Prompt(
        "tomato_spots",
        "My tomato leaves have brown patches and the stems are going black. Is it blight?",
        (
            Response(
                0.8,
                (-0.6, -0.6, -0.3, -0.8),
                "Black stems after warm wet weather: yes, blight. Cut off what's affected today, "
                "pick every fruit that has begun to turn, ripen it indoors. Bin the plants. Next "
                "year, a roof over them.",
            ),
            Response(
                0.8,
                (0.8, 0.1, 0.6, -0.2),
                "Stems are the giveaway. Early blight makes ringed spots on the lower leaves and "
                "leaves the stems mostly alone; late blight turns stems brown-black in days, and "
                "a pale down shows beneath the leaves on damp mornings. If that's your picture, "
                "the plant is lost but the clean fruit is not. Pick it, wash it, lay it on a tray "
                "and use it quickly. Don't compost the haulm unless the heap really heats. "
                "Potatoes nearby deserve a look as well.",
            ),
            Response(
                0.5,
                (-0.2, 0.7, 0.4, 0.9),
                "I hope not, but it sounds like it. Do you see a whitish fuzz on the undersides "
                "in the morning, and has it been warm and wet for a couple of days? Are there "
                "potatoes next door? Answer those and we'll know.",
            ),
            Response(
                -0.6,
                (0.2, 0.3, -0.5, -0.6),
                "Brown patches are simply thirst. Spray the leaves well every evening so that "
                "they stay moist overnight, and give the plants plenty of feed. I'm sure they "
                "will pick up beautifully, as tomatoes are fond of water and can hardly get too "
                "much of it, particularly on the foliage, where it is taken in fastest.",
            ),
        ),
    ),
    Prompt(
        "stew_salt",
        "I've oversalted the stew and guests come in an hour. Save me.",
        (
            Response(
                0.8,
                (-0.8, -0.2, -0.6, -0.9),
                "Double the bulk, not the salt: unsalted stock, a tin of tomatoes or a tin of "
                "beans, then simmer. A splash of vinegar hides the rest. Serve with plain "
                "potatoes or rice.",
            ),
            Response(
                0.7,
                (0.6, 0.7, 0.2, -0.3),
                "Breathe, an hour is plenty. Take out a third of the liquid and put back water or "
                "unsalted stock. Add things that have no salt of their own, such as carrots, "
                "lentils or cream, and let them cook through. A squeeze of lemon and a little "
                "sugar shift the balance on the tongue. Boil the rice without salt, put bread on "
                "the table, and tell nobody. Hold back on the cheese, though.",
            ),
            Response(
                -0.5,
                (-0.4, 0.2, -0.4, -0.7),
                "Throw in a raw potato, which sucks the salt out of the sauce and leaves "
                "everything else behind. Take it out after ten minutes and the stew is exactly as "
                "it was before.",
            ),
            Response(
                0.4,
                (-0.4, 0.7, 0.1, 0.9),
                "What sort of stew is it, and is there still room in the pot? And how bad are we, "
                '"well seasoned" or "sea water"? Any cream, tomatoes or beans in the cupboard?',
            ),
        ),
    ),
    Prompt(
        "boiler_pressure",
        "The boiler shows 0.4 bar and the radiators are cold. What now?",
        (
            Response(
                0.8,
                (-0.7, -0.7, -0.3, -0.8),
                "Too low. With the boiler off and cool, open the filling loop, both little taps, "
                "until the needle stands at 1.2 to 1.5. Close both. Switch on, reset. If it drops "
                "again within days, there's a leak.",
            ),
            Response(
                0.7,
                (0.7, 0.1, 0.8, -0.2),
                "Most sealed systems want between 1 and 1.5 bar cold and shut down below about "
                "0.5. Look in the manual for the filling loop, usually a braided hose beneath the "
                "boiler; with everything cold, open its valves slowly and stop at 1.3. Then bleed "
                "any radiator that gurgles and check the gauge again. Never take the casing off, "
                "since that is for a registered engineer. Losing pressure more than once or twice "
                "a year means water is going somewhere, so look under radiators and at the "
                "outside relief pipe.",
            ),
            Response(
                0.3,
                (-0.4, 0.4, 0.5, 0.9),
                "Is it the first time, or have you topped it up before? Do you see a silvery hose "
                "with a valve at each end underneath? And any damp patch below a radiator? Answer "
                "me that and I'll say how to go on.",
            ),
            Response(
                -0.7,
                (0.2, -0.3, -0.4, -0.7),
                "A boiler needs between three and four bar to work, so go on filling until the "
                "needle is well up in the red. If water starts to come out of the pipe on the "
                "outside wall you know that the system is completely full and that all the air "
                "has left it, which is how you can tell you have done it properly.",
            ),
        ),
    ),
    Prompt(
        "slug_lettuce",
        "Slugs ate all my lettuce. I don't want to use poison. What really works?",
        (
            Response(
                0.8,
                (-0.5, -0.3, -0.5, -0.8),
                "A torch and a bucket at ten at night, three nights running. Water in the "
                "mornings only. Raise the plants indoors until they're as big as your fist. "
                "Eggshells and coffee grounds are folklore.",
            ),
            Response(
                0.8,
                (0.8, 0.3, 0.3, -0.3),
                "Make the night less inviting. Water early so the surface is dry by dusk, clear "
                "boards and long grass near the bed, and set out sturdy plants rather than "
                "seedlings. Nematodes watered in from spring, once the soil is above five "
                "degrees, cut the numbers for six weeks. Lay a plank as a trap and lift it each "
                "morning; the birds soon learn the timetable. Grow a sacrificial row of something "
                "soft by the fence. Copper tape and grit did little in trials, I'm afraid.",
            ),
            Response(
                0.5,
                (-0.2, 0.8, 0.1, 0.9),
                "All of it! That's a heartbreaking walk before breakfast. Are your beds near a "
                "hedge or a wall, when do you water, and do you mind going out with a torch? I'd "
                "start from whichever of these is easiest to change.",
            ),
            Response(
                -0.6,
                (-0.4, 0.4, -0.2, -0.6),
                "Just sow more. Slugs are part of nature's balance, and a gardener ought to be "
                "glad to share; perhaps lettuce is simply not meant for your garden, or gardening "
                "not for you.",
            ),
        ),
    ),
    Prompt(
        "squeaky_stairs",
        "The third stair squeaks and wakes the baby. How can I quieten it?",
        (
            Response(
                0.8,
                (-0.7, -0.2, -0.5, -0.8),
                "Talc in the joint first, worked in with a card. If that fails, two screws "
                "through the tread into the riser, drilled ahead and countersunk, while someone "
                "stands on it.",
            ),
            Response(
                0.7,
                (0.8, 0.1, 0.3, -0.2),
                "Wood rubbing on wood makes the noise, so either you grease it or you stop it "
                "from moving. From above: powdered graphite or talc brushed into the gap at the "
                "back, or thin screws at an angle through the tread, with the holes drilled "
                "first. From below, if you can reach, is better: glue the small blocks back into "
                "the corner and tap the loosened wedges home. Mark the exact spot with chalk "
                "while somebody walks. Until then, step on the outer edge.",
            ),
            Response(
                0.4,
                (-0.3, 0.7, 0.2, 0.9),
                "That third stair, always at three in the morning. Can you get underneath, "
                "through a cupboard perhaps? And is it carpeted? If you can see the wedges from "
                "below it's a quarter of an hour with glue.",
            ),
            Response(
                -0.6,
                (0.3, -0.2, -0.3, -0.6),
                "Squeaks come from the age of the building, and no remedy is known for them. A "
                "new staircase of concrete would be silent and would last, and there are many "
                "firms which will gladly come and give you a quote free of charge. In the "
                "meantime one might think about whether the baby could sleep in another part of "
                "the house, or with a relative.",
            ),
        ),
    ),
    Prompt(
        "mould_corner",
        "Black mould in the bedroom corner keeps returning. Paint over it?",
        (
            Response(
                0.8,
                (-0.6, -0.6, -0.3, -0.8),
                "No, paint just feeds it a new coat. Kill it with a mould remover, window open, "
                "gloves on. Pull the wardrobe off the wall. Keep humidity under 60 per cent: air "
                "twice daily, never dry laundry there.",
            ),
            Response(
                0.8,
                (0.9, -0.1, 0.7, -0.2),
                "First find out why that corner. An outside corner is the coldest spot in the "
                "room, so damp air settles there; a leaking gutter makes a stain as well, but one "
                "that spreads after rain. Buy a ten-pound hygrometer. Above 60 per cent, air in "
                "short bursts, heat evenly, use lids on pans. Clean with a proper fungicide, mask "
                "on, and throw the cloth away. Then anti-mould paint makes sense, as the last "
                "step. In a rented flat, report it in writing with dated photos.",
            ),
            Response(
                0.4,
                (-0.2, 0.6, 0.3, 0.9),
                "Is it an outside wall, is there furniture against it, and does it get worse "
                "after rain or just in winter? Do you rent? The reason it returns is hiding "
                "somewhere in those answers, and so is who should pay.",
            ),
            Response(
                -0.6,
                (0.1, 0.2, -0.5, -0.7),
                "A nice thick coat of gloss paint seals the mould in so that it can't breathe, "
                "and then it dies. Put a big wardrobe in front of it to be sure, and keep the "
                "window shut so no more spores get in from the garden.",
            ),
        ),
    ),
    Prompt(
        "hens_stop",
        "My four hens have stopped laying since October. Are they ill?",
        (
            Response(
                0.8,
                (-0.7, -0.4, -0.4, -0.8),
                "Almost surely not. They lay by daylight, and they moult in autumn; both stop "
                "eggs. Bright eyes, good appetite, clean rear: healthy. Feed them well and expect "
                "eggs again by February.",
            ),
            Response(
                0.7,
                (0.8, 0.3, 0.4, -0.3),
                "October is when most flocks pause. Below some fourteen hours of light the signal "
                "to lay fades, and growing new feathers uses up the protein that would have gone "
                "into eggs. Give them layers' pellets with a bit extra protein during the moult, "
                "grit, and greens. A lamp in the coop before dawn brings eggs back, though many "
                "keepers let them have their rest. A hen who stands hunched, breathes with a "
                "noise or stops eating is another story. Look for mites on the perch at night, "
                "too.",
            ),
            Response(
                0.5,
                (-0.2, 0.8, 0.3, 0.9),
                "They do like their holiday. How old are they, have you noticed feathers lying "
                "about, and are they eating and scratching as usual? Three cheerful answers and "
                "there's nothing to fear but shop eggs.",
            ),
            Response(
                -0.6,
                (0.2, -0.4, -0.3, -0.6),
                "Eggs are produced by hens in the ovary and the oviduct, and the whole process "
                "takes about twenty-five hours. When production ceases the cause may be one of "
                "many. It is generally considered that poultry should be replaced as soon as it "
                "is no longer productive, and that ducks, geese, quails or guinea fowl may be "
                "regarded as alternatives to it.",
            ),
        ),
    ),
    Prompt(
        "knife_dull",
        "How do I sharpen a kitchen knife if I have never done it?",
        (
            Response(
                0.8,
                (-0.6, -0.2, -0.4, -0.8),
                "One stone, 1000 grit, soaked. Fifteen degrees: two coins under the spine. Push "
                "heel to tip, ten strokes a side, until you feel a burr, then lighter and "
                "lighter. It should slide into a tomato by itself.",
            ),
            Response(
                0.8,
                (0.8, 0.3, 0.6, -0.3),
                "Begin with a cheap knife you wouldn't miss. Lay the wet stone on a damp cloth so "
                "it can't travel. Raise the spine by about the height of two coins and hold that "
                "angle; colour the edge with a marker, and the ink shows you where you're really "
                "grinding. Work one side until a fine burr can be felt along the whole of the "
                "other, then swap. Finish with feather-light strokes. Stroke away from the edge "
                "when testing, never along it with a thumb.",
            ),
            Response(
                0.5,
                (-0.3, 0.6, 0.2, 0.9),
                "What knife is it, smooth or serrated, German or Japanese? And what do you have "
                "in the drawer: a stone, a steel, one of those pull-through things? For a "
                "serrated one my advice would be entirely different.",
            ),
            Response(
                -0.7,
                (-0.4, -0.1, -0.7, -0.7),
                "Run it quickly back and forth over the kerb outside, at whatever angle comes "
                "naturally. Stone is stone, and the sparks tell you it's working. Afterwards saw "
                "through a tin to polish it.",
            ),
        ),
    ),
    Prompt(
        "wobbly_table",
        "My restaurant table wobbles no matter what I do. The floor is old stone.",
        (
            Response(
                0.7,
                (-0.8, -0.3, -0.6, -0.9),
                "Turn it. A four-legged square table with equal legs will almost always stand "
                "firm at some angle within a quarter turn. If it can't be turned, screw-in feet "
                "that adjust.",
            ),
            Response(
                0.8,
                (0.8, 0.1, 0.3, -0.3),
                "If the legs are of equal length and only the floor is uneven, rotate the table "
                "on the spot: somewhere within ninety degrees all four feet touch, which is a "
                "small theorem and not luck. Mark the position with a dot on the floor so that "
                "whoever mops puts it back. For tables that have to stand square to the wall, fit "
                "adjustable feet, or self-levelling ones with a little hydraulic piston, dear but "
                "soon forgotten. Folded beer mats soak up wine and travel.",
            ),
            Response(
                0.4,
                (-0.3, 0.7, 0.2, 0.9),
                "A wobbling table can spoil a good soup. Is it one table or all of them? Three "
                "legs, four, or a central foot? And may it stand at an angle, or does the row "
                "have to be straight?",
            ),
            Response(
                -0.6,
                (0.1, 0.1, -0.1, -0.6),
                "Wobbling is caused by instability. Tables which are stable do not wobble, so it "
                "is essential to choose a stable one when buying. Look for good quality, solid "
                "materials and an attractive design that suits your concept. Guests value comfort "
                "and atmosphere very highly, and first impressions count, so the furniture in a "
                "restaurant ought to be selected with care from the start.",
            ),
        ),
    ),
    Prompt(
        "preserve_plums",
        "Thirty kilos of plums and one weekend. What would you make?",
        (
            Response(
                0.7,
                (-0.6, 0.3, -0.6, -0.7),
                "Half into the oven for plum butter: no stirring, one spoon of sugar per pound, "
                "six hours. Ten kilos stoned and frozen flat. The rest into a crumble and the "
                "neighbours.",
            ),
            Response(
                0.8,
                (0.8, 0.4, 0.4, -0.3),
                "Divide and conquer. Saturday morning, the firm ones: halve, stone, freeze on "
                "trays, then bag. Saturday afternoon, the ripe ones go into roasting tins with a "
                "little sugar, cinnamon and star anise at 150 degrees, and turn into butter while "
                "you sit down. Sunday is chutney, with onions, vinegar and raisins, which wants a "
                "month to mellow. Fill hot jars to the brim, and label them; in February all dark "
                "jars look alike. Slightly unripe plums set best, so sort them first.",
            ),
            Response(
                0.5,
                (-0.2, 0.8, 0.1, 0.9),
                "What riches! Are they firm or dropping, do you have freezer space, and who's "
                "going to eat it: toast people, cheese people or pudding people? How many jars "
                "can you lay hands on by Saturday?",
            ),
            Response(
                -0.6,
                (-0.3, -0.2, -0.2, -0.7),
                "Plums do not keep. Thirty kilos are more than a household is able to use, and "
                "sugar is unhealthy, so it would be better to compost the greater part and buy "
                "jam when required.",
            ),
        ),
    ),
    Prompt(
        "lawn_moss",
        "There's more moss than grass in my lawn. Rip it all out?",
        (
            Response(
                0.8,
                (-0.6, -0.3, -0.5, -0.8),
                "Not unless you cure the cause. Moss means shade, wet, compaction or mowing too "
                "short. Fork the ground, raise the mower to five centimetres, feed in April. "
                "Under trees, keep the moss; it's the better lawn.",
            ),
            Response(
                0.7,
                (0.8, 0.2, 0.3, -0.2),
                "Moss doesn't kill grass, it moves in where grass has given up. So ask what the "
                "grass is missing: light, air at the roots, food or lime. Scarify in spring once "
                "the grass is growing, not before, as bare gaps in winter fill up with moss "
                "again. Spike the soil, brush sand into the holes, overseed with a mix for shade. "
                "A soil test costs little and tells you if lime is worth it. And mow higher, for "
                "short lawns are moss nurseries.",
            ),
            Response(
                0.5,
                (-0.2, 0.7, 0.0, 1.0),
                "Would it trouble you to keep it? It's soft, green all winter and never wants "
                "mowing. If you'd rather have grass: how shady is it, does water stand there "
                "after rain, and how low do you set the mower?",
            ),
            Response(
                -0.7,
                (-0.4, 0.2, -0.4, -0.7),
                "Strew kitchen salt over the whole lawn, generously, and the moss will be gone in "
                "a week. Grass loves minerals and will come through all the stronger for it.",
            ),
        ),
    ),
    Prompt(
        "paint_ceiling",
        "Painting a ceiling for the first time. How do I avoid stripes?",
        (
            Response(
                0.8,
                (-0.6, -0.4, -0.5, -0.8),
                "Keep a wet edge. Cut in one side, roll straight away in metre-wide lanes away "
                "from the window, each overlapping the last. Don't stop for tea, don't go back "
                "over half-dry paint.",
            ),
            Response(
                0.7,
                (0.8, 0.2, 0.4, -0.3),
                "Stripes come from paint drying before the next lane meets it. Close the windows "
                "and turn the heating down while you work. Use a good roller with medium pile on "
                "a pole and load it fully. Work in lanes about a metre wide towards the window "
                "for the first coat and across it for the second. Finish each lane with light "
                "strokes in one direction. A primer on patched or thirsty spots saves you a third "
                "coat. Two people are twice as good as one.",
            ),
            Response(
                0.4,
                (-0.2, 0.6, 0.3, 0.9),
                "How big is the room, and what's up there now: bare plaster, old white, a water "
                "stain? Matt or silk? If there's a stain it wants a sealing primer first or it'll "
                "come back through every coat.",
            ),
            Response(
                -0.6,
                (0.1, -0.1, -0.5, -0.7),
                "Thin the paint with plenty of water so that it spreads by itself, and open all "
                "the windows so it dries as quickly as possible. Roll in whichever direction your "
                "arm prefers. Wherever you notice a stripe, go over it again at once, and keep "
                "going over it until it disappears, even if it has already begun to dry.",
            ),
        ),
    ),
    Prompt(
        "dog_sofa",
        "Our rescue dog sleeps on the sofa and growls when we want to sit down. Advice?",
        (
            Response(
                0.8,
                (-0.6, -0.3, 0.3, -0.8),
                "Don't punish the growl; it's his warning. Throw a treat on the floor, he hops "
                "off, you sit. Every time. Lead on indoors so no hand goes near his collar. His "
                "own bed, better than the sofa.",
            ),
            Response(
                0.8,
                (0.8, 0.4, 0.7, -0.2),
                "Growling says \"I'm worried you'll take this\", and a dog who's punished for "
                "saying it may one day skip the warning. Swap, don't pull: call him down "
                "cheerfully for something good, then let him up again now and then, so that "
                "getting off isn't losing. Give him a bed of his own against a wall and feed him "
                "chews there. Have the vet check for pain, since sore hips make sofas precious. "
                "If he's bitten, or there are small children, get a behaviourist in before trying "
                "any of this.",
            ),
            Response(
                0.5,
                (-0.1, 0.9, 0.4, 0.9),
                "Poor lad, perhaps it's the first soft thing he's ever owned. How long has he "
                "been with you, does he guard food or toys as well, and are there children in the "
                "house? Has he come down happily for a biscuit, or does he freeze?",
            ),
            Response(
                -0.8,
                (-0.4, -0.6, -0.7, -0.7),
                "You must show him who leads the pack. Grab him by the scruff, hold him down "
                "until he gives in, and then sit on the sofa yourself. Growling is insolence.",
            ),
        ),
    ),
    Prompt(
        "beekeeping_start",
        "I'd like to keep bees. One hive, small garden. Is it realistic?",
        (
            Response(
                0.7,
                (-0.6, -0.1, -0.2, -0.7),
                "Yes, but take a course first and start with two hives; you can mend one with the "
                "other. Half an hour a week, May to July. Point the entrance at a hedge. Tell the "
                "neighbours before the bees do.",
            ),
            Response(
                0.8,
                (0.8, 0.3, 0.7, -0.3),
                "Quite realistic, if you like doing things by the calendar. From April to July a "
                "colony has to be looked at every week, or it may swarm into somebody's chimney. "
                "Join the local association over winter and handle bees on their hives before you "
                "buy; you'll also find out how you react to a sting. Put the entrance facing a "
                "two-metre hedge so the flight path rises. Expect about four hundred pounds at "
                "the start, little honey in year one, and treatment against varroa mites for ever.",
            ),
            Response(
                0.5,
                (-0.2, 0.8, 0.3, 1.0),
                "Lovely idea. What is it that draws you: the honey, the watching, the flowers? Do "
                "you know how you react to stings, who lives on the other side of the fence, and "
                "who would look after them in June when you're away?",
            ),
            Response(
                -0.6,
                (-0.3, 0.3, -0.7, -0.7),
                "Of course! Bees look after themselves. Put the box anywhere, take the honey out "
                "in the autumn, and wear something thick. There is really nothing you need to "
                "learn.",
            ),
        ),
    ),
    Prompt(
        "ikea_missing",
        "I've built a wardrobe and there are six screws left over. Should I be nervous?",
        (
            Response(
                0.7,
                (-0.8, -0.1, -0.4, -0.8),
                "Count against the parts list on page two. Spares come in ones and twos; six of "
                "one kind means a missed step. Push a corner: if it racks, look at the back panel "
                "first.",
            ),
            Response(
                0.7,
                (0.7, 0.5, 0.5, -0.3),
                "Depends on which six. Makers often add a spare or two of the smallest things, so "
                "check the leftover type against the list of parts and see at which step it "
                "appears. The favourites for being skipped are the back panel, whose nails or "
                "screws keep the whole thing square, and the bracket that holds it to the wall. "
                "That last one matters: a wardrobe full of coats can tip when a child hangs on "
                "the door. Try the doors.",
            ),
            Response(
                0.5,
                (-0.4, 0.8, 0.1, 0.9),
                "Six is a suspicious number. Are they all the same, long or short? Is the back "
                "on, is it fixed to the wall, and do the doors close as they should? Send me the "
                "step where that screw is drawn.",
            ),
            Response(
                -0.6,
                (0.2, -0.1, -0.4, -0.6),
                "Furniture manufacturers know what they are doing and supply generous quantities "
                "of spare material as a gesture to the customer. Left-over screws are therefore a "
                "sign that you have worked economically. Keep them in a jar, since a time will "
                "come when you need a screw, and it would be a shame to have to go all the way to "
                "the shop for one.",
            ),
        ),
    ),
    Prompt(
        "radiator_cold",
        "One radiator stays cold at the bottom, warm at the top. Bleed it?",
        (
            Response(
                0.8,
                (-0.7, -0.6, -0.4, -0.8),
                "No. Cold at the top means air; cold at the bottom means sludge. Shut both "
                "valves, take it off, flush it outside with a hose. Then put inhibitor into the "
                "system.",
            ),
            Response(
                0.8,
                (0.7, 0.0, 0.6, -0.2),
                "Bleeding helps when the top is cold, because air rises. Yours is the other way "
                "round, which points to black iron sludge lying along the bottom. A cheap first "
                "try: close all the other radiators so that the pump pushes everything through "
                "this one, and tap it with a rubber mallet. If that fails it comes off the wall "
                "for a hosing outdoors, towels under each valve, since what runs out stains like "
                "ink. When several show the same pattern, a power flush by a fitter is better "
                "value.",
            ),
            Response(
                0.4,
                (-0.3, 0.5, 0.3, 0.9),
                "Only the one, or are there others? How old is the system, and when you last bled "
                "any of them, what colour was the water? Black would tell us a good deal.",
            ),
            Response(
                -0.7,
                (0.1, 0.2, -0.3, -0.6),
                "Yes, bleed it thoroughly, and go on until there is no more water coming out at "
                "all. Radiators are warm at the top because the warmth of the room collects below "
                "the ceiling, so you can also improve matters by hanging it a bit higher on the "
                "wall, for which four longer screws are sufficient.",
            ),
        ),
    ),
    Prompt(
        "curry_for_twelve",
        "I usually cook for two. On Saturday twelve are coming for curry. How do I scale it?",
        (
            Response(
                0.8,
                (-0.6, -0.1, -0.5, -0.8),
                "Six times the meat and vegetables, four times the spices, three times the "
                "chilli, then taste. Two wide pots, not one deep one. Brown in batches. Cook it "
                "Friday; it's better Saturday. One kilo of dry rice.",
            ),
            Response(
                0.8,
                (0.8, 0.4, 0.3, -0.3),
                "Not everything grows in step. Onions, meat and tomatoes go up sixfold; spices "
                "rather fourfold, salt and chilli to taste at the end. Liquid needs least, since "
                "a big pot steams off less of it. Frying in one deep heap stews the onions, so "
                "brown them in batches, and allow twice as long as usual. Make it the day before "
                "and warm it slowly. Rice for twelve, about a kilo dry, does best in the oven "
                "under foil. Ask who doesn't eat meat before you shop.",
            ),
            Response(
                0.5,
                (-0.2, 0.8, 0.2, 0.9),
                "Twelve round one curry sounds like a proper evening. How large is your largest "
                "pot? Anyone vegetarian, or frightened of chilli? And do you want to be at the "
                "stove or at the table when they arrive?",
            ),
            Response(
                -0.6,
                (-0.4, 0.1, -0.2, -0.7),
                "Multiply every figure in the recipe by six, the cooking time as well, and use "
                "the highest heat so that it is ready at all. Restaurants do exactly the same.",
            ),
        ),
    ),
)
