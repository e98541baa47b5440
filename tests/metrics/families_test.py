"""The families in the code, and in docs/operate/metrics.md: the same names, types and, where both tell of a run, the same words."""
import os
import re
import sys
import unittest

ROOT = sys.argv.pop(1)
SOURCES = ["proto/http/metrics_page.h", "worker/metrics/families.h", "coordinator/metrics/families.h"]


def families(source):
    with open(os.path.join(ROOT, source), encoding="utf-8") as file:
        text = file.read()
    found = re.findall(r'FamilyInfo \w+ = \{\s*"(\w+)",\s*(?:prometheus::MetricType::)?(\w+),\s*((?:"[^"]*"\s*)+)\}', text)
    assert len(found) == text.count("constexpr FamilyInfo"), f"{source}: a declaration was not understood"
    return {name: (kind.lower(), "".join(re.findall(r'"([^"]*)"', words))) for name, kind, words in found}


class FamiliesTest(unittest.TestCase):
    def test_the_page_lists_what_there_is(self):
        with open(os.path.join(ROOT, "docs/operate/metrics.md"), encoding="utf-8") as file:
            rows = re.findall(r"^\| `(\w+)` \| (counter|gauge|histogram) \|", file.read(), re.MULTILINE)
        self.assertEqual(len(rows), len(set(rows)))
        known = {("filigree_" + name, kind) for name, kind in rows}
        self.assertEqual(known, {(name, kind) for source in SOURCES for name, (kind, _) in families(source).items()})

    def test_names_follow_the_rules(self):
        for source in SOURCES:
            for name, (kind, words) in families(source).items():
                with self.subTest(name=name):
                    self.assertRegex(name, r"^filigree_[a-z0-9_]+$")
                    self.assertEqual(name.endswith("_total"), kind == "counter")
                    self.assertNotRegex(name, r"_(ms|us|percent|milliseconds|kb|mb)(_|$)")
                    self.assertTrue(words)

    def test_both_processes_mean_the_same_type(self):
        rank, coordinator = families(SOURCES[1]), families(SOURCES[2])
        for name in rank.keys() & coordinator.keys():
            self.assertEqual(rank[name][0], coordinator[name][0], name)


if __name__ == "__main__":
    unittest.main(verbosity=2)
