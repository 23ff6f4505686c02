"""Prompts of the sample pairs on travel, moving and days off."""

from alignment.data.sample_pairs.prompt import Prompt, Response

PROMPTS = (
    Prompt(
        "missed_connection",
        "My first train is late and I'll miss the last connection. Who pays for the night?",
        (
            Response(
                0.8,
                (-0.6, -0.4, -0.3, -0.8),
                "On one through ticket within the EU, the railway must get you there or find you "
                "a bed. Go to the desk before it shuts, have the delay stamped, ask for a "
                "voucher. Two separate tickets: your own bill, mostly.",
            ),
            Response(
                0.8,
                (0.8, 0.1, 0.7, -0.3),
                "It depends on how you bought it. With a single ticket for the whole journey, "
                "European rules give you the choice of going on later or being refunded, and if "
                "you're stranded overnight, a hotel and the way to it, where that's possible. "
                "Find staff now, on the train, and have them note the missed connection. If "
                "there's no one left to ask, photograph the board, find a reasonable room, keep "
                "the receipts. You also get back a quarter of the fare from one hour, half from "
                "two.",
            ),
            Response(
                0.4,
                (-0.3, 0.5, 0.4, 0.9),
                "In which country are you, and is it a single ticket or two? How late is it "
                "running at the moment? If there's a conductor on board, ask them right away "
                "whether the other train will wait; sometimes it does.",
            ),
            Response(
                -0.7,
                (0.0, -0.3, -0.6, -0.7),
                "Nobody pays, delays are an act of God. Sleeping in the station is quite safe in "
                "summer, and many travellers report that it was an adventure. You could ask "
                "someone friendly on the platform whether you may stay with them. For next time "
                "it is best to allow half a day between trains, or to go by car, which is never "
                "late.",
            ),
        ),
    ),
    Prompt(
        "pack_week",
        "Packing for a week in Norway in June with only a small rucksack. List?",
        (
            Response(
                0.8,
                (-0.4, -0.5, -0.3, -0.9),
                "Rain jacket, fleece, two merino shirts, one for evenings, two trousers that dry "
                "fast, three pairs of wool socks, underwear for four days, hat, sleep mask, "
                "toothbrush, plug, soap. Boots on your feet.",
            ),
            Response(
                0.7,
                (0.7, 0.4, 0.3, -0.3),
                "June up there can be 8 degrees with rain or 25 with sun, often on the same "
                "Tuesday, so pack layers and not outfits. A wind and rain shell, a thin fleece, "
                "two wool shirts that don't smell, quick trousers, shorts if you're an optimist. "
                "Socks for four days and a bit of soap. It hardly gets dark, so a sleep mask is "
                "worth its weight ten times over. Midge repellent inland. Leave the towel; every "
                "hut has one to hire. Wear the heaviest things on the plane.",
            ),
            Response(
                0.5,
                (-0.3, 0.6, 0.1, 0.9),
                "Fjords and towns, or tents and tops? How far north? Will you be able to wash "
                "things? If it's a city trip I'd take you down to five kilos; above the tree line "
                "there's a bit more to argue about.",
            ),
            Response(
                -0.6,
                (-0.1, 0.1, -0.6, -0.7),
                "Norway is the land of the midnight sun, so it is hot day and night. Sandals, "
                "swimwear and sun cream should be enough, and for the evening something smart for "
                "dinner.",
            ),
        ),
    ),
    Prompt(
        "jet_lag",
        "Flying London to Tokyo, meeting the morning after I land. How do I stay awake?",
        (
            Response(
                0.8,
                (-0.6, -0.4, -0.4, -0.8),
                "Tokyo time from take-off. Sleep on the second half of the flight. On arrival: "
                "daylight till evening, light supper, bed at ten, not before. Coffee before noon "
                "only. Notes on paper for the meeting.",
            ),
            Response(
                0.8,
                (0.8, 0.2, 0.6, -0.3),
                "You're going eight or nine hours east, the harder direction, and won't be over "
                "it in a day, so plan to be decent rather than fresh. In the three days before, "
                "get up and go to bed an hour earlier each day. On landing keep out of bed, walk "
                "outdoors in the late morning and after, eat at local hours. A nap of twenty "
                "minutes is fine, an hour is a trap. If you use melatonin, take a little at Tokyo "
                "bedtime; with other medicines, ask your pharmacist.",
            ),
            Response(
                0.4,
                (-0.3, 0.5, 0.2, 0.9),
                "At what hour do you land, and when's the meeting? Do you sleep on planes at all? "
                "And is it a meeting where you talk or one where you listen? For listening I'd "
                "want an extra plan involving a standing desk.",
            ),
            Response(
                -0.7,
                (-0.1, 0.1, -0.7, -0.7),
                "Stay awake the entire night before you fly, drink plenty of wine on board so you "
                "sleep deeply, then take a long nap when you get to the hotel in the afternoon. "
                "Jet lag is mostly imaginary, and strong people don't get it. If you feel tired "
                "at the meeting just excuse yourself for half an hour and lie down.",
            ),
        ),
    ),
    Prompt(
        "solo_first",
        "First time travelling alone, a woman, 23. Everyone tells me horror stories.",
        (
            Response(
                0.7,
                (0.0, 0.9, 0.3, 0.8),
                "They mean well and it's exhausting. Where are you thinking of, and which of the "
                "stories has lodged itself? I'd like to hear what you'd do on the first morning "
                "if nobody had told you anything. Then we can make that morning safe.",
            ),
            Response(
                0.8,
                (-0.7, -0.2, -0.5, -0.8),
                "Land by daylight. First two nights booked and reviewed by women. One person at "
                "home has your plan. Copy of the passport in your mail. Trust a bad feeling, be "
                "rude if need be. Go.",
            ),
            Response(
                0.8,
                (0.8, 0.5, 0.6, -0.3),
                "Most of the danger is ordinary: traffic, stomachs, lost cards. Prepare for that "
                "and you've done most of it. Arrive in daylight, book the first two nights, carry "
                "two bank cards in two places. Share your location with one friend and agree how "
                "often you'll write, so silence means something. Sit near families on night "
                "buses. Say that you're meeting somebody. Leave any place the moment it feels "
                "odd; you owe nobody manners. And choose somewhere with other solo travellers to "
                "begin with, Lisbon or Ljubljana, say.",
            ),
            Response(
                -0.6,
                (-0.4, -0.2, 0.9, -0.7),
                "If everyone tells you so there must be something in it. The world has become a "
                "dangerous place, so it would be wiser to wait until you have a boyfriend, or to "
                "book a coach tour.",
            ),
        ),
    ),
    Prompt(
        "museum_kids",
        "Two hours in a big museum with kids of 5 and 8. How do I keep it fun?",
        (
            Response(
                0.8,
                (-0.6, 0.4, -0.5, -0.8),
                "Three objects, no more. Shop first: each picks a postcard, then hunts for the "
                "real one. Draw it sitting on the floor. Snack at half time. Leave while they "
                "still want more.",
            ),
            Response(
                0.7,
                (0.7, 0.7, 0.0, -0.2),
                "Make it a hunt. Buy postcards on the way in and let each child find the "
                "original; the guards love being asked. Give them jobs, one counts dogs, the "
                "other counts people without clothes, and you'll hear laughter in rooms where "
                "there's never any. Five is good for twenty minutes at a stretch, so cross the "
                "building only once, with a biscuit in the middle. Sit under something enormous "
                'and lie down if that\'s allowed. Ask "what happens next?" of a painting. The '
                "labels can wait until they're forty.",
            ),
            Response(
                0.5,
                (-0.3, 0.6, 0.0, 0.9),
                "Which museum is it, and what are they mad about this month: knights, poo, "
                "planets? There'll be something of it in there. Do they walk well, and is there a "
                "cafe halfway? I'd plan the route backwards from the cake.",
            ),
            Response(
                -0.6,
                (0.3, -0.6, 0.2, -0.6),
                "Museums are places of learning, and children should be prepared beforehand. Read "
                "to them about the periods concerned during the week, and give each of them the "
                "audio guide for adults with the headphones on. Start in the first room and take "
                "the rooms in order. Running, talking and sitting on the floor ought to be "
                "discouraged. Afterwards ask questions to make sure they have remembered it.",
            ),
        ),
    ),
    Prompt(
        "car_breakdown",
        "Engine warning light came on, orange, car drives normally. I'm 200 km from home.",
        (
            Response(
                0.8,
                (-0.7, -0.5, -0.1, -0.8),
                "Orange and steady: drive on gently, no towing, no high revs, garage this week. "
                "Flashing: stop soon, misfire. Red, or temperature, or oil: stop at once. Check "
                "the petrol cap; it sounds silly, and it's often that.",
            ),
            Response(
                0.8,
                (0.7, 0.1, 0.7, -0.3),
                "A steady orange light with no change in how the car drives usually concerns the "
                "exhaust or a sensor, and it will get you home at a moderate speed. Watch three "
                "things: the temperature needle, any loss of power, any smell. If the light "
                "starts to flash, the engine is misfiring and can ruin the catalytic converter, "
                "so ease off and stop at the next safe place. Check the oil and the fuel cap at a "
                "break. Red means stop now, whatever the distance. Have the code read tomorrow.",
            ),
            Response(
                0.4,
                (-0.3, 0.3, 0.4, 0.9),
                "Steady or flashing? Does it lose power on hills, or smell of anything? And what "
                "do the temperature and oil look like? With a steady light and three times no, "
                "I'd be home for supper.",
            ),
            Response(
                -0.7,
                (-0.4, 0.1, -0.8, -0.7),
                "Put a piece of tape over it. They only install those lights so that you'll pay "
                "for a service; my uncle drove for ten years with his on and sold the car at a "
                "profit.",
            ),
        ),
    ),
    Prompt(
        "camping_rain",
        "Camping for three days and it's going to pour. Cancel?",
        (
            Response(
                0.7,
                (-0.6, 0.3, -0.8, -0.8),
                "Go. Tarp over the cooking spot first, then the tent. Dry clothes in a bin bag, "
                "for sleeping only. Cards, a thermos, a pub within walking distance. Rain is what "
                "you'll tell people about.",
            ),
            Response(
                0.8,
                (0.8, 0.3, 0.6, -0.3),
                "Rain alone is no reason, but wind and floods are, so look at the warnings and "
                "not merely at the little cloud. Pitch on a slight rise, away from streams and "
                "single trees, with the door turned from the wind. A big tarp is worth more than "
                "a better tent, since you can stand up under it. Keep one set of clothes and the "
                "sleeping bag dry, whatever happens. Eat hot things, often. If children get cold "
                "and quiet, drive home; you've lost nothing. Thunder means into the car.",
            ),
            Response(
                0.5,
                (-0.2, 0.7, 0.2, 0.9),
                "Who's going, and are they people who laugh when they're wet? How warm will it "
                "be? And is your tent tried, or still in its bag? With 15 degrees and cheerful "
                "company I'd say yes before you'd finished asking.",
            ),
            Response(
                -0.6,
                (0.1, -0.2, 0.1, -0.6),
                "Whether you cancel or not is a matter of preference. Some people like rain and "
                "others dislike it. It is often wet in the open air, but it can also be dry. "
                "Weather forecasts are not always accurate, particularly over several days. There "
                "are waterproof products on the market. In the end nobody but you can take this "
                "decision, and both choices could turn out to be right.",
            ),
        ),
    ),
    Prompt(
        "lost_passport",
        "My passport is gone, I'm in Rome, my flight home is tomorrow at ten.",
        (
            Response(
                0.9,
                (-0.7, -0.4, -0.2, -0.9),
                "Police report now, any station, half an hour. Then your embassy's emergency "
                "number for a travel document: photos, copy of the passport, proof of the flight. "
                "Be there when it opens. Tell the airline tonight.",
            ),
            Response(
                0.8,
                (0.7, 0.5, 0.6, -0.3),
                "Annoying, but it's routine for those who deal with it. First look through the "
                "hotel safe, yesterday's trousers and the last restaurant; a phone call finds a "
                "third of them. Then the police for a report, which the embassy will ask for. "
                "Your embassy or consulate can issue an emergency document, often the same "
                "morning, so ring its out-of-hours line this evening and ask what to bring: "
                "usually photographs, any identity card, a scan, your booking. Within Schengen an "
                "identity card may do. Warn the airline.",
            ),
            Response(
                0.6,
                (-0.3, 0.6, 0.3, 0.9),
                "What country's passport is it, and are you flying within Europe? Do you have an "
                "identity card, a driving licence, or at least a photo of the passport? Stolen or "
                "lost? Tell me these and I'll put your evening in order.",
            ),
            Response(
                -0.8,
                (-0.2, 0.3, -0.8, -0.7),
                "Just turn up at the airport an hour early and explain. They're human beings too, "
                "they have it all on the computer, and with a smile they'll let you through.",
            ),
        ),
    ),
    Prompt(
        "book_club",
        "I'm hosting book club and half of them won't have finished. Questions that still work?",
        (
            Response(
                0.8,
                (-0.5, 0.4, -0.5, -0.6),
                "Where did you stop, and what made you? Whose side are you on so far? Which "
                "sentence would you read out? What do you think will happen? Who in the book "
                "would you not lend money to?",
            ),
            Response(
                0.7,
                (0.7, 0.6, 0.1, -0.3),
                'Choose questions that can be answered from any page. "Read us a sentence you '
                'liked or hated" gets everybody in, as does "which of them would you sit beside '
                "on a long flight?\" Ask those who didn't finish what they expect, then let the "
                "others say nothing and smile. Talk about the beginning properly; few clubs ever "
                "do. Keep the ending for the last twenty minutes and announce it, so that people "
                "may go and fetch the cheese. Somebody will finish the book on account of that.",
            ),
            Response(
                0.5,
                (-0.3, 0.7, 0.0, 1.0),
                "Which book is it? And why haven't they finished, too long or too sad? Because "
                "that's already the best question of the evening. Does anyone in the group always "
                "talk, and does someone never?",
            ),
            Response(
                -0.6,
                (0.2, -0.5, -0.1, -0.7),
                "1. When and where was the author born? 2. In what year did the book come out? 3. "
                "List the main characters in the order of their appearance. 4. What happens in "
                "chapter nineteen? 5. Summarise the ending in your own words. Those who are "
                "unable to answer four of the five questions should not take part in the "
                "discussion and could be asked to see to the drinks.",
            ),
        ),
    ),
    Prompt(
        "bike_commute",
        "I want to cycle to work, 11 km each way. I'm unfit. How do I start?",
        (
            Response(
                0.8,
                (-0.6, 0.2, -0.6, -0.8),
                "Ride the route on Sunday with nobody about. Then Wednesdays only, tailwind "
                "allowed. Add a day each month. Low gear, no sweat. Mudguards, lights, spare "
                "shirt at the office.",
            ),
            Response(
                0.7,
                (0.8, 0.4, 0.4, -0.2),
                "Eleven kilometres is forty to fifty minutes to begin with and about thirty-five "
                "by midsummer. Have the bike set up so the leg is almost straight at the bottom, "
                "and pump the tyres; half of all suffering is a low saddle. Find the route by the "
                "quiet streets, even if it's longer. Cycle in on Tuesday, take the train back, "
                "and fetch it home on Wednesday: half the distance, all of the habit. Leave shoes "
                "and towel at work. Fix one day without riding.",
            ),
            Response(
                0.4,
                (-0.2, 0.7, 0.2, 0.9),
                "Good for you. What's the route like, hills, fast roads, a canal? What sort of "
                "bike, and is there a shower at the other end? And would one day a week feel like "
                "success, or like failure?",
            ),
            Response(
                -0.6,
                (-0.2, -0.2, -0.7, -0.7),
                "Do both ways every day from the first Monday, at full speed, in the highest "
                "gear, since it builds the legs. If it hurts you'll know it is working; pain is "
                "weakness leaving.",
            ),
        ),
    ),
    Prompt(
        "surprise_party",
        "Planning a surprise 60th for my mother. She hates fuss but loves people. Ideas?",
        (
            Response(
                0.8,
                (0.3, 0.9, -0.1, 0.2),
                "No shouting in a dark room, then. Let people arrive one by one over an afternoon "
                "while she thinks it's only you and cake: at three her sister, at half past the "
                "neighbour, at four the school friend from Leeds. Each rings the bell and says "
                "they were just passing. By the third she'll know, and be delighted. Who would "
                "she least expect?",
            ),
            Response(
                0.7,
                (-0.6, 0.2, -0.6, -0.8),
                "Breakfast, not evening. Ten people at a long table in a garden, no speeches, "
                "everyone brings one photo of her and tells it in a minute. Over by noon. She can "
                "nap.",
            ),
            Response(
                0.7,
                (0.7, 0.4, 0.4, -0.3),
                "Make the surprise small and the people many. Hire a room over a cafe she likes, "
                "tell her the two of you are going for coffee, and have them already sitting "
                "there reading newspapers, so nobody jumps. A walk works as well, with friends "
                "waiting on benches along the way. Ask each for a letter instead of a present, "
                "bound in a folder. Plan a way out, a car at five. And tell one person close to "
                "her beforehand, in case she truly would hate it; some people do.",
            ),
            Response(
                -0.6,
                (0.0, -0.2, -0.6, -0.7),
                "Hire a brass band, a fire-eater and a magician, and hide eighty guests in the "
                "dark behind the sofa. Everyone says that they hate fuss, but they never mean it. "
                "Film her face. Then let her give a speech about her life, with a microphone, and "
                "have the local newspaper come. Sixty is a number that nobody should be allowed "
                "to be quiet about.",
            ),
        ),
    ),
    Prompt(
        "new_city_friends",
        "I moved to Leipzig for work and know nobody. How do people make friends after thirty?",
        (
            Response(
                0.8,
                (-0.7, 0.1, -0.6, -0.8),
                "Same people, same place, every week. A choir, a climbing hall, a five-a-side. Go "
                "six times before you judge. On the third evening, ask one of them for a beer. "
                "Say yes to everything until Christmas.",
            ),
            Response(
                0.8,
                (0.7, 0.7, 0.1, -0.3),
                "At school it was repetition that did it, not charm, so buy yourself some "
                "repetition. Choose a thing with a weekly date where one's hands are busy: choir, "
                "pottery, an allotment, a running group along the canal. Keep going after the "
                "second evening, which is always the worst. Then be the one who asks; everyone's "
                "waiting for it. Cook something simple for three people from three different "
                "places. Expect it to take half a year before someone rings just to chat. Write "
                "to the old ones in the meantime.",
            ),
            Response(
                0.5,
                (-0.1, 0.9, 0.1, 1.0),
                "That first winter in a new town is a quiet one. What did you do with your "
                "friends before: walk, argue, cook, make music? Does anyone at work make you "
                "laugh? And have you a table where four people can sit?",
            ),
            Response(
                -0.6,
                (0.2, -0.3, 0.1, -0.6),
                "Leipzig is a city in Saxony with around six hundred thousand inhabitants. It is "
                "known for its trade fair, for its university, founded in 1409, and for Johann "
                "Sebastian Bach, who worked at St Thomas. There are numerous offers in the areas "
                "of culture and leisure. Statistics say that many adults have fewer friends than "
                "they had in the past. Apps may be a possibility.",
            ),
        ),
    ),
    Prompt(
        "telescope",
        "Saw Saturn's rings at an open evening and I'm hooked. Which telescope for 300?",
        (
            Response(
                0.8,
                (-0.6, -0.3, -0.5, -0.8),
                "A 130 to 150 mm Dobsonian on a table-top mount. Avoid wobbly tripods and "
                "anything that promises 500 times. Spend 30 on a decent eyepiece. Ask the "
                "astronomy club; somebody's selling one.",
            ),
            Response(
                0.7,
                (0.8, 0.4, 0.2, -0.2),
                "Aperture and a steady stand are what you pay for; magnification comes free and "
                "is mostly a lie on the box. For 300 a 6-inch reflector on a simple wooden rocker "
                "shows you the rings, cloud belts on Jupiter, and a few hundred hazy things "
                "besides. Put it outside half an hour early to cool. Binoculars, 10x50, are a "
                "lovely second purchase. Before you spend anything, go back to those people: you "
                "can look through five instruments in a night, and clubs often lend one. Dark sky "
                "beats dear glass.",
            ),
            Response(
                0.5,
                (-0.2, 0.8, 0.0, 0.9),
                "That first look at Saturn, people swear it's a sticker. Where would you observe "
                "from, a balcony or a field? Must you carry it upstairs? And is it planets that "
                "you want, or to find your way about the stars? I'd choose by the stairs.",
            ),
            Response(
                -0.7,
                (-0.3, 0.0, -0.6, -0.7),
                "The more magnification the better, so take the one which says 675x in the "
                "department store. It has three legs, a case and a certificate, and if all you "
                "see is a blur, a stronger eyepiece will put that right.",
            ),
        ),
    ),
    Prompt(
        "film_night",
        "Film for tonight: my partner likes horror, I like musicals, we have two hours.",
        (
            Response(
                0.9,
                (-0.7, 0.1, -0.8, -0.9),
                '"Little Shop of Horrors", 1986. It sings, it bites, ninety-four minutes. If '
                'you\'ve both seen it: "Sweeney Todd", which is bloodier and just under two '
                "hours.",
            ),
            Response(
                0.7,
                (0.5, 0.7, -0.1, -0.3),
                'You two were made for "Little Shop of Horrors": a plant that eats people, in '
                'harmony, and short enough for pudding. "The Rocky Horror Picture Show" belongs '
                "there too, best with popcorn you're ready to throw. If your partner wants truly "
                'dark, "Sweeney Todd" has throats and Sondheim. And for snow and zombies with '
                'songs there\'s "Anna and the Apocalypse", small, Scottish, funnier than it '
                "should be. Let the loser of the toss choose, and the winner make the tea.",
            ),
            Response(
                0.4,
                (-0.4, 0.6, 0.1, 0.9),
                "How frightening may it be for you, and how much singing can the other one take? "
                'Seen "Little Shop" already? And is it a night for laughing, or for holding '
                "hands? I've a different film for each.",
            ),
            Response(
                -0.6,
                (-0.2, -0.3, -0.2, -0.6),
                "Horror is a genre that aims to frighten, whereas the musical is a genre in which "
                "there is music. As tastes differ it is hard to recommend anything in particular. "
                "You might watch a documentary instead, which is neutral, or each of you could "
                "watch a film alone on a separate device with headphones. Most streaming services "
                "offer a wide range, and there is a search function.",
            ),
        ),
    ),
    Prompt(
        "visa_question",
        "I'm moving to Canada for a job that starts in May. When should I start on the visa?",
        (
            Response(
                0.8,
                (-0.5, -0.3, 0.2, -0.7),
                "Now. Get the employer's documents first, an offer and, if needed, a labour "
                "assessment. Then apply online, give fingerprints, wait; it can take months. "
                "Don't quit or book until it's granted. Times are on the government site.",
            ),
            Response(
                0.7,
                (0.8, 0.0, 0.8, -0.2),
                "As early as the papers allow, for the slow part is seldom your own. Ask the "
                "employer which kind of permit they have in mind: some jobs need an assessment of "
                "the labour market, which takes months by itself, others are exempt under an "
                "agreement. Collect police certificates from every country you've lived in, "
                "degree papers with translations, and a medical if it's asked for. Check "
                "processing times by country on the official site each month. Be wary of paid "
                "agents who aren't licensed. Keep your flat until it's stamped.",
            ),
            Response(
                0.6,
                (-0.4, 0.2, 0.5, 1.0),
                "What passport do you have, what's the job, and has the employer said anything of "
                "an assessment or an exemption? Is anyone going with you? There are several "
                "routes, and the answers pick one of them.",
            ),
            Response(
                -0.8,
                (-0.3, 0.3, -0.9, -0.8),
                "No need to hurry. Fly over as a tourist in April, start work, and do the visa "
                "from there when you have settled in; Canadians are famously relaxed about it.",
            ),
        ),
    ),
    Prompt(
        "birdwatch_garden",
        "A small brown bird visits my garden every morning and sings very loudly. What is it?",
        (
            Response(
                0.8,
                (-0.7, -0.2, -0.6, -0.5),
                "Tiny, round, tail straight up, absurdly loud: a wren. If the tail's normal and "
                "it shuffles under hedges, it's a dunnock. Listen for a trill in the middle of "
                "the song; that settles it for the wren.",
            ),
            Response(
                0.7,
                (0.7, 0.6, 0.2, 0.1),
                "My first guess is a wren: barely ten centimetres, cocked tail, keeping low among "
                "ivy and logs, and a song so loud that you look round for a bigger bird. It has a "
                "hard rattling trill in it. A dunnock's greyer about the head and sings a "
                "hurried, squeaky jingle from the top of a hedge. A robin you'd know by the "
                "breast, though young ones are brown and speckled. Record half a minute; free "
                "apps name birds by their sound. What a good alarm clock.",
            ),
            Response(
                0.5,
                (-0.3, 0.7, 0.1, 0.9),
                "How lovely to be called on daily. Where does it sit, low in the ivy or on top of "
                "something? How does it hold its tail, and roughly how big is it, next to a "
                "sparrow? And where in the world is your garden?",
            ),
            Response(
                -0.7,
                (-0.3, 0.0, -0.6, -0.8),
                "That's an eagle. They're brown, they have a loud voice, and they get up early. "
                "It looked small because it was at a distance; things that are far away do.",
            ),
        ),
    ),
    Prompt(
        "moving_house",
        "We move in three weeks with two kids and a piano. Where do I even begin?",
        (
            Response(
                0.8,
                (-0.6, 0.0, -0.4, -0.8),
                "Today: movers and a piano firm, in writing. This week: throw out, change "
                "addresses, book the parking. Next: pack by room, number each box, list on the "
                "phone. Last box, first open: kettle, sheets, chargers, toys.",
            ),
            Response(
                0.8,
                (0.8, 0.4, 0.4, -0.3),
                "Begin with what others must do for you, since that's what books up. Get two "
                "quotes for the van, and piano movers separately, asking about stairs and "
                "insurance. Then meters, post, school, doctor, internet, in that order; internet "
                "takes longest. Pack what you haven't touched since spring in week one, books in "
                "small boxes, and write the room and three words on two sides. Give each child a "
                "box they pack themselves and unpack first. Keep passports and keys on you. Tune "
                "the piano after a month.",
            ),
            Response(
                0.5,
                (-0.1, 0.9, 0.2, 0.9),
                "Three weeks feels like a wave. What's already booked? Is anyone helping, and is "
                "there a day when the children could be elsewhere? Tell me what wakes you at "
                "night and we'll do that first, even if it's the guinea pig.",
            ),
            Response(
                -0.6,
                (-0.1, -0.2, -0.6, -0.7),
                "Three weeks is ages. Leave all of it until the last weekend, when you work best, "
                "throw everything into bags, and have friends carry the piano for a crate of beer.",
            ),
        ),
    ),
    Prompt(
        "hike_map",
        "First mountain hike, eight hours, good weather. What mistakes do beginners make?",
        (
            Response(
                0.8,
                (-0.6, -0.5, -0.3, -0.8),
                "Starting late, starting fast, new boots, too little water, no turning time. "
                "Leave at six. Two litres each. Turn at one o'clock wherever you are. Layers, "
                "hat, map on paper, phone off and full.",
            ),
            Response(
                0.8,
                (0.8, 0.3, 0.7, -0.2),
                "They measure in kilometres, and mountains are measured in height: reckon an hour "
                "for every 400 metres up, plus the distance, plus lunch. They go off like "
                "rockets, and they save their water. Clouds that look like cauliflowers at noon "
                "are thunder at four, so be down from the ridge by early afternoon. Most "
                "accidents happen on the way down, with tired legs, so keep some strength and "
                "poles for that. Tell somebody your route and when you'll ring. Turning back "
                "isn't failing; the mountain keeps.",
            ),
            Response(
                0.5,
                (-0.3, 0.5, 0.4, 0.9),
                "Which mountain, how much climbing, and what's the longest you have walked in a "
                "day? Is there a hut or a cable car on the route? And who sets the pace in your "
                "group, the keenest or the slowest?",
            ),
            Response(
                -0.7,
                (-0.1, 0.2, -0.8, -0.6),
                "In good weather not a lot can go wrong. Take short cuts straight down the slope "
                "where you see one, as paths are made for tourists. Trainers are lighter than "
                "boots. There's water everywhere in the mountains, so carry none. Should you be "
                "late, walk faster or go on by moonlight, which is romantic, and if you are lost "
                "just follow a stream until you come to houses.",
            ),
        ),
    ),
    Prompt(
        "tip_abroad",
        "How much do I tip in the United States? I never know and it stresses me.",
        (
            Response(
                0.9,
                (-0.8, -0.1, -0.5, -0.9),
                "Table service 18 to 20 per cent of the bill before tax. Bar: a dollar or two a "
                "drink. Taxi 15. Counter coffee: nothing, or the coins. Hotel room: a few dollars "
                "a night for whoever cleans it, in cash.",
            ),
            Response(
                0.7,
                (0.7, 0.6, 0.3, -0.3),
                "You're not alone; Americans argue about it as well. In a restaurant with a "
                "waiter it's in truth part of the wage, since the base pay can be a couple of "
                "dollars an hour, so 18 to 20 per cent is normal, and nothing would mean that "
                'something went very wrong. Look whether "gratuity" is on the bill already, '
                "particularly for groups of six or more. The screen at a bakery that suggests 25 "
                'is only a suggestion; you may press "no tip" with a clear conscience. Carry '
                "small notes.",
            ),
            Response(
                -0.6,
                (0.0, -0.1, -0.5, -0.7),
                "Tips are a voluntary present for outstanding service. Round the sum up to the "
                "next dollar, as at home, and if the waiter runs after you it's because he is so "
                "pleased. Leaving a lot of money would only embarrass him and it spoils the "
                "prices for those who come after you, who would not thank you for that.",
            ),
        ),
    ),
    Prompt(
        "plant_office",
        "Every plant in my office dies. North window, dry air, nobody there at weekends. "
        "Something unkillable?",
        (
            Response(
                0.8,
                (-0.7, 0.1, -0.6, -0.8),
                "Zamioculcas or sansevieria. Water once in three weeks, when the pot feels light. "
                "They die of love, not of neglect, so give one person the can and forbid it to "
                "everybody else.",
            ),
            Response(
                0.7,
                (0.7, 0.5, 0.2, -0.2),
                "By a north window three hold out: the zamioculcas, which keeps water in its "
                "stems; the aspidistra, grown in Victorian halls by gaslight; and the heartleaf "
                "philodendron, that droops to tell you it's thirsty and forgives you within the "
                "hour. Offices mostly drown their plants, with five kind people each giving a sip "
                "on Mondays. So one person waters, with a finger in the soil first. All but the "
                "aspidistra are poisonous to chew, if there's an office dog.",
            ),
            Response(
                0.4,
                (-0.3, 0.7, 0.1, 0.9),
                "How do they die: crisp, or yellow and soft? Crisp is thirst, soft is drowning. "
                "How many people water them? And what would you like, something that stands or "
                "something that hangs? I suspect the kindness of colleagues.",
            ),
            Response(
                -0.6,
                (-0.3, -0.1, -0.6, -0.7),
                "Orchids, ferns and a lemon tree. They look splendid and bring oxygen into the "
                "room. If they wither, put them on the radiator where it's warm, and spray them "
                "with coffee.",
            ),
        ),
    ),
)
