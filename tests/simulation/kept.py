"""Every seed that ever found something, with what it found. A seed means what it meant only as long as nothing else draws from its dice;
so what each of these found also has a test of its own where it was mended.
"""

KEPT: dict[int, str] = {
    2: "a store that is away was reported a second time by a future nobody asked, because `Store.release` listened to one of two answers",
}
