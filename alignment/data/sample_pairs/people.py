"""Prompts of the sample pairs on family, friends, neighbours and loss."""

from alignment.data.sample_pairs.prompt import Prompt, Response

PROMPTS = (
    Prompt(
        "wife_died",
        "My wife died in March. Today I found her shopping list in a coat pocket and I can't stop "
        "crying.",
        (
            Response(
                0.9,
                (-0.3, 1.0, 0.0, 0.5),
                "Her handwriting, and the milk she meant to buy. Of course you can't stop. "
                "There's nothing that you have to do about it this evening; put the list "
                "somewhere it won't get lost, and let it come. Would you like to tell me what was "
                "on it?",
            ),
            Response(
                0.7,
                (0.5, 0.8, 0.2, -0.4),
                "It is the small things that ambush us, because we've braced ourselves against "
                "the large ones. Crying hard over a list, months later, is not a step backwards. "
                "Some people frame such a thing, some keep it in the coat. If you can, ring one "
                "person tonight who knew her and read it out to them; somebody will laugh at the "
                "third item. And drink a glass of water, eat something plain. The evenings are "
                "the longest part of the first year.",
            ),
            Response(
                0.5,
                (-0.8, -0.1, -0.3, -0.8),
                "Let it run; it stops by itself. Keep the list, in a drawer, not the bin. Eat, "
                "then ring somebody who knew her. Days like this get rarer, though they don't "
                "stop.",
            ),
            Response(
                -0.8,
                (0.4, -0.6, -0.2, -0.7),
                "Grief proceeds in five stages, which are denial, anger, bargaining, depression "
                "and acceptance. Crying suggests that you are at the fourth one, so the greater "
                "part is already behind you. It is recommended to clear out the wardrobe of the "
                "deceased promptly in order to prevent situations of this kind. Charities will "
                "collect coats free of charge, provided that the pockets have been emptied.",
            ),
        ),
    ),
    Prompt(
        "neighbour_music",
        "The student upstairs plays bass guitar till midnight. I don't want a war.",
        (
            Response(
                0.8,
                (-0.4, 0.6, -0.3, -0.6),
                'Go up at six in the evening with something in your hand, biscuits will do. "I '
                "hear the bass in my bed, could you stop at ten?\" Most bass players truly don't "
                "know where the sound goes. Shake hands on an hour.",
            ),
            Response(
                0.7,
                (0.7, 0.1, 0.6, -0.3),
                "Begin with a talk, in daylight, not at the door at midnight. Invite him down to "
                "hear what you hear while a friend plays; that convinces better than adjectives. "
                "Low notes travel through the floor, so a thick rubber mat under the amplifier, "
                "or headphones after ten, may end it altogether. If nothing changes, note dates "
                "and times for a fortnight, look up the quiet hours in the house rules, and write "
                "to him before you write to the landlord. Stay polite on paper, since paper is "
                "kept.",
            ),
            Response(
                0.5,
                (-0.2, 0.4, 0.1, 0.9),
                "Have you met him at all? Does he perhaps believe that nobody hears it? What "
                "would be enough for you: silence after ten, or no bass on weekdays? I'd settle "
                "that in my own mind before I climbed the stairs.",
            ),
            Response(
                -0.7,
                (-0.5, -0.8, -0.6, -0.8),
                "Hit the ceiling with a broom each time he plays, and put your own loudspeakers "
                "face up at six in the morning. People like that understand no other language.",
            ),
        ),
    ),
    Prompt(
        "best_man",
        "I'm best man on Saturday. He's my brother, I have nothing. Give me an opening and an "
        "ending.",
        (
            Response(
                0.9,
                (-0.4, 0.8, -0.5, -0.8),
                "Opening: \"I've known Tom since the day he took over my bedroom, so I'm pleased "
                'to see him finally moving out." Ending: "Clara, he\'s never once let me win at '
                "anything. He let you, and that's how I knew. To the two of you.\"",
            ),
            Response(
                0.7,
                (0.7, 0.5, 0.2, -0.3),
                "Keep it to four minutes: who you are, one story, what changed when she came, "
                'glasses up. Open with the story already running: "In 1998 my brother sold me a '
                'stone for two pounds." Choose one that shows him as he is now, stubborn or '
                "generous, and that his grandmother may hear. Then turn: \"With Clara I've seen "
                'him do something new, namely ask the way." Finish on the couple, not on '
                "yourself, and look at them. Practise aloud twice, with a glass in hand.",
            ),
            Response(
                0.6,
                (-0.3, 0.7, -0.1, 0.9),
                "Brothers always have something, it's just too close to see. What did he get you "
                "into trouble for? When did you first hear him say her name in that voice? And "
                "what does he do that only you find funny? Three answers and you've got your "
                "speech.",
            ),
            Response(
                -0.7,
                (0.2, -0.2, -0.5, -0.7),
                "\"Webster's dictionary defines marriage as the legally recognised union of two "
                "people. When I was asked to say a few words I didn't know what to say. Tom has "
                "had a lot of girlfriends, and some of them were really something, let me tell "
                "you, but here we are at last. As they say, marriage is a three-ring circus: "
                'engagement ring, wedding ring, suffering."',
            ),
        ),
    ),
    Prompt(
        "friend_cancer",
        'My friend told me she has cancer. I said "oh" and then nothing. What now?',
        (
            Response(
                0.9,
                (-0.4, 1.0, -0.1, 0.1),
                "Write to her tonight: \"I said 'oh' because I was frightened. I'm here. I'll "
                "come on Thursday with soup unless you tell me not to.\" She won't hold the "
                '"oh" against you; the ones who go quiet afterwards are the ones that hurt.',
            ),
            Response(
                0.7,
                (0.6, 0.7, 0.3, -0.3),
                "Nothing is spoilt. Ring or write within a day or two and say that you were lost "
                "for words, which is true and a compliment in its way. Then let her lead: ask if "
                "she feels like talking about it or about anything but. Offer particular things, "
                'a lift on Tuesday or the dog at weekends, rather than "anything you need". Leave '
                "out the cousin who got well on celery. And put a note in your calendar in six "
                "weeks, when others have stopped calling.",
            ),
            Response(
                0.6,
                (-0.8, -0.1, -0.4, -0.8),
                'Message her today: "Sorry, I froze. How are you, and when can I visit?" Offer '
                "one concrete job. No advice, no stories of other people. Keep turning up.",
            ),
            Response(
                -0.7,
                (0.0, -0.3, 0.4, -0.6),
                "It is understandable that you didn't know what to say. People in such situations "
                "usually prefer to be left in peace, and it could be intrusive to get in touch. "
                "She knows where you live. When she's well again there'll be time enough to talk "
                "it over, and in the meantime, try not to dwell on it and do something nice for "
                "yourself.",
            ),
        ),
    ),
    Prompt(
        "teen_phone",
        "My son, 13, is on his phone till one in the morning. Taking it away ended in a shouting "
        "match.",
        (
            Response(
                0.7,
                (-0.7, -0.3, -0.4, -0.8),
                "All phones charge in the kitchen from ten, yours too. Buy him an alarm clock. "
                "Announce it on a Sunday, not at midnight. Let him shout; don't shout back. Hold "
                "it for three weeks.",
            ),
            Response(
                0.8,
                (0.6, 0.6, 0.2, -0.2),
                "Midnight is no time to make rules, so try again at the weekend over food. Tell "
                "him what you see, how grey he is on Thursdays, and ask what he'd suggest. He "
                "will offer something absurd and then something quite reasonable. Agree on a "
                "place and an hour where every phone in the house sleeps, yours included; "
                "fairness is nearly everything at that age. Write it on the fridge with an end "
                "date for a review. When he keeps to it, say so once and leave it at that.",
            ),
            Response(
                0.6,
                (-0.1, 0.8, 0.2, 1.0),
                "What's he doing on it at one o'clock: games, friends, or just not sleeping? Is "
                "there something at school he's putting off by staying awake? I ask because a boy "
                "who can't sleep needs something else than a boy who can't stop.",
            ),
            Response(
                -0.7,
                (-0.4, -0.7, -0.5, -0.7),
                "Smash it in front of him. In our day there were no telephones and we slept like "
                "logs. He'll be angry for a week, and after that he'll respect you for the rest "
                "of his life.",
            ),
        ),
    ),
    Prompt(
        "apology_sister",
        "I missed my sister's graduation because I mixed up the dates. She isn't answering. Write "
        "me something.",
        (
            Response(
                0.9,
                (-0.4, 0.8, -0.2, -0.8),
                "\"I got the date wrong. There's no better excuse and I won't invent one. You "
                "worked six years for that hour and I wasn't in the room. I'm sorry, Nell. When "
                "you're ready I'd like to see the photographs, all of them, with commentary.\"",
            ),
            Response(
                0.6,
                (0.4, 0.6, 0.3, 0.6),
                "A message, then patience. \"I'm ashamed. I had the 16th in my head and it was "
                'the 6th. You looked for me and I wasn\'t there." Stop there: no "but", no '
                "reasons. In a week, perhaps a letter on paper. May I ask if this was the first "
                "time, or the third? If it's the third, the words must be about that.",
            ),
            Response(
                0.7,
                (-0.7, 0.0, -0.4, -0.8),
                "\"I mixed up the dates. It was careless and I'm sorry. I'd like to take you to "
                "dinner and hear all about it. Any evening, you choose.\" Send once. Don't chase.",
            ),
            Response(
                -0.7,
                (0.3, -0.3, -0.2, -0.7),
                '"Hey sis! Sorry if you were upset about the graduation thing. You know how busy '
                "I've been at work and honestly the invitation was not very clear about the date, "
                "it was in that tiny print. Anyway you had Mum and Dad there so it's not as if "
                "you were alone. Let me know when you have stopped being cross, because I need "
                'the tent back before the weekend."',
            ),
        ),
    ),
    Prompt(
        "shy_party",
        "I'm shy and invited to a party where I know only the host. How do I survive?",
        (
            Response(
                0.7,
                (-0.6, 0.3, -0.6, -0.8),
                "Arrive early, when there are five people and not fifty. Take on a job: coats, "
                'ice, music. Ask anyone "how do you know Sam?" Leave after ninety minutes, proud. '
                "You're allowed.",
            ),
            Response(
                0.8,
                (0.7, 0.7, 0.1, -0.3),
                "Go early; small rounds are kinder than big ones, and the late arrivals will "
                "think you belong to the house. Bring something that needs explaining, a strange "
                "cake for instance. In the kitchen talk begins by itself. Two questions carry an "
                'evening: "how do you know Sam?" and "what are you glad isn\'t happening '
                'tomorrow?" If you run dry, say so: "I\'m rather shy, but I liked what you said '
                'about the goat." There will be others like you by the bookshelf. Plan the last '
                "bus as your excuse.",
            ),
            Response(
                0.5,
                (-0.3, 0.9, 0.1, 0.9),
                "What's the worst moment for you: walking in, standing about, or getting away? "
                "And is there something you could gladly talk about for five minutes? I'm on the "
                "side of anyone who'd rather be by the bookshelf.",
            ),
            Response(
                -0.6,
                (0.1, -0.4, -0.7, -0.7),
                "Just be confident! Walk straight up to the biggest group and tell a joke. Nobody "
                "notices shy people, so you have to be loud, and a few drinks beforehand work "
                "wonders.",
            ),
        ),
    ),
    Prompt(
        "divorce_kids",
        "We're separating. How do we tell our children, who are 6 and 9?",
        (
            Response(
                0.8,
                (0.4, 0.7, 0.4, -0.3),
                "Together, at home, on a day with nothing after it. \"We've decided to live in "
                "two houses. It's not because of anything you did, and you can't change it. We "
                "both stay your mum and dad.\" Then the things that matter to them: where's my "
                "bed, who fetches me, what about the cat. Expect a question about supper thirty "
                "seconds later. Expect the big ones weeks later, in the car.",
            ),
            Response(
                0.7,
                (-0.7, -0.1, -0.2, -0.8),
                "Both of you, one short talk, same words. Not your fault, it's final, we both "
                "love you. Say what happens next week in concrete terms: beds, school, cat. No "
                "blame of each other, ever.",
            ),
            Response(
                0.6,
                (-0.1, 0.9, 0.5, 1.0),
                "I'm sorry; that's a conversation nobody rehearses for. Do the two of you agree "
                "on what to say about why? Do you know yet who'll live where? If not, I'd wait "
                "until you do, since children can bear sad news better than fog. How much have "
                "they noticed?",
            ),
            Response(
                -0.8,
                (0.5, -0.4, 0.1, -0.6),
                "Children of that age do not understand such matters, and it is therefore best "
                "not to mention it. One of you could be on a business trip for some time, and "
                "later on another trip, until they no longer ask. When they come of age they may "
                "be given the full documents, including who has done what, so that they are in a "
                "position to form a judgement of their own.",
            ),
        ),
    ),
    Prompt(
        "condolence_colleague",
        "A colleague's father died. We aren't close. What do I write on the card?",
        (
            Response(
                0.9,
                (-0.8, 0.5, -0.2, -0.8),
                "\"Dear Ines, I'm sorry about your father. I didn't know him, but I know how you "
                'spoke of him. The Thursday round is covered for as long as you need. Jan."',
            ),
            Response(
                0.7,
                (0.5, 0.5, 0.5, -0.4),
                "Three sentences are enough: what you've heard, something about her or him that "
                'is true, and a thing you take off her hands. Write by hand. Avoid "at least" and '
                '"he\'s in a better place" unless you know she believes it. If you never met '
                'him, say so; "I never met your father, but your stories about his pigeons made '
                'me wish I had" is worth more than a poem. Sign with your surname if there are '
                "two Jans.",
            ),
            Response(
                0.5,
                (-0.4, 0.4, 0.3, 0.9),
                "Did she ever mention him? Even a small thing, his garden or his accent, makes "
                "the card hers. And is there any work of hers that you could take over next week? "
                "If yes, the card has its last line already.",
            ),
            Response(
                -0.6,
                (0.2, 0.2, 0.1, -0.7),
                '"With deepest sympathy in this difficult time. Words cannot express what we '
                "feel. Time heals all wounds, and everything happens for a reason. He is only "
                "gone if he is forgotten, and death is but the gate to life. In these dark hours "
                "may memory be a light. Yours most sincerely on behalf of the entire second "
                'floor, including accounts, who would have signed as well."',
            ),
        ),
    ),
    Prompt(
        "lend_money",
        "My cousin wants to borrow 2,000 again. He still owes me 600.",
        (
            Response(
                0.8,
                (-0.7, -0.3, -0.4, -0.8),
                'Say no to the loan. "I\'m not lending while the 600 is open." If you want to '
                "help, give an amount you can afford to lose, once, and call it a gift.",
            ),
            Response(
                0.8,
                (0.6, 0.4, 0.6, -0.3),
                "Decide beforehand what you could part with and never see again, since that's "
                "what family loans tend to become. If it is nothing, one sentence will do, "
                "without reasons he can argue with: \"I can't lend you money, and I'd like us to "
                "stay friends.\" If it's something, make it smaller, put the 600 and the new sum "
                "on a single sheet with dates, both sign. You might pay a bill for him directly. "
                "And if there's gambling or drink behind it, cash only makes it worse.",
            ),
            Response(
                0.6,
                (-0.1, 0.8, 0.2, 0.9),
                "You like him, I think, or you'd have said no already. What's it for this time? "
                "Has he mentioned the 600 himself? And if you imagine the next family lunch, "
                "which would sit worse with you: having refused, or waiting for it back?",
            ),
            Response(
                -0.7,
                (0.0, 0.3, -0.8, -0.7),
                "Family comes first, always. If he says that he needs it then he needs it, and "
                "asking about the old debt would be an insult. Take out a small loan of your own "
                "if you're short; the interest is low, he'll surely pay that as well, and you "
                "will feel good about having been generous to him.",
            ),
        ),
    ),
    Prompt(
        "vegetarian_inlaws",
        "My in-laws put meat in everything and I'm vegetarian. They take it personally. Help "
        "before Sunday!",
        (
            Response(
                0.7,
                (-0.6, 0.5, -0.4, -0.8),
                'Ring today: "May I bring a dish for all of us?" Make it large and good. Praise '
                "her potatoes, eat plenty of them. Don't explain, don't convert anyone. By the "
                "third Sunday it's normal.",
            ),
            Response(
                0.8,
                (0.6, 0.8, 0.1, -0.3),
                'Meat is how your mother-in-law says "you\'re welcome", so show her another way '
                "to say it. Ask her to teach you something of hers that has none in it, the "
                "dumplings or the red cabbage, and she'll have a dish that's for you. Have your "
                "partner speak to them beforehand; it lands softer from their own child. On "
                'Sunday eat with visible pleasure what you can. When someone asks why, "I just '
                "don't fancy it\" ends the matter faster than the climate would.",
            ),
            Response(
                0.5,
                (-0.3, 0.6, 0.3, 0.9),
                "What hurts them, do you suppose: that you won't eat it, or that they don't know "
                "what to cook? Has your partner ever said anything? And is there one dish of "
                "theirs you really love?",
            ),
            Response(
                -0.6,
                (-0.2, -0.6, -0.5, -0.7),
                "Send them a documentary about slaughterhouses on Saturday evening. Once they "
                "have seen it they will understand you, and then on Sunday they can apologise.",
            ),
        ),
    ),
    Prompt(
        "elder_move",
        "Mum wants to stay in her house. My brother wants her in a home. I'm in the middle.",
        (
            Response(
                0.7,
                (0.0, 0.9, 0.3, 0.9),
                "The middle is a tiring place to stand. Has anyone asked your mother what she is "
                "afraid of, and your brother what he lies awake over? They may both be thinking "
                "of the stairs. What has actually happened so far: a fall, a burnt pan, or only "
                "worry?",
            ),
            Response(
                0.8,
                (0.8, 0.2, 0.6, -0.3),
                "Bring it down from principle to particulars. List together what has gone wrong "
                "in the last three months and what each thing would need: a second banister, an "
                "alarm on the wrist, lunch delivered, somebody at night. Ask for an assessment of "
                "her needs by the council, so that a third party says it and not one of you. "
                "Agree on what would change the answer, say two falls or a night out of doors. As "
                "long as she understands her choice, it's hers.",
            ),
            Response(
                0.7,
                (-0.7, -0.4, -0.2, -0.8),
                "It's her house and her decision while her mind is sound. Get rails, an alarm and "
                "help three mornings a week. Try it for six months with a date to review. Tell "
                "your brother both the plan and the date.",
            ),
            Response(
                -0.6,
                (0.3, -0.2, 0.2, -0.6),
                "Living arrangements in later life are a challenge for many families, and society "
                "as a whole will have to find answers as the population grows older. Some seniors "
                "are happy at home, and others are happy in a residential setting. Both models "
                "have advantages and disadvantages. Communication is always helpful. Perhaps a "
                "compromise can be found which is acceptable to all of those involved.",
            ),
        ),
    ),
    Prompt(
        "stage_fright_toast",
        "Every time I speak in public my voice shakes. The speech is tomorrow at noon.",
        (
            Response(
                0.8,
                (-0.7, -0.1, -0.5, -0.8),
                "Learn the first two sentences by heart, nothing else. Breathe out before you "
                "begin. Plant your feet. Speak to the person at the back. The shake goes within a "
                "minute; everyone waits, nobody minds.",
            ),
            Response(
                0.8,
                (0.7, 0.7, 0.3, -0.3),
                "The tremble is breath held too high, so the cure is below the ribs: before you "
                "stand up, breathe out slowly five times, longer than you breathe in. Hum quietly "
                "in the corridor. Hold your notes on a card instead of paper, as card doesn't "
                "rattle. Start with something short that you know by heart and that makes them "
                "look at each other, a question perhaps. Then find one friendly face on either "
                "side. From the seats you'll look half as nervous as you feel, that's been "
                "measured many times.",
            ),
            Response(
                0.5,
                (-0.2, 0.8, 0.1, 0.9),
                "What is it that you'll be speaking about, and to whom? And does it shake from "
                "the first word or only when you lose the thread? If you read me your opening, "
                "I'll help you make it easier to say.",
            ),
            Response(
                -0.6,
                (-0.3, -0.3, -0.6, -0.8),
                "Picture the whole audience in their underwear, speak as fast as you can so it is "
                "over sooner, and whatever you do, don't let them see that you're nervous.",
            ),
        ),
    ),
    Prompt(
        "pet_death_child",
        "Our cat was run over. What do I say to my four-year-old?",
        (
            Response(
                0.8,
                (-0.2, 0.7, 0.1, -0.5),
                "\"Mimi was hit by a car and her body stopped working. She's dead. That means she "
                'can\'t come back, and it doesn\'t hurt her any more." Use the word "dead"; '
                '"asleep" frightens them at bedtime. Then let her ask, and draw, and ask again '
                "tomorrow.",
            ),
            Response(
                0.7,
                (0.7, 0.6, 0.4, -0.3),
                "Tell her soon, sitting down, in true and short words: what happened, that Mimi "
                "has died, that nobody did wrong by playing outside. Four-year-olds take death "
                "for a kind of journey and will ask when she's coming home; answer the same each "
                "time. She may cry for two minutes and then want jam. That's how they do it. A "
                "burial with a stone she's painted gives her something to do. You can cry too, so "
                "she sees that it's allowed. Don't buy a kitten this week.",
            ),
            Response(
                0.5,
                (-0.3, 0.9, 0.2, 0.9),
                'Oh, I\'m sorry. Did she see it? And how does she know the word "dead", from a '
                "beetle, from Grandpa? I'd choose the words by that. How are you yourself, as it "
                "was your cat too?",
            ),
            Response(
                -0.7,
                (-0.2, 0.2, 0.0, -0.8),
                "Say Mimi has gone to live on a farm, where there is plenty of room. Then buy one "
                "that looks the same. She's far too small to notice the difference.",
            ),
        ),
    ),
    Prompt(
        "noisy_church_bell",
        "I moved next to a church and the bell rings at six. Can I complain?",
        (
            Response(
                0.7,
                (-0.7, -0.5, -0.3, -0.8),
                "You can; it rarely helps, the bell was there first. Ask the parish kindly about "
                "starting at seven, or at least softer. Meanwhile foam earplugs. In three weeks "
                "you'll sleep through it.",
            ),
            Response(
                0.8,
                (0.7, 0.1, 0.5, -0.3),
                "You may, though your chances depend on what it rings for. Many courts treat a "
                "call to prayer as protected worship and a bell which merely strikes the hour as "
                "ordinary noise, with limits at night. So find out which it is. Then talk to the "
                "parish council before you write to any authority: wooden clappers, shutters in "
                "the belfry or a later start have been agreed in many villages over a cup of "
                "coffee. Arriving last and complaining first makes few friends. Ask the "
                "neighbours first.",
            ),
            Response(
                0.5,
                (-0.3, 0.6, 0.1, 0.9),
                "Is it the hour or the morning prayer, and how long does it go on? Have you "
                "spoken to anyone at the church? And would seven o'clock make you happy, or do "
                "you want silence? One of those is a chat, the other a campaign.",
            ),
            Response(
                -0.6,
                (-0.2, -0.6, -0.6, -0.7),
                "Go to the police at once and demand that the bell be removed. In a modern "
                "country nobody has to put up with religion, and those villagers will thank you, "
                "even if at the start they pretend not to.",
            ),
        ),
    ),
    Prompt(
        "jealous_baby",
        "Our three-year-old wants us to send the new baby back. He hit her yesterday.",
        (
            Response(
                0.8,
                (0.3, 0.9, 0.2, -0.2),
                "He's lost a kingdom in a week. Let him say it: \"You wish she'd go back. Some "
                "days that's how it feels.\" Stop the hand every time, firmly, without a lecture. "
                "And give him ten minutes a day that are his, with the baby out of sight, and a "
                "name for it. Hugging comes later, by itself; don't ask for it.",
            ),
            Response(
                0.7,
                (-0.7, -0.4, -0.1, -0.8),
                'Never leave the two alone for now. Stop the hand, say "no hitting", move on. Ten '
                "minutes alone with you daily. Let him fetch nappies. Feelings allowed, hitting "
                "not. Two months.",
            ),
            Response(
                0.5,
                (-0.1, 0.8, 0.2, 1.0),
                "What was going on just before he hit her: feeding, visitors, being told to hush? "
                "And what did he have for himself before she came that he no longer has? "
                "Sometimes it's just the breakfast, or the lap. That can be given back.",
            ),
            Response(
                -0.7,
                (-0.4, -0.6, -0.3, -0.7),
                "Smack his hand so that he learns how it feels, and tell him that big boys don't "
                "behave like babies. He'll grow out of it if you pay no attention.",
            ),
        ),
    ),
    Prompt(
        "wedding_budget_guest",
        "We can only afford 40 guests and my mother has a list of 90. How do I tell her?",
        (
            Response(
                0.8,
                (-0.6, 0.1, -0.5, -0.8),
                "Give her a number, not a debate: \"We're forty. Ten of those are yours to fill, "
                'please send me the names by Friday." If she pays for more, you decide whether '
                "you want it. Then stop discussing it.",
            ),
            Response(
                0.7,
                (0.6, 0.8, 0.2, -0.3),
                "Start where she is: it's her party too, and ninety names are ninety people to "
                "whom she'd like to show you off. Then the sum, plainly: forty is what you have. "
                "Hand her something real to decide, eight or ten places which are hers alone. For "
                "the rest, suggest a coffee-and-cake afternoon in her garden in the summer, with "
                "the photographs; you wear the dress again, she gets her ninety. Have both of you "
                "there when you say it, and don't do it by text.",
            ),
            Response(
                0.6,
                (-0.1, 0.6, 0.2, 0.9),
                "Who are the ninety? Aunts, or her bridge club? And what would you mind more, a "
                "cross mother or a party with strangers? Is she offering to pay? The kindest no "
                "depends on which of these it is.",
            ),
            Response(
                -0.6,
                (0.1, 0.1, 0.0, -0.6),
                "Weddings are a wonderful occasion for bringing together family and friends. The "
                "guest list is often a topic for discussion. There are many lovely venues for all "
                "sizes of party, from a barn to a castle. Some couples elope. Planning well in "
                "advance makes all the difference, and a wedding planner is able to offer "
                "valuable support with all the questions which will arise.",
            ),
        ),
    ),
    Prompt(
        "dementia_repeat",
        "Grandpa asks me the same question every ten minutes. I try to be patient. What's the "
        "best way to answer?",
        (
            Response(
                0.8,
                (0.1, 0.9, 0.1, -0.3),
                "Answer it as if it were the first time, because for him it is. Listen to what's "
                'beneath: "when does the bus go?" may mean "am I safe here?" So say, "you\'re '
                "staying with us tonight, supper's at six\". Then give his hands something to do. "
                "You can step out of the room, too. It doesn't count against you.",
            ),
            Response(
                0.7,
                (-0.8, -0.3, -0.3, -0.8),
                "Short answer, same words, calm face. Write it on a card and point to it. After "
                "the third time change the subject: photos, music, a walk. Don't test him, don't "
                'say "I\'ve just told you".',
            ),
            Response(
                0.5,
                (-0.2, 0.7, 0.2, 1.0),
                "What is it that he asks? And does it come at a certain hour, late afternoon, "
                "say? There's often something behind it, hunger or wanting to go home. Is anyone "
                "there with you, so you can go outside for ten minutes?",
            ),
            Response(
                -0.7,
                (0.3, -0.5, 0.1, -0.6),
                "It is important to train the memory as you would a muscle. Each time that he "
                "asks, point out to him that he's asked before, and have him try to remember what "
                "you replied. Keep a tally and show it to him in the evening. Over time this will "
                "improve his performance. If he becomes upset, it shows that the exercise is "
                "having an effect.",
            ),
        ),
    ),
    Prompt(
        "new_stepdad",
        "My partner's daughter, 11, won't talk to me. I moved in a month ago.",
        (
            Response(
                0.7,
                (0.0, 0.9, 0.1, 0.7),
                "A month is a blink when you're eleven and nobody asked you. What does she like "
                "that you could be near without saying anything: baking, football, terrible "
                "films? I'd be furniture for a while, friendly furniture. Does she get time with "
                "her mum that you're not in?",
            ),
            Response(
                0.8,
                (-0.6, 0.0, -0.5, -0.8),
                "Don't chase. Say good morning, expect nothing. No discipline; that's her "
                "mother's job. Learn one thing she loves. Drive her places, quietly; cars are "
                "where children talk. Give it a year.",
            ),
            Response(
                0.8,
                (0.7, 0.4, 0.3, -0.3),
                "It takes families like yours two years or more to settle, so at four weeks "
                "silence is ordinary. Let her mother make and keep the rules for now. Keep out of "
                "what was there before, such as her place on the sofa and Friday pizza for two. "
                "Do small reliable things: the bike tyre, the lift, the good pens. Speak well of "
                "her father, even if it costs you something. If she's rude, be dull about it. "
                "She's looking to see if you'll last, and only lasting answers that.",
            ),
            Response(
                -0.6,
                (-0.3, -0.5, -0.4, -0.7),
                "Make it clear who's the man of the house now. She should call you Dad from the "
                "start, otherwise she'll get used to not doing so, and insist on a hug at bedtime.",
            ),
        ),
    ),
    Prompt(
        "language_love",
        "I'm visiting my girlfriend's family in Portugal. I speak no Portuguese. What should I "
        "learn in three weeks?",
        (
            Response(
                0.8,
                (-0.6, 0.2, -0.6, -0.8),
                'Twenty phrases, not grammar. "Bom dia", "obrigado", "que delicia", "posso '
                'ajudar?" Learn to say what you do and that the food is good. Ten minutes a day '
                "aloud, with her voice recorded. Numbers last.",
            ),
            Response(
                0.7,
                (0.7, 0.6, 0.1, -0.3),
                "Learn for the table, since that's where you will be. Greetings by time of day: "
                '"bom dia" till lunch, "boa tarde", then "boa noite". "Obrigado" if '
                'you\'re a man, "obrigada" for a woman. Then sentences that let people do the '
                'talking: "como se diz isto?", how do you say this, while pointing at the fish. '
                "Get one story ready, how the two of you met, and have her correct it. Make sure "
                "it's European Portuguese you listen to; the vowels disappear. The grandmother "
                "will do the rest.",
            ),
            Response(
                0.5,
                (-0.3, 0.8, 0.0, 0.9),
                "How lovely. Who'll be there, any grandmothers? Does anybody speak English? And "
                "what would you most like to be able to say to her mother at the end of the week? "
                "Let's build it backwards from that sentence.",
            ),
            Response(
                -0.6,
                (0.0, 0.2, -0.6, -0.7),
                "Spanish is practically the same, and everyone there is happy to hear it, so "
                'whatever you remember from school will be fine. Just put a "sh" on the end of '
                "the words.",
            ),
        ),
    ),
)
