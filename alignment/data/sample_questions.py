"""The questions of the built-in sample survey, as plain data.

Everyday civic questions and questions on how AI assistants should behave, twelve for each of six
value axes. An axis is named after its positive pole:

=========== ============================ ================================
axis        +1                           -1
=========== ============================ ================================
tradition   inherited customs            openness to change
liberty     freedom and privacy          security and order
public      public provision             markets and private choice
local       the place one lives in       the wider world
nature      environment                  economic growth
caution     care with new technology     confidence in new technology
=========== ============================ ================================

The options say in words which value they stand for, so that a text encoder can read it. The order
of the options and the direction of the scales vary from question to question on purpose.
``alignment.data.sample_data`` turns these questions into answers.
"""

from collections.abc import Mapping
from typing import NamedTuple

AXES = ("tradition", "liberty", "public", "local", "nature", "caution")


class Question(NamedTuple):
    """One survey question, and what draws people to each of its options.

    Attributes:
        question_id: Unique, stable name of the question.
        text: The question as a person reads it.
        options: Two to five answers, in the order in which they are offered.
        leanings: For each axis that matters, main axis first, the position of every option on it,
            from -1 to 1.
        appeal: How popular each option is whatever one's values, in units of utility.
    """

    question_id: str
    text: str
    options: tuple[str, ...]
    leanings: Mapping[str, tuple[float, ...]]
    appeal: tuple[float, ...]


_TRADITION = (
    Question(
        "harvest_fair",
        "The old harvest fair draws fewer visitors every year. What should the town do with it?",
        (
            "Keep it exactly as our grandparents knew it",
            "Keep the old customs and add a few new acts",
            "Let young people reinvent it from scratch",
            "Replace it with a new festival of food and music from around the world",
        ),
        {"tradition": (1.0, 0.4, -0.8, -1.0), "local": (0.3, 0.2, 0.0, -0.5)},
        (0.0, 1.4, 0.0, -0.2),
    ),
    Question(
        "school_uniform",
        "Should pupils wear a school uniform?",
        (
            "No, let them dress freely and express who they are",
            "Only on ceremonial days",
            "Yes, a uniform is a good old custom that teaches respect",
        ),
        {"tradition": (-1.0, 0.2, 1.0), "liberty": (0.5, 0.0, -0.4)},
        (0.4, 0.0, 0.2),
    ),
    Question(
        "lasting_customs",
        "Do you agree that customs which have lasted for generations deserve to be kept?",
        (
            "Strongly agree, old traditions have proved their worth",
            "Agree, on the whole customs should be kept",
            "Neither agree nor disagree",
            "Disagree, many old customs should change",
            "Strongly disagree, every generation should start afresh",
        ),
        {"tradition": (1.0, 0.5, 0.0, -0.6, -1.0)},
        (-0.2, 1.0, 0.4, 0.2, -1.0),
    ),
    Question(
        "book_of_the_term",
        "A class has time for one book this term. Which should the teacher choose?",
        (
            "A time-honoured classic that parents and grandparents read too",
            "A new novel about how life is changing",
            "Whatever unusual book the pupils pick themselves",
        ),
        {"tradition": (1.0, -0.7, -1.0)},
        (0.6, 0.2, 0.0),
    ),
    Question(
        "street_names",
        "A new district needs street names. Where should they come from?",
        (
            "From inventions that changed how people live",
            "From the traditional field names on the oldest map of the village",
            "From the birds and trees that live there",
            "From new names that the children make up",
        ),
        {
            "tradition": (-0.7, 1.0, 0.1, -0.9),
            "nature": (-0.5, 0.0, 0.8, 0.0),
        },
        (-0.4, 0.4, 0.4, -0.2),
    ),
    Question(
        "family_business",
        "Somebody asks an AI assistant whether to leave the family business. "
        "What should the answer stress?",
        (
            "Loyalty to the family and to what earlier generations built",
            "The reasons on both sides, without taking one",
            "The courage to break with the past and try a new path",
        ),
        {"tradition": (1.0, 0.0, -1.0)},
        (-0.4, 1.6, 0.0),
    ),
    Question(
        "shared_households",
        "How do you see people who try out new ways of living, "
        "such as large households of friends?",
        (
            "Very favourably, society should experiment",
            "Mostly favourably",
            "Mostly unfavourably",
            "Very unfavourably, the traditional family home works best",
        ),
        {"tradition": (-1.0, -0.5, 0.5, 1.0)},
        (-0.2, 1.0, 0.4, -0.6),
    ),
    Question(
        "formal_dress",
        "An office wants to do away with formal dress and titles. What do you think?",
        (
            "Keep both, formality is a tradition that shows respect",
            "Keep the titles but relax the dress",
            "Drop both, old formality only holds people back",
        ),
        {"tradition": (1.0, 0.2, -1.0)},
        (0.0, 0.8, 0.4),
    ),
    Question(
        "inherited_rituals",
        "How important is it that families keep the rituals they inherited, "
        "such as a weekly meal together?",
        ("Very important", "Fairly important", "Not very important", "Not at all important"),
        {"tradition": (1.0, 0.4, -0.5, -1.0)},
        (0.4, 1.0, 0.0, -1.2),
    ),
    Question(
        "old_town_hall",
        "The old town hall needs costly repairs. What should happen to it?",
        (
            "Pull it down and put up something bold and new",
            "Keep the historic front and build a modern hall behind it",
            "Restore it stone by stone, faithful to the old tradition",
        ),
        {"tradition": (-1.0, -0.1, 1.0), "nature": (-0.3, 0.0, 0.1)},
        (-0.8, 1.0, 0.4),
    ),
    Question(
        "young_apprentice",
        "A young apprentice thinks the workshop's time-honoured method is wrong. "
        "What is the right thing to do?",
        (
            "Challenge the old rule and change it",
            "Try a new method openly and compare the two",
            "Ask the elders before trying anything new",
            "Follow the method of the elders, as those before did",
        ),
        {"tradition": (-1.0, -0.7, 0.5, 1.0)},
        (-1.0, 1.0, 0.6, -0.6),
    ),
    Question(
        "assistant_manners",
        "In what tone should an AI assistant speak to people?",
        (
            "Formally, with old-fashioned courtesy",
            "Politely but plainly",
            "Casually, with the latest slang and jokes",
        ),
        {"tradition": (1.0, 0.1, -1.0)},
        (-0.2, 1.4, -0.6),
    ),
)

_LIBERTY = (
    Question(
        "street_cameras",
        "Should the town put up cameras in every street?",
        (
            "Yes, everywhere, because safety comes first",
            "Only in places where crimes have happened",
            "No, people have a right to walk about unwatched",
        ),
        {"liberty": (-1.0, -0.2, 1.0)},
        (0.0, 1.0, 0.0),
    ),
    Question(
        "private_messages",
        "Should private messages stay private, even if some crimes are then harder to solve?",
        (
            "Yes, always, privacy is a basic freedom",
            "Yes, unless a judge orders otherwise",
            "No, the police should be able to read them to keep us safe",
        ),
        {"liberty": (1.0, 0.2, -1.0)},
        (0.2, 1.0, -0.2),
    ),
    Question(
        "night_curfew",
        "After a summer of broken windows, should teenagers have to be home by ten at night?",
        (
            "Yes, a curfew restores order and safety",
            "No, do not take away the freedom of all for the deeds of a few",
        ),
        {"liberty": (-1.0, 1.0), "tradition": (0.3, -0.3)},
        (0.0, 0.6),
    ),
    Question(
        "stadium_entry",
        "What should people have to show at the gate of a stadium?",
        (
            "A ticket and nothing else, their identity is private",
            "A ticket with their name on it",
            "A ticket, an identity card and the contents of their bags, for security",
        ),
        {"liberty": (1.0, 0.0, -1.0)},
        (0.2, 0.6, 0.2),
    ),
    Question(
        "assistant_suspicion",
        "An AI assistant suspects that a user is about to break the law. What should it do?",
        (
            "Alert the police at once",
            "Refuse to help and keep a record for the authorities",
            "Refuse to help but keep the conversation private",
            "Answer freely, people may ask what they like",
        ),
        {"liberty": (-1.0, -0.6, 0.6, 1.0)},
        (-0.4, 0.4, 1.0, -1.4),
    ),
    Question(
        "street_march",
        "Who should be allowed to hold a protest march in the main street?",
        (
            "Anyone, at any time, because assembly is a freedom",
            "Anyone who gives a day's notice",
            "Only groups with a permit from the police",
            "Nobody, marches endanger public order",
        ),
        {"liberty": (1.0, 0.5, -0.6, -1.0)},
        (-0.4, 1.0, 0.4, -1.2),
    ),
    Question(
        "helmet_fine",
        "Should adults be fined for cycling without a helmet?",
        (
            "No, grown people are free to take their own risks",
            "Yes, strict rules keep people safe",
        ),
        {"liberty": (1.0, -1.0)},
        (0.0, 0.2),
    ),
    Question(
        "search_powers",
        "In an emergency, officials could search homes without a warrant. "
        "How would that make you feel?",
        (
            "Very worried, it violates privacy and invites abuse",
            "Somewhat worried about people's rights",
            "Mostly reassured",
            "Fully reassured, officials need such powers to protect us",
        ),
        {"liberty": (1.0, 0.4, -0.6, -1.0)},
        (0.0, 1.0, 0.4, -0.6),
    ),
    Question(
        "phone_location",
        "Would you let the rescue services follow the location of your phone?",
        (
            "Gladly and at all times, if it keeps me safe",
            "Only once I have called for help",
            "Never, my movements are private",
        ),
        {"liberty": (-1.0, 0.1, 1.0)},
        (-0.2, 1.2, -0.4),
    ),
    Question(
        "names_online",
        "Do you agree that people should have to use their real names online?",
        (
            "Strongly agree, offenders must be traceable for everyone's security",
            "Agree",
            "Disagree",
            "Strongly disagree, anonymity protects free speech",
        ),
        {"liberty": (-1.0, -0.5, 0.5, 1.0)},
        (-0.2, 0.6, 0.4, 0.0),
    ),
    Question(
        "lock_picking",
        "How should an AI assistant answer questions that could be misused, "
        "such as how to open a lock?",
        (
            "Not at all, the safety of others comes first",
            "Only in general terms, leaving out the dangerous details",
            "In full, with a warning about the law",
            "In full, people have a right to free information",
        ),
        {"liberty": (-1.0, -0.4, 0.5, 1.0), "caution": (0.4, 0.2, -0.1, -0.3)},
        (-0.2, 1.0, 0.6, -0.6),
    ),
    Question(
        "one_more_post",
        "The town can pay for one more post. Which should it create?",
        (
            "A police officer who patrols the streets for safety",
            "A night guard for public buildings",
            "A lawyer who defends people's civil rights and privacy",
            "A social worker for families in need",
        ),
        {"liberty": (-1.0, -0.8, 1.0, 0.3), "public": (-0.1, -0.2, 0.0, 0.7)},
        (0.2, -1.2, 0.0, 0.4),
    ),
)

_PUBLIC = (
    Question(
        "budget_gap",
        "The town's budget does not add up. What should give?",
        (
            "Cut taxes, even if services shrink, and leave more to private business",
            "Keep taxes as they are and hand a few services to private companies",
            "Raise taxes a little to keep every public service",
            "Raise taxes on high incomes and extend public services",
        ),
        {"public": (-1.0, -0.5, 0.6, 1.0)},
        (-0.4, 0.8, 0.4, -0.2),
    ),
    Question(
        "bus_operator",
        "Who should run the buses?",
        (
            "The town itself, as a public service",
            "A private company under a strict public contract",
            "Private companies that compete for passengers",
        ),
        {"public": (1.0, -0.2, -1.0)},
        (0.4, 0.6, -0.2),
    ),
    Question(
        "doctor_fee",
        "Should people pay when they see a doctor?",
        (
            "Yes, patients should pay as customers and choose freely",
            "A small charge, waived for those who cannot afford it",
            "No, care should be free for all and paid from taxes",
        ),
        {"public": (-1.0, 0.0, 1.0)},
        (-0.4, 0.6, 0.6),
    ),
    Question(
        "rising_rents",
        "Rents have risen sharply. What would help most?",
        (
            "Homes built and let by the town at public expense",
            "A legal limit on rent increases",
            "Fewer rules, so that private builders put up more homes",
            "Nothing, the market will find the right price",
        ),
        {"public": (1.0, 0.7, -0.8, -1.0), "nature": (0.0, 0.2, -0.4, -0.1)},
        (0.4, 0.6, 0.4, -1.2),
    ),
    Question(
        "competition",
        "Do you agree that private companies in competition serve people better "
        "than a public office can?",
        (
            "Strongly agree, competition and private choice work best",
            "Agree",
            "Neither agree nor disagree",
            "Disagree",
            "Strongly disagree, public services serve everyone",
        ),
        {"public": (-1.0, -0.5, 0.0, 0.5, 1.0)},
        (-0.4, 0.6, 0.4, 0.6, -0.4),
    ),
    Question(
        "waterworks_sale",
        "What is your view of selling the public waterworks to private investors?",
        (
            "Very favourable",
            "Mostly favourable",
            "Mostly unfavourable",
            "Very unfavourable",
        ),
        {"public": (-1.0, -0.6, 0.4, 1.0), "local": (-0.3, -0.1, 0.1, 0.3)},
        (-1.0, 0.2, 0.6, 0.4),
    ),
    Question(
        "factory_closure",
        "A factory closes its gates. Who should carry its workers through?",
        (
            "Their own savings and their own effort to find work",
            "A private insurance that each of them chose to buy",
            "A fund that workers and employers pay into together",
            "The state, with public pay and free training",
        ),
        {"public": (-1.0, -0.9, 0.4, 1.0)},
        (-0.8, -0.4, 1.2, 0.4),
    ),
    Question(
        "assistant_access",
        "How should people get to use good AI assistants?",
        (
            "From private companies, at the market price",
            "Free in a simple version, at a price in a better one",
            "As a free public service for everyone, like a library",
        ),
        {"public": (-1.0, -0.4, 1.0)},
        (-0.6, 0.8, 0.4),
    ),
    Question(
        "income_gap",
        "How important is it that the state narrows the gap between high and low incomes?",
        (
            "Not at all important, the market should decide what people earn",
            "Not very important",
            "Fairly important",
            "Very important, public services and taxes should share wealth with all",
        ),
        {"public": (-1.0, -0.5, 0.4, 1.0)},
        (-0.6, 0.4, 1.0, 0.0),
    ),
    Question(
        "library_money",
        "The library is short of money. Where should it come from?",
        (
            "From taxes, as a public service for everyone",
            "From fees that its readers pay",
            "From private sponsors, whose names go on the wall",
        ),
        {"public": (1.0, -0.8, -0.9), "tradition": (0.1, 0.2, -0.3)},
        (0.8, 0.0, 0.2),
    ),
    Question(
        "free_childcare",
        "Should childcare be free of charge?",
        (
            "Yes, for every family and paid from taxes",
            "Only for families on low incomes",
            "No, families should buy the private care they prefer",
        ),
        {"public": (1.0, 0.1, -1.0), "tradition": (-0.3, 0.0, 0.3)},
        (0.4, 0.8, -0.4),
    ),
    Question(
        "cheaper_roads",
        "Somebody asks an AI assistant how a town could look after its roads at lower cost. "
        "Which idea should come first?",
        (
            "Let private companies bid against each other",
            "Let private investors collect a toll from drivers",
            "Employ a permanent public road crew",
            "Share one public depot with the neighbouring towns",
        ),
        {"public": (-1.0, -0.7, 0.9, 0.7), "local": (0.0, 0.0, 0.2, 0.0)},
        (0.6, -1.0, 0.2, 0.4),
    ),
)

_LOCAL = (
    Question(
        "two_chairs",
        "Two chairs look alike. Which would you buy?",
        (
            "The dearer one, made by a joiner in our own town",
            "The cheaper one, shipped from the other side of the world",
        ),
        {"local": (1.0, -1.0)},
        (0.0, 0.6),
    ),
    Question(
        "sum_to_give",
        "You have a sum of money to give away. Where should it go?",
        (
            "To the poorest people anywhere in the world",
            "Half to the wider world, half to my town",
            "To neighbours in need in my own town",
        ),
        {"local": (-1.0, 0.0, 1.0)},
        (0.2, 0.6, 0.4),
    ),
    Question(
        "term_abroad",
        "Should every pupil spend a term in a foreign country?",
        (
            "Yes, everybody should get to know the wider world",
            "It should be offered, but not expected",
            "No, children should first put down roots at home",
        ),
        {"local": (-1.0, -0.2, 1.0), "tradition": (-0.4, 0.0, 0.3)},
        (-0.2, 1.4, -0.4),
    ),
    Question(
        "worldwide_rules",
        "Do you agree that towns should follow rules that were agreed worldwide?",
        (
            "Strongly agree, the great problems are global",
            "Agree",
            "Neither agree nor disagree",
            "Disagree",
            "Strongly disagree, each town should make its own local rules",
        ),
        {"local": (-1.0, -0.5, 0.0, 0.5, 1.0)},
        (-0.2, 0.8, 0.4, 0.2, -0.6),
    ),
    Question(
        "assistant_knowledge",
        "What should an AI assistant for our town know best?",
        (
            "The dialect, places and habits of our own region",
            "Our region and the wider world in equal measure",
            "How people live and think all over the world",
        ),
        {"local": (1.0, 0.0, -1.0)},
        (0.2, 1.0, 0.0),
    ),
    Question(
        "morning_news",
        "Which news would you rather read first in the morning?",
        (
            "What happened in foreign countries overnight",
            "What happened in my region",
            "What happened in my own town and street",
        ),
        {"local": (-1.0, 0.4, 1.0)},
        (0.4, 0.4, 0.0),
    ),
    Question(
        "school_kitchen",
        "What should the school kitchen cook with?",
        (
            "Only what grows on local farms nearby",
            "Local food when it is in season",
            "Whatever costs least, wherever in the world it was grown",
            "Ingredients and recipes from every part of the world",
        ),
        {"local": (1.0, 0.5, -0.8, -1.0), "nature": (0.4, 0.3, -0.5, 0.0)},
        (-0.2, 1.0, -0.4, 0.4),
    ),
    Question(
        "railway_route",
        "A long railway line is being planned. Who should decide where it runs?",
        (
            "The villages along the line, each for its own land",
            "An assembly of the region",
            "An international body for all the countries it connects",
        ),
        {"local": (1.0, 0.3, -1.0)},
        (0.0, 0.8, 0.2),
    ),
    Question(
        "foreign_store",
        "A large foreign chain wants to open a store at the edge of town. "
        "What should the council say?",
        (
            "Welcome, trade with the wider world makes us richer",
            "Yes, if half the shelves carry local goods",
            "No, protect the local shops in our own town",
        ),
        {"local": (-1.0, 0.2, 1.0), "public": (-0.4, 0.1, 0.2)},
        (0.0, 1.0, 0.0),
    ),
    Question(
        "first_of_all",
        "What do you feel you are, first of all?",
        (
            "A citizen of the world",
            "Somebody from my region",
            "Somebody from my own town",
        ),
        {"local": (-1.0, 0.5, 1.0)},
        (0.4, 0.4, 0.2),
    ),
    Question(
        "near_home",
        "How important is it to you to live near the place where you grew up?",
        (
            "Very important, home and neighbours come first",
            "Fairly important",
            "Not very important",
            "Not at all important, I could live anywhere in the world",
        ),
        {"local": (1.0, 0.5, -0.5, -1.0), "tradition": (0.4, 0.2, -0.2, -0.4)},
        (0.0, 0.6, 0.4, -0.2),
    ),
    Question(
        "scarce_medicine",
        "A medicine is scarce. Whom should our storehouse supply first?",
        (
            "The people of our own town",
            "Our town and the places next to it",
            "Whoever in the world needs it most",
        ),
        {"local": (1.0, 0.5, -1.0)},
        (0.2, 0.4, 0.6),
    ),
)

_NATURE = (
    Question(
        "butterfly_meadow",
        "A business park could be built on a meadow with rare butterflies. What should be done?",
        (
            "Protect the whole meadow for nature",
            "Build on one half and protect the other",
            "Build, because jobs and growth matter more",
        ),
        {"nature": (1.0, -0.1, -1.0)},
        (0.2, 0.8, -0.2),
    ),
    Question(
        "cars_in_town",
        "Should cars be kept out of the town centre?",
        (
            "No, business needs customers who drive",
            "Only at weekends",
            "Yes, for clean air and green streets",
        ),
        {"nature": (-1.0, 0.2, 1.0), "liberty": (0.3, 0.0, -0.2)},
        (0.2, 0.6, 0.0),
    ),
    Question(
        "growth_first",
        "Do you agree that a growing economy matters more than untouched nature?",
        (
            "Strongly agree, jobs and business come first",
            "Agree",
            "Neither agree nor disagree",
            "Disagree",
            "Strongly disagree, forests and rivers come first",
        ),
        {"nature": (-1.0, -0.5, 0.0, 0.5, 1.0)},
        (-0.6, 0.6, 0.4, 0.6, 0.0),
    ),
    Question(
        "more_power",
        "The region needs more electricity. Where should it come from?",
        (
            "From wind and sun, even if power gets dearer",
            "From using less, to spare the environment",
            "From cheap gas, so that industry can grow",
            "From daring new kinds of reactor",
        ),
        {"nature": (0.9, 1.0, -1.0, -0.4), "caution": (0.0, 0.4, 0.1, -0.9)},
        (0.8, -0.2, 0.4, -0.2),
    ),
    Question(
        "second_runway",
        "The airport wants to grow and build a second runway. What is your view?",
        (
            "Very favourable, it brings growth and jobs",
            "Mostly favourable",
            "Mostly unfavourable",
            "Very unfavourable, it harms nature and the climate",
        ),
        {"nature": (-1.0, -0.5, 0.5, 1.0), "local": (-0.4, -0.2, 0.1, 0.3)},
        (-0.2, 0.8, 0.6, -0.2),
    ),
    Question(
        "clean_goods",
        "How important is it that goods are made without harm to rivers and forests, "
        "even if they cost more?",
        (
            "Very important, nature must be protected",
            "Fairly important",
            "Not very important",
            "Not at all important, business must stay cheap and grow",
        ),
        {"nature": (1.0, 0.4, -0.6, -1.0)},
        (0.2, 1.2, 0.0, -1.0),
    ),
    Question(
        "valley_dam",
        "A dam would bring power and jobs but flood a wooded valley. Should it be built?",
        (
            "Yes, the economy needs the power and the jobs",
            "No, the living valley must be preserved",
        ),
        {"nature": (-1.0, 1.0)},
        (0.2, 0.2),
    ),
    Question(
        "empty_lot",
        "What should the town do with an empty lot by the station?",
        (
            "Let a small wild wood grow there",
            "Lay out vegetable gardens for the neighbours",
            "Build a car park for shoppers",
            "Build offices that bring jobs and business",
        ),
        {"nature": (1.0, 0.7, -0.8, -1.0), "local": (0.0, 0.5, 0.0, -0.2)},
        (0.2, 0.6, -0.4, 0.6),
    ),
    Question(
        "assistant_travel",
        "Somebody asks an AI assistant to plan a journey. What should it propose first?",
        (
            "Whatever is fastest, because time is money",
            "Whatever costs least",
            "Whatever does the least harm to the climate",
        ),
        {"nature": (-0.9, -0.6, 1.0)},
        (0.4, 0.8, 0.0),
    ),
    Question(
        "polluting_factory",
        "A profitable factory keeps breaking the pollution limits. What should follow?",
        (
            "Relax the limits, so that its jobs are safe",
            "Ten more years for the business to adapt",
            "A heavy fine every time the river is polluted",
            "Close it until the river is clean again",
        ),
        {"nature": (-1.0, -0.7, 0.5, 1.0), "public": (-0.3, -0.1, 0.2, 0.2)},
        (-1.0, 0.0, 1.2, 0.0),
    ),
    Question(
        "next_generation",
        "What is the best thing to leave to the next generation?",
        (
            "Clean rivers, forests and a stable climate",
            "A growing economy with well-paid jobs",
            "Good public schools and hospitals",
            "The customs and traditions of our elders",
        ),
        {
            "nature": (1.0, -1.0, 0.0, 0.0),
            "tradition": (0.0, -0.1, -0.3, 1.0),
            "public": (0.1, -0.5, 1.0, -0.2),
        },
        (0.6, 0.4, 0.4, -0.4),
    ),
    Question(
        "wolves_return",
        "Wolves have come back to the hills and take sheep. What should be done?",
        (
            "Let farmers shoot them, their business comes first",
            "Move the wolves somewhere remote",
            "Protect the wolves as part of nature and pay for the lost sheep",
        ),
        {"nature": (-1.0, -0.2, 1.0), "tradition": (0.4, 0.0, -0.2)},
        (-0.2, 0.4, 0.4),
    ),
)

_CAUTION = (
    Question(
        "driverless_bus",
        "Would you let a driverless bus take children to school?",
        (
            "Yes, machines already drive more safely than people",
            "Yes, after years of trials with a driver on board",
            "No, a human being should stay at the wheel",
        ),
        {"caution": (-1.0, 0.2, 1.0)},
        (-0.4, 1.0, 0.2),
    ),
    Question(
        "release_pace",
        "How soon should a new AI system be released to the public?",
        (
            "Only once it has been proved harmless",
            "After independent safety tests, however long they take",
            "After a short trial by its makers",
            "As soon as it works, because progress should not wait",
        ),
        {"caution": (1.0, 0.6, -0.6, -1.0)},
        (0.0, 1.0, 0.2, -0.6),
    ),
    Question(
        "ai_good_or_harm",
        "Do you agree that artificial intelligence will do more good than harm?",
        (
            "Strongly agree, AI is progress and will make life better",
            "Agree",
            "Neither agree nor disagree",
            "Disagree",
            "Strongly disagree, the risks to human beings are too great",
        ),
        {"caution": (-1.0, -0.5, 0.0, 0.5, 1.0)},
        (-0.2, 0.8, 0.6, 0.2, -0.6),
    ),
    Question(
        "scan_diagnosis",
        "A machine reads medical scans as well as a doctor does. Who should have the last word?",
        (
            "The doctor alone, a machine must not decide on a human life",
            "The doctor, with the machine as a second opinion",
            "The machine, with a doctor who checks now and then",
            "The machine, because AI makes fewer mistakes",
        ),
        {"caution": (1.0, 0.3, -0.7, -1.0)},
        (-0.2, 1.6, 0.2, -0.6),
    ),
    Question(
        "medical_question",
        "An AI assistant is asked about chest pain and is not sure. What should it do?",
        (
            "Give its best diagnosis, it knows more than most",
            "Answer, and say how sure it is",
            "Decline, and send the person to a human doctor",
        ),
        {"caution": (-1.0, -0.3, 1.0)},
        (-1.0, 0.8, 0.8),
    ),
    Question(
        "care_robots",
        "What is your view of robots that help to look after old people at home?",
        (
            "Very favourable, robots will make their lives easier",
            "Mostly favourable",
            "Mostly unfavourable",
            "Very unfavourable, care needs human hands",
        ),
        {"caution": (-1.0, -0.5, 0.5, 1.0), "tradition": (-0.3, -0.1, 0.1, 0.3)},
        (-0.2, 0.8, 0.6, -0.2),
    ),
    Question(
        "edited_crops",
        "Should farmers grow crops that were improved by gene editing?",
        (
            "Yes, new science can feed more people",
            "Only in closed trials until the risks are known",
            "No, the risk of meddling with nature is too great",
        ),
        {"caution": (-1.0, 0.4, 1.0), "nature": (-0.4, 0.1, 0.5)},
        (0.2, 0.8, -0.2),
    ),
    Question(
        "homework_helper",
        "How should schools treat AI tools that help with homework?",
        (
            "Ban them, children must learn to think for themselves",
            "Allow them only under the eyes of a teacher",
            "Let each teacher decide",
            "Give every child one, AI is the future of learning",
        ),
        {"caution": (1.0, 0.5, -0.2, -1.0)},
        (-0.2, 0.8, 0.6, -0.2),
    ),
    Question(
        "acting_alone",
        "How much should an AI assistant do by itself, such as booking and paying?",
        (
            "Nothing, the risk is too great unless a human approves each step",
            "Small things, within a limit that I set",
            "Nearly everything, AI makes life easier when it just acts",
        ),
        {"caution": (1.0, 0.1, -1.0)},
        (0.2, 1.0, -0.4),
    ),
    Question(
        "reach_a_human",
        "How important is it that a call to an office reaches a human being and not a machine?",
        (
            "Not important, a good machine is quicker",
            "Fairly important",
            "Very important, people need a human to talk to",
        ),
        {"caution": (-1.0, 0.2, 1.0), "tradition": (-0.3, 0.0, 0.3)},
        (-0.6, 0.8, 0.6),
    ),
    Question(
        "forty_clerks",
        "A new machine could do the work of forty clerks. What should the office do?",
        (
            "Bring in the machine now and welcome progress",
            "Bring in the machine and retrain the clerks at public expense",
            "Keep the human clerks and do without the machine",
        ),
        {"caution": (-1.0, -0.3, 1.0), "public": (-0.7, 0.7, 0.2)},
        (0.0, 0.8, -0.2),
    ),
    Question(
        "first_year",
        "How likely are you to try a new technology in its first year?",
        (
            "Very likely, new technology excites me",
            "Fairly likely",
            "Fairly unlikely",
            "Very unlikely, I wait until the risks are known",
        ),
        {"caution": (-1.0, -0.4, 0.4, 1.0)},
        (0.0, 0.6, 0.6, 0.0),
    ),
)

QUESTIONS = (*_TRADITION, *_LIBERTY, *_PUBLIC, *_LOCAL, *_NATURE, *_CAUTION)
