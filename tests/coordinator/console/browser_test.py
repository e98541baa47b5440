"""The console in headless Chromium, before a real coordinator and workers that are played.

    browser_test.py FILIGREE PLAY [UNITTEST ARGUMENTS]
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import unittest

try:
    from selenium import webdriver
    from selenium.common.exceptions import StaleElementReferenceException
    from selenium.webdriver.chrome.service import Service
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
except ImportError:
    sys.exit("browser_test: needs python3-selenium; deploy/install.sh --tests installs it")

PROGRAM, PLAY = "", ""
CONFIG = '[run]\nname = "night"\nsteps = 400\ndir = "run"\n[data]\ndir = "data"\n'
WAIT = 60  # seconds until something must have come; never how long something takes


def find(*names):
    for name in names:
        if path := shutil.which(name):
            return path
    sys.exit(f"browser_test: needs {' or '.join(names)}; deploy/install.sh --tests installs it")


def browser(width=1280, height=1000):
    options = webdriver.ChromeOptions()
    options.binary_location = find("chromium", "chromium-browser", "google-chrome")
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", f"--window-size={width},{height}",
                     "--ignore-certificate-errors"):  # of our own CA; that certificates are checked is tested elsewhere
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options=options, service=Service(find("chromedriver")))


def eventually(test, what, condition):
    end = time.monotonic() + WAIT
    while time.monotonic() < end:
        try:
            if condition():
                return
        except StaleElementReferenceException:
            pass
        time.sleep(0.05)
    test.fail(f"not within {WAIT} s: {what}")


class Coordinator:
    def __init__(self, folder, *flags):
        self.process = subprocess.Popen(
            [PROGRAM, "coordinator", "--journal", os.path.join(folder, "journal.db"), "--listen", "127.0.0.1:0",
             "--console-listen", "127.0.0.1:0", *flags], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.lines, self.address, self.url = [], None, None
        for line in self.process.stdout:
            self.lines.append(line)
            if found := re.search(r"listens on (\S+):", line):
                self.address = found.group(1)
            if found := re.search(r"the console is at (\S+)", line):
                self.url = found.group(1)
                break
        if self.url is None:
            raise RuntimeError("the coordinator did not start:\n" + "".join(self.lines))
        self.reader = threading.Thread(target=self.process.stdout.read, daemon=True)  # a full pipe would stop it
        self.reader.start()

    def submit(self, config, *flags):
        done = subprocess.run([PROGRAM, "submit", config, "--coordinator", self.address, *flags], capture_output=True, text=True,
                              timeout=60, check=True)
        return done.stdout.strip()

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=30)
        self.reader.join(timeout=30)
        self.process.stdout.close()


class Players:
    def __init__(self, address, *flags):
        self.process = subprocess.Popen([PLAY, "--coordinator", address, *flags], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "playing\n"

    def stop(self):
        self.process.stdin.close()
        self.process.wait(timeout=30)
        self.process.stdout.close()


class Page(unittest.TestCase):
    def element(self, selector):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def elements(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def script(self, text, *arguments):
        return self.driver.execute_script(text, *arguments)

    def text(self, selector):
        return self.script("return document.querySelector(arguments[0])?.textContent ?? ''", selector)

    def await_text(self, selector, part):
        eventually(self, f"{part!r} in {selector}", lambda: part in self.text(selector))

    def assertNoErrors(self):
        self.assertEqual([entry for entry in self.driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")], [])


class ThisMachine(Page):
    """One job that runs, with a slow rank and a fault behind it; one that waits."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="filigree-console-")
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        config = os.path.join(cls.folder, "config.toml")
        with open(config, "w", encoding="utf-8") as out:
            out.write(CONFIG)
        cls.coordinator = Coordinator(cls.folder)
        cls.addClassCleanup(cls.coordinator.stop)
        cls.players = Players(cls.coordinator.address, "--fail-step", "15", "--slow-rank", "2", "--beat-ms", "150", "--steps", "4000")
        cls.addClassCleanup(cls.players.stop)
        cls.job = cls.coordinator.submit(config, "--data=4", "--min-data=4")
        cls.waiting = cls.coordinator.submit(config, "--data=3", "--name=later")
        cls.driver = browser()
        cls.addClassCleanup(cls.driver.quit)

    def setUp(self):
        self.emulate("light")
        self.driver.get("about:blank")
        self.driver.get_log("browser")
        self.driver.get(f"{self.coordinator.url}#job={self.job}")
        self.await_text("#job-title", self.job)

    def emulate(self, scheme, width=None):
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
        if width is None:
            self.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        else:
            self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                                        {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False})

    def test_jobs_workers_events_and_curves_appear(self):
        for name in (self.job, self.waiting):
            self.await_text("#job-rows", name)
        self.await_text("#job-rows", "of 4000")
        self.await_text("#event-rows", "fault")
        self.await_text("#job-tiles", "1 restart")
        self.await_text("#job-tiles", "32.3 times less than dense")
        for name in ("node-a", "node-b"):
            self.await_text("#worker-rows", name)
        self.await_text("#worker-rows", "2 of 2")
        self.await_text("#slow-rows", "data")
        eventually(self, "four ranks", lambda: len(self.elements("#rank-rows tr")) == 4)
        for chart, lines in (("loss", 2), ("density", 1), ("churn", 1), ("traffic", 2)):
            eventually(self, f"curves of {chart}", lambda c=chart, n=lines: len(self.elements(f"#chart-{c} .curve[d*=L]")) >= n)
        eventually(self, "areas of phases", lambda: len(self.elements("#chart-phases .plot .area")) >= 8)
        points = int(self.text("#curves-note").split()[0])
        eventually(self, "more points", lambda: int(self.text("#curves-note").split()[0]) > points)
        self.script("document.querySelector('#matrices summary').click()")
        self.assertEqual(len(self.elements("#matrix-rows tr")), 4)
        self.assertNoErrors()

    def test_text_of_others_stays_text(self):
        self.await_text("#event-rows", "<b>out of memory</b>")
        self.assertEqual(self.elements("b, main script, [onerror]"), [])
        self.assertNoErrors()

    def test_what_ranks_print_is_shown_and_goes_on(self):
        self.script("document.querySelector('#log-part summary').click()")
        self.await_text("#log", "rank 3 | step 10")
        self.await_text("#log", "--- generation 2")
        self.assertIn("rank 1 | out of memory\n", self.text("#log"))  # in red where it was printed
        eventually(self, "its end is seen", lambda: self.script(
            "const e = document.querySelector('#log'); return e.scrollTop > 0 && e.scrollTop + e.clientHeight >= e.scrollHeight - 4"))
        lines = self.text("#log")
        eventually(self, "more lines", lambda: self.text("#log") != lines)
        self.script("const e = document.querySelector('#log-rank'); e.value = '2'; e.dispatchEvent(new Event('change'))")
        eventually(self, "one rank alone", lambda: self.text("#log").startswith("step "))
        self.assertNotIn("|", self.text("#log"))
        self.script("document.querySelector('#log').scrollTop = 0")
        lines = self.text("#log")
        eventually(self, "more lines of it", lambda: self.text("#log") != lines)
        self.assertEqual(self.script("return document.querySelector('#log').scrollTop"), 0)  # who reads above is not pulled down
        self.assertNoErrors()

    def test_the_keyboard_reaches_everything(self):
        self.script("document.querySelectorAll('details').forEach((d) => d.open = true); document.activeElement.blur()")
        wanted = set(self.script("""
            let n = 0;
            return [...document.querySelectorAll('a, button, input, select, summary, [tabindex="0"]')]
                .filter((e) => e.checkVisibility() && !e.disabled && !e.closest('dialog'))
                .map((e) => e.dataset.test = String(n++))"""))
        self.assertGreater(len(wanted), 20)
        seen, dim = set(), []
        for _ in range(4 * len(wanted)):
            self.driver.switch_to.active_element.send_keys(Keys.TAB)
            mark, outline, name = self.script("""
                const e = document.activeElement, s = getComputedStyle(e);
                return [e.dataset.test ?? null, s.outlineStyle, e.outerHTML.slice(0, 80)]""")
            if mark is not None and outline == "none":
                dim.append(name)
            seen.add(mark)
            if wanted <= seen:
                break
        self.assertEqual(wanted - seen, set())
        self.assertEqual(dim, [], "focus cannot be seen")

    def test_a_chart_is_read_with_the_keyboard(self):
        eventually(self, "a curve", lambda: self.elements("#chart-loss .curve[d*=L]"))
        plot = self.element("#chart-loss .plot")
        plot.send_keys(Keys.HOME)
        first = self.text("#chart-loss .readout")
        self.assertRegex(first, r"^Step \d+: train [\d.]+")
        plot.send_keys(Keys.ARROW_RIGHT)
        self.assertNotEqual(self.text("#chart-loss .readout"), first)
        plot.send_keys(Keys.ESCAPE)
        self.assertEqual(self.text("#chart-loss .readout"), "")
        self.script("document.querySelector('#chart-loss summary').click()")
        eventually(self, "a table", lambda: len(self.elements("#chart-loss tbody tr")) > 1)

    def test_names_roles_and_headings(self):
        problems = self.script("""
            const problems = [], all = (s) => [...document.querySelectorAll(s)];
            const say = (what, e) => problems.push(what + ': ' + e.outerHTML.slice(0, 120));
            const named = (e) => (e.getAttribute('aria-label') || e.textContent.trim() || (e.getAttribute('aria-labelledby') ?? '')
                .split(' ').map((id) => document.getElementById(id)?.textContent ?? '').join('').trim());
            all('button, a, summary, [role=region], [role=img], section, dialog').forEach((e) => {
                if (e.id !== 'ask' && e.id !== 'ask-yes' && !named(e)) say('no name', e); });
            all('input, select').forEach((e) => { if (!e.labels.length) say('no label', e); });
            all('progress').forEach((e) => { if (!e.getAttribute('aria-label')) say('no label', e); });
            all('table').forEach((e) => { if (!e.caption?.textContent) say('no caption', e); });
            all('thead th, tbody th').forEach((e) => { if (!e.scope) say('no scope', e); });
            all('[aria-labelledby], [aria-describedby]').forEach((e) => {
                for (const id of `${e.getAttribute('aria-labelledby') ?? ''} ${e.getAttribute('aria-describedby') ?? ''}`.trim().split(/ +/))
                    if (!document.getElementById(id)) say('names nothing', e); });
            const ids = all('[id]').map((e) => e.id);
            if (new Set(ids).size !== ids.length) problems.push('an id twice');
            let level = 0;
            all('h1, h2, h3, h4').filter((e) => e.checkVisibility()).forEach((e) => {
                const its = Number(e.tagName[1]);
                if (its > level + 1) say('a level is left out', e);
                level = its; });
            for (const landmark of ['header', 'nav[aria-label]', 'main', 'h1', '[role=status]'])
                if (all(landmark).length === 0) problems.push('no ' + landmark);
            if (all('main').length !== 1 || all('h1').length !== 1) problems.push('main or h1 not once');
            if (!document.documentElement.lang || !document.title) problems.push('no language or title');
            return problems""")
        self.assertEqual(problems, [])

    def test_text_stands_out_in_light_and_dark(self):
        backs = []
        for scheme in ("light", "dark"):
            self.emulate(scheme)
            self.await_text("#event-rows", "fault")
            backs.append(self.script("return getComputedStyle(document.body).backgroundColor"))
            weak = self.script("""
                const rgb = (c) => c.match(/[\\d.]+/g).map(Number);
                const light = (c) => { const [r, g, b] = rgb(c).map((v) => { v /= 255;
                    return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
                const back = (e) => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
                    if ((rgb(c)[3] ?? 1) > 0) return c; } return 'rgb(255,255,255)'; };
                const weak = new Set();
                for (const e of document.querySelectorAll('body *')) {
                    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
                    if (!own || !e.checkVisibility() || e.closest('button:disabled')) continue;
                    const s = getComputedStyle(e), ink = e.namespaceURI.endsWith('svg') ? s.fill : s.color;
                    const [a, b] = [light(ink), light(back(e))].sort((x, y) => y - x);
                    const ratio = (a + 0.05) / (b + 0.05);
                    if (ratio < 4.5) weak.add(`${e.tagName} ${e.className.baseVal ?? e.className} ${ink} on ${back(e)}: ${ratio.toFixed(2)}`);
                }
                return [...weak]""")
            self.assertEqual(weak, [], scheme)
        self.assertNotEqual(*backs)

    def test_a_narrow_screen_scrolls_one_way(self):
        self.emulate("light", 360)
        eventually(self, "a curve", lambda: self.elements("#chart-loss .curve"))
        self.assertLessEqual(self.script("return document.documentElement.scrollWidth"), 360)

    def test_a_job_is_cancelled_only_after_yes(self):
        self.driver.get(f"{self.coordinator.url}#job={self.waiting}")
        self.await_text("#job-title", self.waiting)
        self.element("#job-cancel").send_keys(Keys.ENTER)
        self.assertTrue(self.element("#ask").is_displayed())
        self.assertIn(self.waiting, self.text("#ask-title"))
        self.driver.switch_to.active_element.send_keys(Keys.ESCAPE)
        self.assertFalse(self.element("#ask").is_displayed())
        self.assertEqual(self.driver.switch_to.active_element.get_attribute("id"), "job-cancel")
        self.assertNotIn("cancelled", self.text("#job-tiles"))
        self.element("#job-cancel").send_keys(Keys.ENTER)
        self.element("#ask-yes").send_keys(Keys.ENTER)
        self.await_text("#job-tiles", "cancelled")
        eventually(self, "no dialog", lambda: not self.element("#ask").is_displayed())
        self.assertFalse(self.element("#job-actions").is_displayed())
        self.assertNoErrors()

    def test_what_is_chosen_can_be_chosen_by_link_and_filters_events(self):
        self.driver.get(f"{self.coordinator.url}")
        self.await_text("#job-rows", self.job)
        self.assertFalse(self.element("#job").is_displayed())
        self.element(f"#job-rows a[href='#job={self.job}']").send_keys(Keys.ENTER)
        self.await_text("#job-title", self.job)
        eventually(self, "focus on the job", lambda: self.driver.switch_to.active_element.get_attribute("id") == "job")
        self.await_text("#event-rows", "worker joined")
        self.element("#only-job").send_keys(Keys.SPACE)
        self.assertNotIn("worker joined", self.text("#event-rows"))
        self.assertIn(self.job, self.text("#event-rows"))


class Away(Page):
    def test_a_coordinator_that_is_gone_is_said(self):
        with tempfile.TemporaryDirectory(prefix="filigree-console-") as folder:
            coordinator = Coordinator(folder)
            self.driver = browser()
            self.addCleanup(self.driver.quit)
            self.driver.get(coordinator.url)
            self.await_text("#job-rows", "There are no jobs")
            self.await_text("#worker-rows", "There are no workers")
            coordinator.stop()
            self.await_text("#link", "does not answer")


class Tokens(Page):
    def test_a_token_opens_the_console_and_says_how_far(self):
        with tempfile.TemporaryDirectory(prefix="filigree-console-") as folder:
            certs, tokens = os.path.join(folder, "certs"), os.path.join(folder, "tokens")
            subprocess.run([PROGRAM, "certs", certs, "--host", "127.0.0.1"], check=True, capture_output=True, timeout=60)
            with open(tokens, "w", encoding="utf-8") as out:
                out.write("admin 0123456789abcdef0123\nreader fedcba98765432100123\n")
            os.chmod(tokens, 0o600)
            coordinator = Coordinator(folder, "--tls-cert", os.path.join(certs, "coordinator.pem"), "--tls-key",
                                      os.path.join(certs, "coordinator.key"), "--token-file", tokens)
            self.addCleanup(coordinator.stop)
            self.driver = browser()
            self.addCleanup(self.driver.quit)
            self.driver.get(coordinator.url)
            eventually(self, "the form", lambda: self.element("#login").is_displayed())
            self.assertFalse(self.element("#content").is_displayed())
            eventually(self, "focus", lambda: self.driver.switch_to.active_element.get_attribute("id") == "token")
            self.element("#token").send_keys("wrong-token-0123456789" + Keys.ENTER)
            self.await_text("#login-error", "token")
            self.element("#token").send_keys("fedcba98765432100123" + Keys.ENTER)
            eventually(self, "the content", lambda: self.element("#content").is_displayed())
            self.assertFalse(self.element("#worker-action").is_displayed())  # a reader ends nothing
            self.assertNotIn("fedcba", self.driver.current_url)
            self.assertEqual(self.script("return localStorage.length + document.cookie.length"), 0)
            self.element("#forget").send_keys(Keys.ENTER)
            eventually(self, "the form again", lambda: self.element("#login").is_displayed())
            self.element("#token").send_keys("0123456789abcdef0123" + Keys.ENTER)
            eventually(self, "an admin's column", lambda: self.element("#worker-action").is_displayed())


if __name__ == "__main__":
    PROGRAM, PLAY = sys.argv[1:3]
    unittest.main(argv=sys.argv[:1] + sys.argv[3:], verbosity=2)
