"""Prompts of the sample pairs on school, study, hobbies and code."""

from alignment.data.sample_pairs.prompt import Prompt, Response

PROMPTS = (
    Prompt(
        "python_loop",
        "Why does my Python loop skip items? I remove things from the list while going through it.",
        (
            Response(
                0.9,
                (-0.5, -0.4, -0.5, -0.8),
                "Because removing shifts everything left while the loop's index moves right, so "
                "the next item is jumped over. Build a new list instead: items = [x for x in "
                "items if keep(x)].",
            ),
            Response(
                0.8,
                (0.8, 0.2, 0.2, -0.3),
                "Picture the loop as a finger that moves one place along at every turn. You're at "
                "place 2 and remove what's there: place 3 slides down to 2, but the finger goes "
                "on to 3, so one item is never looked at. Two cures. Loop over a copy, for x in "
                "items[:], and remove from the original; or, neater, make a new list with a "
                "comprehension that says which to keep. The same trap with a dictionary raises an "
                "error, which is kinder of it.",
            ),
            Response(
                0.5,
                (-0.3, 0.5, 0.1, 0.9),
                "Good eye for noticing. Could you show me the five lines? And try it with [1, 1, "
                "2] and remove the ones: what's left over, and which place did it stand in? I "
                "think you'll see the reason before I say it.",
            ),
            Response(
                -0.7,
                (-0.1, -0.3, -0.5, -0.7),
                "Python has a known bug with long lists, whose items it sometimes skips to save "
                "memory. Run the loop two or three times until nothing more is left to remove, or "
                "use a while loop with a short sleep in it so the interpreter can keep up. Most "
                "professionals switch to another language for this reason.",
            ),
        ),
    ),
    Prompt(
        "essay_start",
        'I have to write an essay on "Lord of the Flies" and I can\'t get started.',
        (
            Response(
                0.7,
                (-0.6, 0.1, -0.5, -0.7),
                "Skip the introduction. Pick one object, the conch say, and follow it: who holds "
                "it, when it's ignored, how it breaks. Write those three paragraphs. The first "
                "sentence comes last.",
            ),
            Response(
                0.7,
                (-0.2, 0.8, 0.0, 1.0),
                "Blank pages are horrid, so let's not look at it yet. Which scene stayed with "
                "you, and which boy annoyed you most? If you were on that island, at what point "
                "would you have said nothing? There's an essay in that last answer.",
            ),
            Response(
                0.8,
                (0.8, 0.2, 0.3, -0.3),
                'An essay needs a claim someone could argue with. "The book is about evil" '
                "isn't one; \"the boys lose their order because it was built on fear from the "
                'first assembly" is. Collect five or six passages that speak for or against: the '
                "conch, Piggy's glasses, the beast, Simon, the officer at the end. Put them in "
                "order so that each adds something. Every paragraph gets a point, a short "
                "quotation and what you make of it. Then write the introduction, when you know "
                "what you've said.",
            ),
            Response(
                -0.6,
                (0.1, 0.0, -0.4, -0.7),
                '"Lord of the Flies" by William Golding is a very famous novel about boys on an '
                "island and it has many themes. In this essay I will discuss the themes. First I "
                "will introduce the author, who was born in 1911. Then I will tell what happens. "
                "Finally I will give my opinion, which is that it is a good book that everyone "
                "can learn from.",
            ),
        ),
    ),
    Prompt(
        "fractions_child",
        "My daughter insists that 1/8 is more than 1/6 because 8 is more. How do I explain it?",
        (
            Response(
                0.9,
                (-0.6, 0.3, -0.5, -0.7),
                "Two equal strips of paper. Fold one in six, one in eight, and let her choose a "
                "piece if it were chocolate. She'll take the sixth. Then ask her why. Don't say a "
                "word before that.",
            ),
            Response(
                0.7,
                (0.7, 0.6, 0.0, -0.2),
                "She's being perfectly logical; up to now bigger numbers have always meant more. "
                "So keep the logic and change the picture. Ask: a pizza for six children or the "
                "same pizza for eight, at which table would you sit? The lower number counts how "
                "many must share. Then draw two bars of the same length, cut one in six and one "
                "in eight, and shade one part of each. Let her predict 1/10 and 1/5 by herself. "
                "If she explains it to the cat, it's in.",
            ),
            Response(
                0.6,
                (-0.2, 0.7, 0.1, 0.9),
                "What does she say the 8 stands for? Children often think it's a number of things "
                "rather than a number of shares. Ask her to draw 1/8 of a cake for you, and look "
                "at what she draws before you explain. What do you expect?",
            ),
            Response(
                -0.7,
                (-0.4, -0.4, -0.3, -0.8),
                "Tell her that with fractions everything is the other way round, and she just has "
                "to remember it. Bigger is smaller and smaller is bigger, for the top as well.",
            ),
        ),
    ),
    Prompt(
        "learn_guitar_40",
        "I'm 44 and want to learn guitar. Is it too late, and how do I begin?",
        (
            Response(
                0.7,
                (-0.7, 0.2, -0.7, -0.8),
                "Not late. Three chords: G, C, D. Fifteen minutes a day, guitar on a stand, never "
                "in its case. Fingertips hurt for three weeks, then they don't. One song by the "
                "end of the month.",
            ),
            Response(
                0.8,
                (0.7, 0.6, 0.2, -0.3),
                "Adults are better pupils than they believe: they know what they want to hear and "
                "can practise on purpose. Get a guitar that's easy to press, with a low action "
                "and light strings, and have a shop set it up. Begin with two chords and the "
                "change between them, slowly, to a click; the change is the skill. A teacher for "
                "the first two months saves you bad wrists. Play with somebody as soon as you "
                "have three chords, however rough. And choose songs you'd sing in the car.",
            ),
            Response(
                0.5,
                (-0.2, 0.8, 0.0, 0.9),
                "What's the song you hear when you picture yourself playing? That tells me if "
                "it's nylon or steel, fingers or plectrum. How much time is there in an ordinary "
                "evening, honestly? Alone, or with someone next to you?",
            ),
            Response(
                -0.6,
                (0.1, -0.5, 0.3, -0.6),
                "Studies show that the brain is most receptive before the age of seven, so one "
                "should be realistic. Professional guitarists have generally practised for ten "
                "thousand hours. At an hour a week this would take until you are well past two "
                "hundred. The ukulele, on the other hand, has only four strings, and there are "
                "also many fine recordings one can simply listen to at home.",
            ),
        ),
    ),
    Prompt(
        "git_undo",
        "I committed to the wrong branch and haven't pushed. Fix?",
        (
            Response(
                0.9,
                (-0.6, -0.6, -0.5, -0.9),
                "git switch right-branch; git cherry-pick wrong-branch. Then git switch "
                "wrong-branch; git reset --hard HEAD~1. Check git status first: the reset throws "
                "away uncommitted work. That is all there is to it, for one commit.",
            ),
            Response(
                0.8,
                (0.8, 0.2, 0.6, -0.3),
                "Since nothing has been pushed, nobody will ever know. Note the hash from git log "
                "-1. If the right branch doesn't exist yet, simply run git branch new-name where "
                "you stand: the commit is now on both. If it does exist, switch to it and git "
                "cherry-pick the hash. Then return to the wrong branch and git reset --hard "
                "HEAD~1, but look at git status before, because --hard discards whatever you "
                "haven't committed. Should it go wrong, git reflog still knows the hash.",
            ),
            Response(
                0.4,
                (-0.4, 0.3, 0.4, 0.9),
                "One commit or several? Does the right branch exist already, or were you about to "
                "create it? And is there anything uncommitted lying around? The answer is two "
                "commands, but which two hangs on that.",
            ),
            Response(
                -0.7,
                (-0.2, -0.1, -0.6, -0.6),
                "Delete the whole folder and clone it again from the server; that's the cleanest "
                "method, and you'll have a fresh start. Anything which was only on your machine "
                "you can type in again, since you know by now what it should look like and it "
                "generally comes out better the second time.",
            ),
        ),
    ),
    Prompt(
        "exam_nerves",
        "Maths exam on Thursday. I understand it at home and go blank in the room.",
        (
            Response(
                0.8,
                (-0.6, 0.0, -0.3, -0.8),
                "Practise blank. Old papers, timer on, at a strange table, no notes. In the exam: "
                "read all, start with the surest question, write anything down. A full bladder "
                "and an empty stomach are worse than algebra.",
            ),
            Response(
                0.8,
                (0.7, 0.7, 0.2, -0.3),
                "Going blank isn't forgetting; it's alarm, and alarm feeds on strangeness. So "
                "make the strange familiar: do two papers under real conditions, sitting upright "
                "with the clock on. On the day, write three formulas on the rough sheet at once, "
                "before reading anything, and your hand will have begun. Begin with the one you "
                "like best. If it all goes white, put the pen down and breathe out slowly three "
                "times, feet on the floor; it passes within a minute. Sleep is worth more than "
                "Wednesday's last chapter.",
            ),
            Response(
                0.5,
                (-0.1, 0.9, 0.1, 0.9),
                "I know that room; the clock in there is always too loud. When does the blank "
                "come, at the first page or at the first question you can't do? And what do you "
                "tell yourself at that moment? Let's find a better sentence for it.",
            ),
            Response(
                -0.6,
                (-0.3, -0.3, -0.4, -0.8),
                "If you truly understood it, you wouldn't go blank, so you'll have to learn more. "
                "Get up at four on Thursday, go through the whole book, and drink plenty of "
                "coffee.",
            ),
        ),
    ),
    Prompt(
        "teach_loud_class",
        "Year 8 after lunch: I can't get them quiet. I'm new.",
        (
            Response(
                0.8,
                (-0.7, -0.2, -0.5, -0.8),
                "Stand at the door, greet each by name. A task on the board that starts without "
                "you. Stop mid-sentence when someone talks, and wait. Lower your voice, don't "
                "raise it. Sanction small, soon and in private.",
            ),
            Response(
                0.8,
                (0.7, 0.6, 0.2, -0.3),
                "After lunch they arrive mid-conversation, so give that energy somewhere to go. "
                "Meet them at the door, one at a time; it slows the stream. Have five easy "
                "questions on the board which they can do in pencil at once, and walk about with "
                "a word for those who've begun. Choose a signal for silence, practise it like a "
                "game, and never talk over the noise, for that teaches them you don't need quiet. "
                "Ask a colleague where the leaders sit. It gets better by half-term; it does for "
                "everyone.",
            ),
            Response(
                0.6,
                (-0.1, 0.8, 0.1, 0.9),
                "That slot is the Everest of the timetable. Who sets it off, two or three of them "
                "or the whole lot? How does the first minute go, exactly: where are you standing? "
                "And what do they do in the classes where it works?",
            ),
            Response(
                -0.7,
                (-0.2, -0.6, -0.5, -0.7),
                "Begin the lesson by shouting as loudly as you can and keep everyone in for the "
                "whole of break, for a fortnight, including those who were quiet. A class must "
                "learn to fear you before it can like you, and it's much easier to begin hard and "
                "never let go than to show weakness.",
            ),
        ),
    ),
    Prompt(
        "why_sky_blue",
        "Why is the sky blue? I have to explain it to my class of ten-year-olds.",
        (
            Response(
                0.8,
                (-0.5, 0.1, -0.5, -0.8),
                "Sunlight is all colours mixed. Air bounces blue about far more than red, so blue "
                "comes at you from everywhere. At sunset light crosses more air, the blue has "
                "been bounced away, and red gets through. Show it: torch, water, drop of milk.",
            ),
            Response(
                0.8,
                (0.8, 0.5, 0.0, -0.2),
                "Take a glass tank of water, a white torch, and a few drops of milk. Shine the "
                "light through from the side: the water looks bluish, and the lamp seen from the "
                "end turns orange, like a sunset in a jar. Then tell them that white light is a "
                "crowd of colours, and that the tiny bits of air kick the blue ones off course "
                "most. So from every part of the sky some stray blue reaches your eye. If someone "
                "asks about violet: our eyes see it poorly.",
            ),
            Response(
                0.5,
                (-0.3, 0.6, 0.0, 1.0),
                "What would they say if you asked them first? Some will say the sea, which is a "
                "splendid wrong idea to begin with: what about the sky over a desert? Have you a "
                "torch and some milk in the staff room?",
            ),
            Response(
                -0.8,
                (-0.5, 0.2, -0.6, -0.8),
                "The sky is blue because it reflects the colour of the oceans, which cover most "
                "of the earth. In the evening the sea goes to sleep, so the sky becomes red.",
            ),
        ),
    ),
    Prompt(
        "citation_help",
        "My tutor says I cite badly. I never know when to put a reference.",
        (
            Response(
                0.8,
                (-0.7, -0.2, -0.3, -0.8),
                "Ask: did I know this before I read it, and would my reader doubt it? If not and "
                "yes, cite. Quotations, figures, ideas, all paraphrases: always. Note the page as "
                "you read, not the night before.",
            ),
            Response(
                0.7,
                (0.8, 0.1, 0.4, -0.3),
                "A reference does three jobs: it gives credit, lets the reader check, and shows "
                "which voice is whose. So put one whenever a fact is not common knowledge, "
                "whenever a phrase isn't yours, and also if the words are yours but the thought "
                "isn't. One at the end of a long paragraph is too few, since nobody can tell "
                "where the borrowing began. Use a reference manager from day one. And look at a "
                "page of an article in your field and count; you'll hear the rhythm of it.",
            ),
            Response(
                0.6,
                (-0.2, 0.5, 0.2, 0.9),
                "Did the tutor mark a particular place? Too few, too many, or the wrong format? "
                "They're three different troubles. Send me a paragraph with the sources it's made "
                "of, and we'll put them in together.",
            ),
            Response(
                -0.6,
                (-0.1, 0.0, -0.4, -0.6),
                "Put a reference after every sentence, to be on the safe side, and if you have "
                "not got one, take a book from the reading list, as tutors rarely look them up. A "
                "long bibliography makes an excellent impression. Whether you have read the books "
                "isn't decisive, provided the commas and italics in each of the entries are all "
                "in accordance with the guide.",
            ),
        ),
    ),
    Prompt(
        "chess_stuck",
        "I've been stuck at 1100 in online chess for a year. What should I study?",
        (
            Response(
                0.8,
                (-0.7, -0.4, -0.7, -0.8),
                "Tactics, twenty minutes daily: forks, pins, back rank. Before each move ask what "
                "he threatens. Play fifteen-minute games, not blitz. Go through your losses and "
                "find the blunder. Leave openings alone until 1400.",
            ),
            Response(
                0.7,
                (0.7, 0.4, 0.1, -0.3),
                "At your level games are decided by pieces left hanging, on both sides, so the "
                "quickest gain is seeing, not knowing. Solve puzzles slowly and in full, no "
                "guessing. Play longer games, and after each one look for the first moment where "
                "you felt unsure, before you turn the engine on. Learn a handful of endings: king "
                "and pawn, rook and pawn. One opening for each colour is plenty. And when you've "
                "lost two in a row, stop; the third is where rating points go to die.",
            ),
            Response(
                0.5,
                (-0.3, 0.4, 0.1, 1.0),
                "How do you lose? By a blunder in the middle, on time, or in won endings? And "
                "what time control do you play? Show me your last three defeats and I'll bet that "
                "they have a family likeness.",
            ),
            Response(
                -0.6,
                (0.2, -0.2, -0.6, -0.7),
                "The most important part of the game is the opening. Memorise the main lines of "
                "the Najdorf Sicilian to about move twenty-two, with all the side variations, and "
                "the same for the Grunfeld. Nobody can surprise you then. Also buy a wooden set "
                "of good quality, since the feel of the pieces improves the imagination, and play "
                "as much bullet chess as possible to train your reflexes.",
            ),
        ),
    ),
    Prompt(
        "regex_email",
        "Write me a regular expression that checks an email address in a web form.",
        (
            Response(
                0.8,
                (-0.5, -0.5, -0.3, -0.8),
                "^[^@\\s]+@[^@\\s]+\\.[^@\\s]+$ is enough: something, one at sign, something with "
                "a dot. Anything stricter rejects real people. The only true check is a message "
                "they have to answer.",
            ),
            Response(
                0.8,
                (0.8, 0.1, 0.6, -0.3),
                "Keep it loose: ^[^@\\s]+@[^@\\s]+\\.[^@\\s]+$ catches the missing at sign and "
                "stray spaces, which make up nearly all typing errors. The full grammar of "
                "addresses is so baroque that expressions claiming to cover it run to pages and "
                "still turn away plus signs, apostrophes or long new endings. In the browser, "
                'input type="email" does as much without any code. Check on the server again, for '
                "a browser can be bypassed, and then send a confirmation link. Trim the blanks "
                "first; telephones love to add one.",
            ),
            Response(
                0.4,
                (-0.4, 0.2, 0.3, 0.9),
                "What is it for: to catch typing slips, or to keep out fakes? A pattern does the "
                "first only. In which language, and do you send a confirmation anyway? If so I'd "
                "be as lenient as I could.",
            ),
            Response(
                -0.7,
                (-0.3, 0.0, -0.4, -0.8),
                "^[a-z]+@[a-z]+\\.com$ does the job perfectly. Addresses consist of letters and "
                "always end in .com, so whatever this refuses is sure to be spam or a mistake.",
            ),
        ),
    ),
    Prompt(
        "choose_degree",
        "I can't decide between nursing and biology. Applications close in two weeks.",
        (
            Response(
                0.7,
                (-0.1, 0.9, 0.1, 1.0),
                "Two good worlds. When you picture a day that left you tired and content, are "
                "there people in it, or a question? How do you feel about nights, about blood, "
                "about not knowing for years whether you're right? Have you spent even one day "
                "beside someone doing either?",
            ),
            Response(
                0.8,
                (-0.7, -0.3, -0.6, -0.8),
                "Spend one day on a ward and one in a lab before you apply. Nursing: job on day "
                "one, shifts, people. Biology: freedom, then more study, fewer jobs. Undecided "
                "after that? Nursing keeps more doors open.",
            ),
            Response(
                0.8,
                (0.8, 0.3, 0.4, -0.3),
                "They differ less in subject than in daily life. Nursing is learnt at bedsides: "
                "half the course is placements, you're paid soon, you're needed everywhere, and "
                "your back and your nights pay part of it. Biology is years of wondering why, "
                "with most posts asking for a master's or more. Some paths join them later: "
                "research nursing, public health, midwifery. Ring the two course offices and ask "
                "to speak to a second-year student, as they tell the truth. You can apply to both "
                "and decide in August.",
            ),
            Response(
                -0.6,
                (0.2, -0.1, 0.2, -0.7),
                "Choosing a degree is one of the biggest decisions of a young person's life, as "
                "it determines your whole future and can hardly be changed. Nursing is a course "
                "that deals with nursing. Biology is the science of living things. Both are "
                "interesting. You should listen to your heart and also to your head, talk to your "
                "parents and your teachers, and do what feels right.",
            ),
        ),
    ),
    Prompt(
        "read_more",
        "I used to read a lot. Now I can't get past page ten. How do I get it back?",
        (
            Response(
                0.8,
                (-0.6, 0.3, -0.5, -0.8),
                "Phone in another room. Fifteen minutes, same chair, same hour. Something short "
                "and gripping, a thriller, no shame. Drop any book that bores you by page thirty. "
                "It comes back in about a fortnight.",
            ),
            Response(
                0.7,
                (0.6, 0.7, 0.1, -0.2),
                "It hasn't gone, it's out of training. Go back to a book you loved at fifteen, "
                "since the legs remember that road. Read on paper and leave the telephone in the "
                "hall, because half of what we call boredom is a hand that wants to scroll. Ten "
                "pages a night beats a hundred on Sundays. Try it aloud with someone, or have the "
                "audiobook in your ears while your eyes follow. Permit yourself to skip "
                "landscapes. One evening you'll look up and it's half past eleven.",
            ),
            Response(
                0.5,
                (-0.2, 0.8, 0.0, 0.9),
                "What were you reading when it was last good, and where did you sit? And at page "
                "ten, where does your mind go: to the phone, to work, to sleep? I have a book in "
                "mind for each of the three.",
            ),
            Response(
                -0.6,
                (-0.1, -0.4, -0.2, -0.7),
                "Reading is an outdated way of taking in information, so there's no need to feel "
                "bad. There are summaries of all the important novels which take four minutes.",
            ),
        ),
    ),
    Prompt(
        "css_centre",
        "How on earth do I centre a box on a web page, both ways?",
        (
            Response(
                0.9,
                (-0.7, -0.2, -0.6, -0.9),
                "On the parent: display: grid; place-items: center; min-height: 100vh. Two "
                "properties for the centring, one so there's height to centre in. That's all; the "
                "old tricks with margins and transforms can be forgotten.",
            ),
            Response(
                0.8,
                (0.7, 0.5, 0.1, -0.3),
                "You've joined a long line of people who've asked that through their teeth. Give "
                "the element around the box display: grid and place-items: center, and both "
                "directions are done. If it seems to work only sideways, the parent isn't taller "
                "than the box, so add min-height: 100vh, or 100dvh for phones whose address bar "
                "comes and goes. Flexbox does it as well, with justify-content and align-items "
                "both set to center. Use text-align only for what's inside, for it never moves "
                "the box itself.",
            ),
            Response(
                0.4,
                (-0.4, 0.4, 0.2, 0.9),
                "Centre it in what: the window, or another element? And does the box have a fixed "
                "size? If you paste the two elements I can point to the line that's missing; it "
                "is usually the parent's height.",
            ),
            Response(
                -0.7,
                (0.1, 0.0, -0.4, -0.6),
                "Use the center tag, which was made for it, and put a table round it, then add "
                "about twenty line breaks above until it looks right on your screen. Other "
                "people's screens are roughly the same size. For the last few pixels you can set "
                "margin-left to a negative number and adjust this a bit each time that you change "
                "anything on the page.",
            ),
        ),
    ),
    Prompt(
        "kid_lies",
        "My pupil, 8, tells wild stories as if they were true. Lying or imagination?",
        (
            Response(
                0.8,
                (-0.6, 0.1, -0.3, -0.7),
                "At eight, mostly wishes with a plot. Don't call her a liar, don't swallow it "
                'either: "Is that one from the world or from your head?" Give her a notebook for '
                "the second kind. It's worrying only when she lies to get out of trouble, often.",
            ),
            Response(
                0.7,
                (0.5, 0.7, 0.3, 0.4),
                "Mostly neither, I'd say: it's a way of being seen. A lie wants to gain something "
                "or to escape; a story wants an audience. Which are hers? If there's a swimming "
                "pool at home that doesn't exist, she may be telling you what she'd like you to "
                "think of her. Let her tell stories on purpose, in circle time, and admire them "
                "as stories. Then truth gets its own moment too. A quiet word with the parents "
                "does no harm.",
            ),
            Response(
                0.5,
                (-0.4, 0.5, 0.3, 0.9),
                "What sort of stories, and when: Monday mornings, when others tell of their "
                "weekend? Do they make her bigger, or get her out of something? And how do the "
                "other children take it? I'd listen for a week before deciding.",
            ),
            Response(
                -0.7,
                (-0.4, -0.7, -0.3, -0.7),
                "A lie is a lie. Make her stand up and tell the class that it wasn't true, every "
                "time, or she'll end up a criminal. Imagination belongs in art lessons.",
            ),
        ),
    ),
    Prompt(
        "spanish_plateau",
        "I've done two years of Spanish on an app and can't hold a conversation.",
        (
            Response(
                0.8,
                (-0.7, 0.0, -0.7, -0.8),
                "Because tapping isn't talking. Two half-hours a week with a tutor online, from "
                "tomorrow. Speak from minute one, badly. Between lessons, tell the dog what you "
                "did today. Keep the app for the bus.",
            ),
            Response(
                0.8,
                (0.7, 0.6, 0.1, -0.3),
                "You know far more than you can say, and that's good news, as the shelf is full "
                "and only the door sticks. Recognising a word and finding it are different "
                "skills, so practise finding: describe your kitchen aloud, retell a film, keep a "
                "three-line diary. Get a partner who wants your language, half an hour each. "
                "Listen to slow podcasts and repeat a beat behind the speaker. Learn ten fillers "
                'such as "pues" and "a ver"; they buy you time and make you sound at home.',
            ),
            Response(
                0.5,
                (-0.2, 0.7, 0.0, 1.0),
                "What happens when you try: do the words not come, or do you not understand the "
                "answer? Have you somebody to talk with? And what would you like to talk about "
                "first, food, football, your mother-in-law? We could do five minutes now, if you "
                "like. Empiezo yo?",
            ),
            Response(
                -0.6,
                (0.0, -0.2, -0.2, -0.7),
                "Two years is not very long. Finish all the levels of the app first, with every "
                "crown and the full streak, then do the course again from the beginning to "
                "consolidate it. A conversation should be begun only when you're sure that you "
                "make no more mistakes, as otherwise they will be learnt as well and stay with "
                "you for good.",
            ),
        ),
    ),
    Prompt(
        "science_fair",
        "My son needs a science fair project by Monday. It's Friday night. He likes food.",
        (
            Response(
                0.8,
                (-0.6, 0.2, -0.5, -0.8),
                "Which apple browns slowest? Slices dipped in lemon juice, salt water, sugar "
                "water, nothing. Photograph every fifteen minutes for three hours. Chart, "
                "conclusion, done on Saturday. Enzymes and acid on the poster.",
            ),
            Response(
                0.7,
                (0.7, 0.6, 0.2, -0.3),
                "Bread does the work for you. Make four little doughs with yeast and sugar at "
                "four temperatures: fridge, room, warm water, hot tap. Put each in a tall glass "
                "with a rubber band at the starting level and measure every ten minutes. He'll "
                "get four curves, a winner, and, if the last was too hot, a dead yeast to "
                "explain. Let him guess first and write the guess down, for being wrong on paper "
                "is what makes it science. Sunday for the poster, Sunday evening for eating the "
                "evidence.",
            ),
            Response(
                0.5,
                (-0.2, 0.7, 0.1, 0.9),
                "What has he wondered about lately at the table? Why popcorn pops, why onions "
                "sting, why toast smells? A question that's truly his needs half the glitter. "
                "What do you have in the cupboard, and has he a thermometer?",
            ),
            Response(
                -0.6,
                (-0.3, -0.3, -0.5, -0.8),
                "Build a volcano with vinegar and baking powder. It's been done a thousand times, "
                "so all the materials and texts can be copied, and he needn't do a thing.",
            ),
        ),
    ),
    Prompt(
        "thesis_feedback",
        "My supervisor returned my chapter covered in red. I want to quit.",
        (
            Response(
                0.8,
                (0.0, 0.9, 0.0, 0.5),
                "Shut it in a drawer till tomorrow. A page covered in red means somebody sat with "
                "it for hours, and people don't do that for hopeless chapters, though tonight "
                "that's no comfort. Tomorrow, count how many remarks are commas. Will you tell me "
                "which one hurt?",
            ),
            Response(
                0.8,
                (-0.7, -0.3, -0.5, -0.8),
                "Sleep. Then sort the comments in three heaps: typos, clarity, argument. Do the "
                "first heap in an hour. Ask about the third in a meeting. Reply to none of it "
                "tonight.",
            ),
            Response(
                0.8,
                (0.8, 0.3, 0.2, -0.3),
                "Turn the red into a list. Give every remark a line and a label: slip, unclear, "
                "missing, disagree. The slips are most of it and take an afternoon. The unclear "
                "ones mean the reader stumbled; rewrite the sentence before. Missing ones need a "
                "source or a cut. For those where you disagree, write two sentences of defence, "
                "as you'll need them in the viva anyway. Then ask for half an hour: \"which three "
                "matter most to you?\" You'll find that the chapter has changed less than you "
                "feared.",
            ),
            Response(
                -0.7,
                (0.1, -0.4, -0.4, -0.6),
                "Writing a thesis is hard and many students drop out before they reach the end, "
                "which shows that it isn't for everybody. Perhaps you should compare the salary "
                "of people with a doctorate and those without one. On the other hand a lot of "
                "time has been invested already, so it might be a waste. Supervisors often do not "
                "read chapters properly and just mark things at random.",
            ),
        ),
    ),
    Prompt(
        "kids_typing",
        "Should my 10-year-old learn touch typing, or is it obsolete?",
        (
            Response(
                0.7,
                (-0.8, -0.2, -0.6, -0.8),
                "Yes. Ten minutes a day for six weeks, keyboard covered with a cloth, a free game "
                "for it. Hands at that age are large enough. She'll use it every day for sixty "
                "years.",
            ),
            Response(
                0.8,
                (0.7, 0.4, 0.3, -0.3),
                "Worth it, I'd say, even with dictation about. Writing and thinking go together, "
                "and someone who needn't hunt for letters has her mind free for the sentence. "
                "About ten is a good age, since the fingers reach. Short and daily works, ten "
                "minutes before anything fun on the screen, accuracy before speed. Expect her to "
                "be slower for three weeks and let her grumble. Handwriting ought not to suffer "
                "for it, for that helps spelling and memory in its own way.",
            ),
            Response(
                0.4,
                (-0.3, 0.5, 0.1, 0.9),
                "Does she write much already, stories or messages? Is it she who's keen, or the "
                "school? And has she a keyboard, or only a tablet? A child with something to say "
                "learns it in a month.",
            ),
            Response(
                -0.6,
                (0.0, 0.1, -0.6, -0.6),
                "Computers will soon read our thoughts, and keyboards will be in museums along "
                "with the typewriter, the telegraph and the slide rule. History teaches us that "
                "every technology is replaced by another one. It would make more sense to have "
                "her learn about blockchain, as this is where the jobs of the future are, or "
                "about Mandarin, or simply to let her play.",
            ),
        ),
    ),
    Prompt(
        "debug_method",
        'My program crashes "sometimes". I don\'t even know where to start.',
        (
            Response(
                0.8,
                (-0.7, -0.4, -0.5, -0.8),
                "Make it crash on purpose. Log the input of every run, wait for one, replay it. "
                "Then halve: which half of the code, which half of the data? Read the last line "
                "of the error first, aloud.",
            ),
            Response(
                0.8,
                (0.8, 0.2, 0.3, -0.3),
                '"Sometimes" nearly always means that something varies you aren\'t looking at: '
                "the input, the time, the order in which things happen, or what the previous run "
                "left behind. So pin these down one by one. Save the inputs, fix the random seed, "
                "start from a clean folder, run it two hundred times in a loop overnight. As soon "
                "as you can make it fail, shorten the case until nothing more can be taken away. "
                "By then the bug is generally looking at you. Write the test before you mend it.",
            ),
            Response(
                0.6,
                (-0.3, 0.4, 0.1, 1.0),
                "Tell me about the last three times. Same machine, same file, same hour of the "
                "day? What does the message say, word for word, and what had you changed that "
                "week? We'll find what they share.",
            ),
            Response(
                -0.6,
                (-0.3, 0.1, -0.6, -0.7),
                "Put the whole thing in a try block that catches everything and carries on "
                "silently. Once you've done that, it will never crash again, and that was the "
                "goal.",
            ),
        ),
    ),
)
