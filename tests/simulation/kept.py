"""Every seed that ever found something, with what it found. A seed means what it meant only as long as nothing else draws from its dice;
so what each of these found also has a test of its own where it was mended.
"""

KEPT: dict[int, str] = {
    2: "a store that is away was reported a second time by a future nobody asked, because `Store.release` listened to one of two answers",
    594: "a pruning that was overtaken by one with a later cut moved the beginnings of the chains back, and the audit saw rows missing",
}
