"""The page in a real browser, before a daemon that answers from memory."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from control.server import ControlServer
from tests.control.fake_steering import CHART, EVENT, POSITION, STATUS, TRADE, FakeSteering
from tests.page.browser import PHONE, Window, a_browser

pytestmark = pytest.mark.timeout(300)

VIEWS = ("now", "chart=BTC%2FUSDT%3AUSDT", "trades", "machine")
NAME_OF_WHAT_HAS_FOCUS = """(() => {
  const reached = document.activeElement;
  return reached.id || reached.hash || reached.getAttribute("aria-label") || reached.textContent;
})()"""
HOSTILE = '<img src=x onerror="alert(1)"><script>alert(2)</script>'

MARK = {**POSITION, "position_id": "p1", "price_age_s": 0.2, "state": "open"}
SHORT = {**MARK, "position_id": "p2", "symbol": "ETH/USDT:USDT", "side": "short", "protected": False,
         "exchange_stop_price": None, "unrealised_pnl": "-7.5", "r_multiple": "-0.5"}
TRADES = [
    {**TRADE, "position_id": "p3", "strategy": "trend"},
    {**TRADE, "position_id": "p4", "symbol": "ETH/USDT:USDT", "side": "short", "exit_reason": "stop_loss",
     "realised_pnl": "-12.25", "fee": "1.2", "funding": None, "strategy": '=cmd|"x"'},
]
CANDLES = {
    **CHART, "at": ["2026-01-02T03:04:00.000Z", "2026-01-02T03:05:00.000Z"], "open": [50000, 50200],
    "high": [50300, 50600], "low": [49900, 50100], "close": [50200, 50500], "volume": [1, 2],
    "position": MARK, "price": "50500", "price_age_s": 0.2, "trades": [TRADES[0]],
}
SHOWN_STATUS = {
    **STATUS, "stale_after_s": 2.0, "paused": False, "trades": 2, "drawdown": "0.0125", "realised_pnl": "-7.7",
    "awaiting_funding": 1,
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with a_browser() as running:
        yield running


@pytest.fixture
def steering() -> Iterator[FakeSteering]:
    fake = FakeSteering()
    fake.on.update(
        status=lambda: SHOWN_STATUS, positions=lambda: [MARK, SHORT], trades=lambda *_: TRADES,
        chart=lambda symbol: {**CANDLES, "symbol": symbol},
    )
    yield fake
    fake.released.set()


@pytest.fixture
def server(steering: FakeSteering, tmp_path: Path) -> Iterator[ControlServer]:
    server = ControlServer(steering, data_dir=tmp_path)
    server.start()
    yield server
    steering.released.set()
    server.stop()


@pytest.fixture
def window(browser: Any, server: ControlServer) -> Iterator[Window]:
    """It closes before the server ends, or it would find nobody there."""
    window = Window(browser)
    yield window
    window.close()
    assert not window.faults


def enter(window: Window, server: ControlServer, view: str = "now") -> None:
    """Log in and show a view."""
    assert server.address is not None
    window.page.goto(f"{server.address.url}/#login={server.address.token}")
    window.page.locator("#top").wait_for()
    window.await_text("#headline", "10,012.30")
    go(window, view)


def go(window: Window, view: str) -> None:
    window.page.evaluate("view => { location.hash = view; }", view)
    window.page.locator(f"#view-{view.partition('=')[0]}").wait_for()


def test_a_wrong_token_lets_nobody_in_the_right_one_leaves_no_trace(browser: Any, server: ControlServer) -> None:
    """What logs in is gone from the address at once, and no script can read the cookie."""
    assert server.address is not None
    window = Window(browser)
    page = window.page
    page.goto(f"{server.address.url}/#login=wrong")
    window.await_text("#login-error", "neither the token nor a code")
    assert page.locator("#top").is_hidden()
    page.locator("#token").fill(server.address.token)
    page.keyboard.press("Enter")
    page.locator("#top").wait_for()
    assert page.url == f"{server.address.url}/"
    assert page.evaluate("document.cookie") == ""
    page.reload()
    page.locator("#top").wait_for()                       # the cookie is enough to come back
    page.get_by_role("button", name="Log out").click()
    page.locator("#login").wait_for()
    page.reload()
    page.locator("#login").wait_for()
    window.close()


def test_everything_has_its_place(window: Window, server: ControlServer) -> None:
    """A position's row: prices as exact as its entry's, the stop that rests, profit in quote, % and R."""
    enter(window, server)
    row, naked = (window.text(f"#positions tbody tr:nth-child({number})") for number in (1, 2))
    for wanted in ("long", "50,000.0", "50,500.0", "49,900.0", "✓ 49,750.0", "+5.00", "+1.00 %", "+1.25"):
        assert wanted in row                              # 5 / (50,000 × 0.01) = 1 %
    assert "✗ none" in naked
    assert "−7.50" in naked
    assert "−2.50" in window.text("#headline")            # 5 − 7.50 open
    window.await_text("#events", EVENT["text"])
    assert not [url for url in window.asked if not url.startswith(server.address.url)]  # type: ignore[union-attr]


def test_charts_are_fetched_when_there_is_something_to_draw(window: Window, server: ControlServer) -> None:
    """Candles with entry, stop, the exchange's stop and an exit marked; plotly came only for them."""
    enter(window, server, "trades")
    assert not [url for url in window.asked if "plotly" in url]
    go(window, VIEWS[1])
    window.page.locator("#chart .main-svg .trace.boxes").first.wait_for()
    labels = window.page.locator("#chart .annotation-text").all_text_contents()
    assert labels == ["entry 50,000.0", "stop 49,900.0", "on the exchange 49,750.0"]
    assert window.page.locator("#chart .shapelayer path").count() == 3
    assert window.page.locator("#chart .points path.point").count() == 3     # two entries and an exit


@pytest.mark.parametrize(("typed", "view"), [("chart=%", "chart"), ("toString", "now"), ("nothing=1", "now")])
def test_an_address_that_makes_no_sense_shows_what_there_is(
    window: Window, server: ControlServer, typed: str, view: str
) -> None:
    """Typed by hand, or cut off on its way: not the log-in form, and no empty page."""
    enter(window, server, "trades")
    window.page.goto(f"{server.address.url}/#{typed}")             # type: ignore[union-attr]
    window.page.reload()
    window.page.locator(f"#view-{view}").wait_for()
    assert window.page.locator("#top").is_visible()


def test_the_daemons_text_stays_text(window: Window, server: ControlServer, steering: FakeSteering) -> None:
    """Names and sentences of anybody's making are shown as they are, and do nothing."""
    said = {"symbol": HOSTILE, "reasons": [HOSTILE], "strategy": HOSTILE}
    steering.on.update(
        status=lambda: {**SHOWN_STATUS, "problems": [HOSTILE], "version": HOSTILE, "mode": HOSTILE},
        positions=lambda: [{**MARK, **said, "side": HOSTILE}],
        opportunities=lambda: [{**said, "side": "long", "score": "0.5", "price": "1", "spread": "0.1",
                                "volume_24h": "1"}],
        trades=lambda *_: [{**TRADES[0], **said, "exit_reason": HOSTILE}],
        threads=lambda: {"threads": [{"name": HOSTILE, "state": HOSTILE, "steps": 1, "last_error": HOSTILE}],
                         "locks": [{"name": HOSTILE, "holder": HOSTILE}]},
        blacklist=lambda: {"symbols": [HOSTILE]},
        chart=lambda symbol: {**CANDLES, "symbol": HOSTILE},
    )
    steering.feed = [{**EVENT, "text": HOSTILE, "kind": HOSTILE, "symbol": HOSTILE}]
    enter(window, server)
    window.await_text("#problems", HOSTILE)
    for view in VIEWS:
        go(window, view)
        window.await_text(f"#view-{view.partition('=')[0]}", "<img" if view != VIEWS[1] else "BTC")
    assert window.page.locator("main img, main script, header img").count() == 0
    # The browser itself would refuse: neither markup nor a script of the page's own gets in.
    refused = """() => { try { document.body.innerHTML = '<b>x</b>'; return false; } catch { return true; } }"""
    assert window.page.evaluate(refused)
    window.faults.clear()                                 # which it says on the console


def test_too_old_a_price_is_not_shown(window: Window, server: ControlServer, steering: FakeSteering) -> None:
    """Its age is; what depends on it is a dash, and there is no sum of what is open."""
    steering.on["positions"] = lambda: [{**MARK, "price_age_s": 31.0}, SHORT]
    enter(window, server)
    window.await_text("#positions tbody tr:nth-child(1)", "31 s")
    row = window.text("#positions tbody tr:nth-child(1)")
    assert "50,500" not in row
    assert "+5.00" not in row
    assert "✓ 49,750.0" in row                            # the stop rests whatever the price
    assert "Open PnL –" in window.text("#headline")
    assert "Equity 10,012.30" in window.text("#headline")
    steering.on["status"] = lambda: {**SHOWN_STATUS, "equity_age_s": 720.0}
    window.await_text("#headline", "Equity 12 min ago")


def test_a_daemon_that_hangs_is_said_to(window: Window, server: ControlServer, steering: FakeSteering) -> None:
    """Once it does not answer there is a banner with the age, and no number left of those that move."""
    enter(window, server)
    steering.on["status"] = steering.hang
    window.await_text("#banner", "The daemon does not answer: last heard of")
    assert re.search(r"(\d+|\d\.\d) s ago, at \d\d:\d\d:\d\d UTC", window.text("#banner"))
    assert "10,012" not in window.text("#headline")
    assert "50,500" not in window.text("#positions")
    assert window.text("#state") == "no answer"
    window.page.get_by_role("button", name="Flatten").click()
    assert "at the market's price, and" in window.text("#dialog-text")             # not: (now 3)
    window.page.locator("#dialog-no").click()
    window.page.locator("#positions").get_by_role("button", name="Close BTC").click()
    assert "before fees" not in window.text("#dialog-text")
    window.page.locator("#dialog-no").click()
    steering.on["status"] = lambda: SHOWN_STATUS
    steering.released.set()
    window.page.locator("#banner").wait_for(state="hidden")
    window.await_text("#headline", "10,012.30")


def test_flatten_has_to_be_typed(window: Window, server: ControlServer, steering: FakeSteering) -> None:
    """By keyboard alone: nothing happens before the word stands there; failures are told one by one."""
    steering.on["flatten"] = lambda: {
        "closed": [TRADES[1]], "failed": ["BTC/USDT:USDT: no answer"], "paused": True,
    }
    enter(window, server)
    page = window.page
    page.locator("#flatten").focus()
    page.keyboard.press("Enter")
    accept = page.get_by_role("button", name="Close everything")
    for typed in ("", "flat", "flattened"):
        page.locator("#dialog-word").fill(typed)
        assert accept.is_disabled()
        page.keyboard.press("Enter")
    assert ("flatten",) not in steering.asked
    page.keyboard.press("Escape")
    page.locator("#dialog").wait_for(state="hidden")
    assert page.evaluate("document.activeElement.id") == "flatten"
    page.keyboard.press("Enter")
    assert page.locator("#dialog-word").input_value() == ""
    page.keyboard.type("flatten")
    page.keyboard.press("Enter")
    window.await_text("#dialog-text", "Not closed: 1")
    assert "BTC/USDT:USDT: no answer" in window.text("#dialog-text")
    assert "−12.25" in window.text("#dialog-text")
    assert steering.asked.count(("flatten",)) == 1


def test_a_command_that_fails_says_so(window: Window, server: ControlServer, steering: FakeSteering) -> None:
    """What the daemon answers stands where it was asked for; asking again is possible."""
    def refuse(symbol: str) -> Any:
        raise TimeoutError("no answer from the exchange")

    steering.on["close"] = refuse
    enter(window, server)
    window.page.get_by_role("button", name="Close BTC/USDT:USDT").click()
    window.page.get_by_role("button", name="Close it").click()
    window.await_text("#dialog-error", "no answer from the exchange")
    del steering.on["close"]
    window.page.get_by_role("button", name="Close it").click()
    window.page.locator("#dialog").wait_for(state="hidden")
    window.await_text("#said", "Closed BTC/USDT:USDT at 50,512.5: +4.52")
    window.faults.clear()                                 # the browser notes the 504 on its console


def test_trades_are_filtered_summed_and_taken_along(window: Window, server: ControlServer) -> None:
    """The file holds what is shown, to the last digit, and nothing a spreadsheet would carry out."""
    enter(window, server, "trades")
    window.await_text("#trade-sums", "−7.73")             # 4.522 − 12.25, and one's funding is not known
    assert "PnL before funding −7.73" in window.text("#trade-sums")
    assert "Closed PnL before funding −7.70" in window.text("#headline")
    assert "Fees 1.80" in window.text("#trade-sums")      # 0.603 + 1.2
    page = window.page
    page.locator("#filter-result").select_option("lost")
    window.await_text("#trade-sums", "−12.25")
    assert page.locator("#trades tbody tr").count() == 1
    with page.expect_download() as started:
        page.get_by_role("button", name="Export CSV").click()
    rows = list(csv.DictReader(io.StringIO(Path(started.value.path()).read_text(encoding="utf-8"))))
    assert [row["position_id"] for row in rows] == ["p4"]
    assert (rows[0]["realised_pnl"], rows[0]["funding"]) == ("-12.25", "")
    window.await_text("#trades", "−12.25 before funding")
    assert rows[0]["strategy"] == '\'=cmd|"x"'
    page.locator("#filter-symbol").fill("btc")
    window.await_text("#trades", "No trades.")
    assert page.get_by_role("button", name="Export CSV").is_disabled()


def test_the_keyboard_reaches_everything(window: Window, server: ControlServer) -> None:
    """From the top: past the head or through it, into the views, to each position's button."""
    enter(window, server)
    page = window.page
    page.evaluate("document.activeElement.blur()")
    reached = []
    for _ in range(14):
        page.keyboard.press("Tab")
        reached.append(page.evaluate(NAME_OF_WHAT_HAS_FOCUS))
    assert reached[:3] == ["#main", "pause", "flatten"]
    assert {"#now", "#chart", "#trades", "#machine", "Close BTC/USDT:USDT", "Close ETH/USDT:USDT"} <= set(reached)
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"


@pytest.mark.parametrize("light", ["light", "dark"])
def test_it_fits_a_phone_in_any_light(browser: Any, server: ControlServer, light: str) -> None:
    """No view is wider than a small phone, and what is written can be read against its ground."""
    window = Window(browser, light=light, size=PHONE)
    enter(window, server)
    for view in VIEWS:
        go(window, view)
        assert window.page.evaluate("scrollY") == 0, view      # from the middle of one to the top of the next
        assert window.overflow() <= 0, view
        # Nothing is cut off either: a price or a sentence that is too long wraps.
        assert not window.page.evaluate("""() => ['#positions', '#events', '#opportunities']
            .flatMap((table) => [...document.querySelectorAll(`${table} .scroll, ${table} td`)])
            .filter((each) => each.scrollWidth > each.clientWidth + 1 && each.clientWidth)
            .map((each) => each.textContent)"""), view
        window.page.evaluate("scrollTo(0, 500)")
    for view in ("trades", "trades"):                          # of the one that is shown already, too
        window.page.locator(f"nav a[href='#{view}']").click()
        window.page.wait_for_function("document.querySelector('#view-trades').checkVisibility() && scrollY === 0")
    ratios = window.page.evaluate("""() => {
      const style = getComputedStyle(document.documentElement);
      const hex = (name) => style.getPropertyValue(`--${name}`).trim().replace(/^#(.)(.)(.)$/, '#$1$1$2$2$3$3');
      const light = (name) => [1, 3, 5].map((at) => parseInt(hex(name).slice(at, at + 2), 16) / 255)
        .map((part) => part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
        .reduce((sum, part, index) => sum + part * [0.2126, 0.7152, 0.0722][index], 0);
      const contrast = (one, other) => {
        const [low, high] = [light(one), light(other)].sort((a, b) => a - b);
        return (high + 0.05) / (low + 0.05);
      };
      return Object.fromEntries(['text', 'quiet', 'good', 'bad', 'warn', 'accent'].flatMap((ink) =>
        ['surface', 'ground'].map((paper) => [`${ink} on ${paper}`, contrast(ink, paper)])));
    }""")
    assert not {pair: ratio for pair, ratio in ratios.items() if ratio < 4.5}
    dark = window.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(15, 17, 19)"
    assert dark == (light == "dark")
    window.close()
    assert not window.faults
