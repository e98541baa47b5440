"""What a trained model is asked for: its loss, text, activations, a report."""
import json
import os
import shutil
import struct
import subprocess

import program
from program import ProgramTest, run


def read_safetensors(path):
    """Names to (shape, list of floats); F32 alone."""
    with open(path, "rb") as file:
        size, = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(size))
        data = file.read()
    out = {}
    for name, entry in header.items():
        if name == "__metadata__" or entry["dtype"] != "F32":
            continue
        begin, end = entry["data_offsets"]
        out[name] = entry["shape"], struct.unpack(f"<{(end - begin) // 4}f", data[begin:end])
    return out


class ToolsTest(ProgramTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        case = cls("train_once")
        case.folder, case.run_dir = cls.shared, os.path.join(cls.shared, "trained")
        case.train_once()
        cls.trained = case.run_dir

    def train_once(self):
        self.assertExit(self.train(), 0)

    def test_eval_agrees_with_the_runs_own_last_evaluation(self):
        process = run("eval", self.trained, "--json")
        self.assertExit(process, 0)
        self.run_dir = self.trained
        out = json.loads(process.stdout)
        self.assertEqual(out["loss"], self.log("eval")[-1]["loss"])
        self.assertGreater(out["baselines"]["unigram"], out["baselines"]["bigram"])
        human = run("eval", self.trained, "--sequences", 3)
        self.assertSays(human, "nats a token", "Kneser-Ney")

    def test_the_same_seed_gives_the_same_text(self):
        texts = {seed: {run("generate", self.trained, "--prompt", "def ", "--tokens", 24, "--seed", seed, "--threads",
                            threads).stdout for threads in (1, 2)} for seed in (1, 2)}
        self.assertEqual([len(same) for same in texts.values()], [1, 1])
        self.assertNotEqual(texts[1], texts[2])
        self.assertTrue(next(iter(texts[1])).startswith("def "))

    def test_temperature_0_needs_no_seed(self):
        greedy = {run("generate", self.trained, "--temperature", 0, "--tokens", 12, "--seed", seed).stdout
                  for seed in (1, 2)}
        self.assertEqual(len(greedy), 1)

    def test_numbers_out_of_range_are_refused(self):
        for flags in (("--temperature", "nan"), ("--temperature", -1), ("--top-p", 0), ("--top-p", "nan"), ("--tokens", 0),
                      ("--seed", -1), ("--samples", 0), ("--stdin", "--prompt", "x")):
            process = run("generate", self.trained, *flags, stdin="x")
            self.assertExit(process, 2)
            self.assertSays(process, flags[0])
            self.assertLess(max(map(len, process.stderr.splitlines())), 200)

    def test_the_prompt_may_come_from_standard_input(self):
        process = run("generate", self.trained, "--stdin", "--tokens", 1, stdin="for alpha in")
        self.assertExit(process, 0)
        self.assertTrue(process.stdout.startswith("for alpha in"))

    def test_activations_of_chosen_places(self):
        out = os.path.join(self.folder, "act.safetensors")
        process = run("activations", self.trained, "--text", "def alpha(beta):\n", "--place", "mlp.post_act", "--place",
                      "final_resid", "--out", out, "--logits")
        self.assertExit(process, 0)
        tensors = read_safetensors(out)
        self.assertEqual(set(tensors), {"act.0.mlp.post_act", "act.1.mlp.post_act", "act.final_resid", "logits"})
        shape, values = tensors["act.1.mlp.post_act"]
        self.assertEqual(shape[2], 128)
        for token in range(shape[1]):  # AbsTopK keeps one neuron in four
            row = values[token * 128:(token + 1) * 128]
            self.assertLessEqual(sum(value != 0 for value in row), 32)

    def test_an_unknown_place_is_refused_with_those_there_are(self):
        process = run("activations", self.trained, "--text", "x", "--place", "attn.z", "--out",
                      os.path.join(self.folder, "a"))
        self.assertExit(process, 2)
        self.assertSays(process, "attn.z", "0.attn.q")

    def test_activations_of_a_folder_are_refused_in_words(self):
        process = run("activations", self.trained, "--file", self.folder, "--out", os.path.join(self.folder, "a"))
        self.assertIn(process.returncode, (1, 2, 3), process.stderr[-500:])
        self.assertSays(process, self.folder)

    def test_inspect_says_a_path_that_is_not_utf_8(self):
        odd = os.fsdecode(os.fsencode(self.folder) + b"/run-\xff")
        shutil.copytree(self.trained, odd)
        process = subprocess.run([program.PROGRAM, "inspect", odd, "--json"], capture_output=True)
        self.assertEqual(process.returncode, 0, process.stderr[-500:])
        self.assertIn("run-\ufffd", json.loads(process.stdout)["path"])

    def test_inspect_names_tensors_and_counts_nonzeros(self):
        process = run("inspect", self.trained)
        self.assertExit(process, 0)
        self.assertSays(process, "transformer.h.1.mlp.c_fc.weight", "128", "state")

    def test_a_report_is_one_page_with_the_runs_numbers(self):
        page = os.path.join(self.folder, "report.html")
        self.assertExit(run("report", self.trained, "--out", page), 0)
        with open(page, encoding="utf-8") as file:
            text = file.read()
        self.assertIn("</html>", text)
        self.assertNotIn("http://", text.replace("http://www.w3.org", ""))
        self.assertNotIn("https://", text)

    def test_export_and_import_keep_the_loss(self):
        for form in ("openai", "hf"):
            exported, imported = (os.path.join(self.folder, f"{form}-{side}") for side in ("out", "in"))
            self.assertExit(run("export", self.trained, "--format", form, "--out", exported), 0)
            self.assertExit(run("import", exported, "--out", imported), 0)
            losses = [json.loads(run("eval", path, "--data", self.data, "--json").stdout)["loss"]
                      for path in (self.trained, imported)]
            # The import has no masks, so that sparse matrices may be multiplied dense: equal to rounding.
            self.assertAlmostEqual(losses[0], losses[1], delta=1e-5)

    def test_a_model_that_is_not_there(self):
        for command in ("eval", "generate", "inspect"):
            process = run(command, os.path.join(self.folder, "none"))
            self.assertExit(process, 3)
            self.assertSays(process, "none")


if __name__ == "__main__":
    program.main()
