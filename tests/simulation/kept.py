"""Every seed that ever found something, with what it found. A seed means what it meant only as long as nothing else draws from its dice;
so what each of these found also has a test of its own where it was mended.
"""

KEPT: dict[int, str] = {
    2: "a store that is away was reported a second time by a future nobody asked, because `Store.release` listened to one of two answers",
    594: "a pruning that was overtaken by one with a later cut moved the beginnings of the chains back, and the audit saw rows missing",
    948: "two prunings at once, and a clock that stepped back between their last words: the audit took the older one for the last",
    992: "a mailbox's end was reckoned while the clock was behind, between two looks of the clock that judges it: it expired early",
    2938: "a zombie that thawed while it started was taken for its node (the simulation's own mistake)",
    3577: "a process that had been frozen took up an old generation last (the simulation's own mistake)",
    4116: "a zombie that buried a delivery of a pruned message met the foreign key instead of the fence",
    5227: "the same as 4116, by another way",
}
