"""Adjectives of plain English: a table, and the endings that tell the others."""

from __future__ import annotations

from typing import Final

from gems_actors.backends.storyboard.words import word_set

ADJECTIVES: Final = word_set(
    "true false tan ivory "
    "tranquil placid balmy breezy brisk fourth fifth sixth seventh eighth ninth tenth glassy blunt upside-down "
    "afraid ashamed aware fond low high online offline faint brief prominent stainless culinary pleasant persuasive "
    "wobbly sudden steady tangy tart professional illustrative radiant female-led neat-looking small large big tiny "
    "huge giant little tall short long old new young ancient modern happy sad angry cute beautiful quiet busy calm "
    "cozy cosy bright dark light pale soft hard hot cold warm fresh wet dry clean dirty empty full open closed "
    "round square flat thin thick fat slim heavy fast slow shiny dull smooth rough sharp broken creative elegant "
    "rustic futuristic classic traditional colorful colourful vibrant lively peaceful serene sunny rainy snowy "
    "foggy cloudy stormy misty wild domestic lonely lovely sleepy hungry curious friendly majestic magical "
    "mysterious delicious ripe rotten leafy grassy sandy rocky icy frozen burning glowing lit wearable translucent "
    "transparent opaque realistic abstract single double different diverse simple plain rusty dusty matte glossy "
    "deep vast narrow wide steep gentle tender silky velvet leather cotton woolen knitted ceramic porcelain clay "
    "rubber silk golden-brown handsome pretty strange weird funny scary brave tired brown-eyed crowded bustling "
    "towering sleek ornate neat enormous massive gigantic miniature lazy muddy shallow steamy tropical medieval "
    "royal floral digital electric wooden bare barefoot bald bearded blond blonde curly wavy straight tangled spiky "
    "pointed pointy crooked curved bent upright identical similar matching mixed antique vintage retro luxurious "
    "cheap fancy worn weathered old-fashioned handmade homemade grilled fried baked boiled raw cooked sliced juicy "
    "sweet sour spicy creamy crispy crunchy frosty smoky foamy bubbly fiery starry moonlit sunlit snow-covered "
    "moss-covered ivy-covered overgrown abandoned deserted haunted lush green-eyed blue-eyed wrinkled smiling "
    "playful shy proud evil wise strong weak rich poor sick healthy pregnant muscular chubby skinny slender surreal "
    "whimsical dramatic bold subtle exotic robotic mechanical metallic iridescent pastel multicolored multicoloured "
    "rainbow-colored two-story sad-looking left-handed real fake toy-like lifelike life-sized dense sparse distant "
    "nearby lone main central outer inner upper lower first second third last next whole entire same other ruined "
    "sunken hidden secret local public private urban rural industrial natural organic gloomy eerie spooky cheerful "
    "joyful content excited surprised confused worried scared nervous bored elderly teenage adult male female solo "
    "loose tight fluffy-tailed long-haired short-haired red-haired striking intricate detailed delicate fragile "
    "beaded quilted torn unfinished finished perfect favorite favourite famous popular common rare special normal "
    "ethereal melancholic dreamlike childlike blank intense brilliant vivid crisp clear precise concise compact "
    "chic contemporary noticeable legible readable visible descriptive textual informative dynamic cursive "
    "captivating enchanted inspirational sturdy rugged jagged gnarled messy cluttered tidy spacious cramped airy "
    "dim murky hazy gleaming polished luminous lustrous pearlescent fluorescent phosphorescent holographic neon-lit "
    "candlelit backlit well-lit dappled mottled speckled marbled veined scaly hairy feathery woolly shaggy stout "
    "plump lanky petite bulky chunky hefty lightweight oversized undersized outsized colossal immense humongous "
    "mighty grand regal stately noble humble modest quaint adorable lovable cuddly charming alluring gorgeous "
    "stunning breathtaking splendid superb exquisite pristine immaculate spotless filthy grimy dingy shabby scruffy "
    "ragged tattered frayed faded yellowed chipped cracked crumbling derelict dilapidated ramshackle vacant "
    "unoccupied uninhabited isolated secluded solitary lonesome sombre somber bleak grim stark harsh mellow muted "
    "saturated desaturated monochromatic tonal two-tone neutral earthy sandy-coloured warm-toned cool-toned chilly "
    "icy-cold freezing scorching sweltering humid arid damp moist soggy drenched soaked dewy frosted glazed "
    "caramelized toasted roasted smoked steamed poached scrambled pickled peeled unpeeled unwrapped half-eaten "
    "half-empty half-full half-open overripe underripe stale mouldy moldy tasty savory savoury bitter salty sugary "
    "buttery cheesy chocolatey nutty fruity herbal leathery papery rubbery waxy oily greasy slimy sticky slippery "
    "gritty grainy coarse bumpy lumpy uneven slanted tilted sloping diagonal horizontal vertical parallel "
    "perpendicular circular rectangular triangular hexagonal octagonal spherical cylindrical conical cubic "
    "concentric symmetrical asymmetrical geometric stylized stylised cartoonish painterly photographic cinematic "
    "theatrical poetic romantic nostalgic melancholy wistful pensive thoughtful serious solemn stern strict furious "
    "grumpy annoyed frustrated upset tearful sleepy-eyed drowsy weary exhausted energetic cheery jolly merry "
    "gleeful ecstatic thrilled amused delighted pleased satisfied relaxed contented confident fearless courageous "
    "heroic timid bashful anxious watchful attentive focused determined fierce ferocious savage vicious menacing "
    "ominous sinister creepy uncanny otherworldly celestial cosmic lunar solar galactic interstellar underwater "
    "subterranean coastal alpine arctic nordic mediterranean oriental asian african european american british "
    "french german italian spanish japanese chinese korean indian mexican egyptian greek roman russian victorian "
    "edwardian gothic baroque bohemian industrial-style scandinavian prehistoric primitive tribal ancestral "
    "historic historical mythical mythological legendary fabled mystical divine holy sacred angelic demonic hellish "
    "infernal apocalyptic dystopian utopian spectral ghostly ghastly skeletal undead unusual odd peculiar quirky "
    "eccentric bizarre absurd comical hilarious humorous silly goofy clumsy graceful agile nimble swift rapid "
    "speedy elongated stubby squat rotund oblong tapered hollow sheer gauzy lacy frilly ruffled pleated flowing "
    "billowing tailored fitted baggy cropped sleeveless strapless long-sleeved short-sleeved hooded collared tartan "
    "embroidered sequined studded jeweled jewelled gilded gold-plated silver-plated brushed hammered corrugated "
    "perforated braided twisted coiled knotted intertwined entwined interlocking overlapping adjacent opposite "
    "mutual reversible foldable portable wireless cordless ergonomic modular minimalistic high-tech low-tech "
    "state-of-the-art automatic mechanised analog analogue aged ageing aging youthful middle-aged newborn "
    "adolescent juvenile grown-up mature stray feral tame domesticated endangered extinct aquatic terrestrial "
    "nocturnal carnivorous venomous poisonous edible inedible flowering blossoming leafless deciduous potted wilted "
    "withered dried parched verdant grassy-green mossy weedy thorny prickly fragrant aromatic scented delectable "
    "appetizing appealing inviting welcoming intimate festive celebratory ceremonial formal informal casual sporty "
    "athletic toned burly brawny stocky frail feeble disabled blind deaf left-facing right-facing forward-facing "
    "seated curly-haired dark-haired fair-haired brown-haired black-haired blond-haired white-haired gray-haired "
    "grey-haired blue-haired dark-skinned light-skinned tanned freckled rosy pale-skinned barefooted bare-chested "
    "shirtless topless masked veiled armored armoured armed unarmed winged horned tailed three-legged four-legged "
    "one-eyed one-legged two-headed three-headed headless legless multi-colored multi-coloured colourless colorless "
    "bi-colored bicolor tricolor two-toned ombre crescent-shaped heart-shaped star-shaped egg-shaped l-shaped "
    "u-shaped v-shaped dome-shaped cone-shaped artistic decorative ornamental elaborate lavish opulent sumptuous "
    "premium high-end upscale ordinary typical generic unknown anonymous secretive expensive valuable priceless "
    "precious worthless broken-down unbroken intact whole-grain brand-new second-hand tall-backed high-backed "
    "low-backed wide-open wide-brimmed dark-colored light-colored bright-eyed wide-eyed snow-capped snowcapped "
    "snow-dusted tree-lined sun-drenched rain-soaked windswept wind-blown windblown weather-beaten time-worn "
    "puffy wispy frothy gooey chewy crumbly flaky soapy stringy spongy squishy knobbly gnarly velvety satiny powdery "
    "chalky gravelly pebbly stony bushy flowery syrupy milky meaty windy slushy shady shadowy dreary dusky sooty "
    "grubby straggly tatty ratty ruffly floaty slinky saggy stretchy roomy comfy cushy frizzy wiry bouncy springy "
    "floppy droopy wonky rickety creaky squeaky shaky jittery jumpy perky peppy zippy snappy punchy feisty frisky "
    "cheeky sassy moody cranky sulky snooty haughty lofty homely deathly sickly pallid ruddy ashy inky pearly gleamy "
    "glitzy flashy gaudy tacky classy dainty teeny beefy pudgy podgy tubby stumpy gangly spindly scrawny bony brainy "
    "crafty handy nifty thrifty ajar askew akimbo aloft alight aglow afloat ablaze awry agape toothy beady piebald "
    "topmost uppermost outermost innermost leftmost rightmost foremost "
    "sea-green cloudless starless moonless treeless windless"
)
_SUFFIXES: Final = ("ful", "ous", "ish", "less", "esque", "ic", "ive", "al")
_GRADED: Final = word_set("near far farth furth close late early great fine few bett wors")
"""Further words with a comparative and superlative."""
_NOUNS_IN_ER: Final = word_set(
    "stranger cooler cleaner dryer drier sweeter elder lighter slipper freezer opener drawer teenager busker"
)
COMPOUNDING: Final = tuple(
    f"-{word}"
    for word in word_set(
        "covered lined drenched soaked painted lit filled capped topped paneled panelled powered studded encrusted "
        "edged trimmed draped swept kissed dusted dappled stained carved crafted woven knitted sewn stitched baked "
        "roasted grilled smoked bound tipped coated rimmed clad infested haired eyed legged winged footed toothed "
        "necked tailed headed armed handed bottomed wielding breathing"
    )
)
"""Ends of adjectives that are made of a noun and a participle: `snow-covered`."""
_HYPHENATED: Final = (
    *("-like", "-friendly", "-free", "-proof", "-old", "-style", "-made", "-to-life", "-ready", "-rich", "-long"),
    *(
        "-high",
        "-deep",
        "-wide",
        "-based",
        "-themed",
        "-inspired",
        "-colored",
        "-coloured",
        "-toned",
        "-shaped",
        "-sized",
        *COMPOUNDING,
    ),
)
_NOUNS: Final = word_set(
    "radish polish finish parish varnish blemish english rubbish handful armful mouthful spoonful cupful octopus "
    "music fabric mosaic clinic picnic comic plastic attic traffic relic tunic logic critic mechanic panic republic "
    "topic fanatic garlic graphic lunatic mystic skeptic medic paramedic cleric heretic cynic tonic arsenic lyric "
    "metric statistic academic psychic alcoholic hieroglyphic acrylic italic mimic colic cubic archive detective "
    "native executive locomotive adhesive motive relative fugitive captive directive initiative narrative "
    "representative operative explosive additive objective alternative perspective incentive olive beehive endive "
    "collective negative animal crystal metal petal sandal pedal medal mural cereal hospital capital cathedral "
    "festival carnival journal admiral general cardinal terminal canal coral portal signal rival arrival material "
    "memorial pedestal mineral tutorial potential individual criminal musical official denial trial burial recital "
    "ritual proposal rehearsal manual vandal scandal jackal mammal numeral corporal marshal initial funeral "
    "editorial withdrawal survival interval sundial professional tribunal cymbal gimbal aerial marsupial charcoal "
    "sepal goal confessional several alembic extraterrestrial portrayal retrieval appeal infographic betrayal "
    "receive survive thrive arrive reveal traversal pandemic renewal bengal conceal revive derive deceive perceive "
    "forgive corral narwhal intellectual chemical pharmaceutical urinal referral dental arsenal commercial principal"
)
"""Nouns with such an ending."""


def is_adjective(word: str) -> bool:
    """Return whether a word is an adjective by the table or by its ending."""
    if word in ADJECTIVES or word.endswith(_HYPHENATED):
        return True
    if word.endswith("est") and _is_graded(word[:-3]):
        return True
    has_ending = word.endswith(_SUFFIXES) and len(word) > 5 and not word.endswith("fish")
    return has_ending and word not in _NOUNS and word.rpartition("-")[2] not in _NOUNS


def _is_graded(stem: str) -> bool:
    """Return whether `-er` or `-est` after a stem makes a form of an adjective: `tall`, `bigg`, `heavi`, `wid`."""
    doubled = stem[:-1] if stem[-1:] == stem[-2:-1] else stem
    forms = (stem, doubled, f"{stem[:-1]}y", f"{stem}e")
    return len(stem) > 2 and any(form in ADJECTIVES or form in _GRADED for form in forms)


def is_comparative(word: str) -> bool:
    """Return whether a word is the comparative of an adjective, such as `farther`, and no thing, such as `cooler`."""
    return word.endswith("er") and word not in _NOUNS_IN_ER and _is_graded(word[:-2])
