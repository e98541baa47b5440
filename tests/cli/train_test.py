"""Whole runs: what they print and leave, and that threads, stops and resumes change no bit of the result."""
import os
import signal
import subprocess
import time

import program
from program import ProgramTest, run


class TrainTest(ProgramTest):
    def test_a_run_prints_and_logs_every_step_and_ends_with_a_checkpoint(self):
        process = self.train()
        self.assertExit(process, 0)
        self.assertSays(process, "d_model = 32", "step 0 ", "step 11 ", "bigram")
        steps = self.log("step")
        self.assertEqual([record["step"] for record in steps], list(range(12)))
        self.assertEqual(steps[0]["lr"], 0)
        self.assertEqual(steps[-1]["density"], 0.25)
        self.assertLess(steps[-1]["loss"], steps[0]["loss"])
        self.assertEqual([record["step"] for record in self.log("eval")], [6, 12])
        self.assertEqual(len(self.log("sample")), 2)
        self.assertEqual(self.state()[0], 12)
        self.assertNotIn("\r", process.stdout)  # a pipe gets plain lines

    def test_nonzeros_are_exactly_k_after_the_anneal(self):
        self.assertExit(self.train(), 0)
        counted = self.log("step")[-1]["nnz"]
        self.assertEqual(counted["transformer.h.0.attn.c_attn.weight"], 96 * 32 // 4)
        self.assertEqual(counted["transformer.wte.weight"], 300 * 32 // 2)

    def test_threads_change_no_bit(self):
        states = set()
        for threads in (1, 2, 4):
            self.run_dir = os.path.join(self.folder, f"threads-{threads}")
            self.assertExit(self.train(self.config(run__threads=threads)), 0)
            states.add(self.state())
        self.assertEqual(len(states), 1, states)

    def test_seed_and_shards_are_part_of_the_result(self):
        states = set()
        for name, changes in {"a": {}, "b": {"run__seed": 4}, "c": {"train__shards": 1}}.items():
            self.run_dir = os.path.join(self.folder, name)
            self.assertExit(self.train(self.config(**changes)), 0)
            states.add(self.state()[1])
        self.assertEqual(len(states), 3)

    def stop_and_resume(self, signal_number):
        """Stops a run as soon as it has logged a step; returns the finished process."""
        config = self.config(run__steps=60)
        process = subprocess.Popen([program.PROGRAM, "train", config], stdout=subprocess.PIPE, text=True)
        for line in process.stdout:
            if line.startswith("step 3 "):
                process.send_signal(signal_number)
                break
        process.stdout.read()
        self.assertEqual(process.wait(timeout=120), 75)

    def test_a_stop_writes_a_checkpoint_and_the_run_goes_on_to_the_same_bits(self):
        self.assertExit(self.train(self.config(run__steps=60)), 0)
        undisturbed = self.state()
        for number in (signal.SIGTERM, signal.SIGINT):
            self.run_dir = os.path.join(self.folder, number.name)
            self.stop_and_resume(number)
            self.assertLess(self.state()[0], 60)
            resumed = run("train", self.run_dir)  # the folder alone is enough
            self.assertExit(resumed, 0)
            self.assertSays(resumed, "resumed from")
            self.assertEqual(self.state(), undisturbed)
            self.assertEqual([record["step"] for record in self.log("step")], list(range(60)))

    def test_a_finished_run_says_so_and_changes_nothing(self):
        config = self.config()
        self.assertExit(self.train(config), 0)
        before = self.state()
        again = self.train(config)
        self.assertExit(again, 0)
        self.assertSays(again, "complete: 12 of 12")
        self.assertEqual(self.state(), before)

    def test_old_checkpoints_go_and_the_newest_stay(self):
        self.assertExit(self.train(), 0)
        kept = sorted(os.listdir(os.path.join(self.run_dir, "checkpoints")))
        self.assertEqual(kept, ["step-0000000008", "step-0000000012"])

    def test_every_option_of_the_model_trains(self):
        for name, changes in {
            "relu": {"model__activation": "relu"}, "no sink": {"model__sink": "false"},
            "no bigram": {"model__bigram": "false"}, "positions": {"model__d_pos_emb": 8},
            "no topk": {"model__afrac": 1}, "some places": {"model__topk_places": '["attn_in", "attn_v", "mlp_neuron"]'},
            "clip": {"optim__gradient": "clip"}, "sparse biases": {"sparsity__biases": "sparse"},
            "one threshold": {"sparsity__scope": "global"},
            "power": {"sparsity__anneal_shape": "power"},
            "start sparse": {"sparsity__density_start": 0.5, "sparsity__embedding_density_start": 0.5},
            "constant": {"sparsity__anneal_shape": "constant"}, "odd mlp": {"model__d_mlp": 37},
        }.items():
            with self.subTest(name):
                self.run_dir = os.path.join(self.folder, name.replace(" ", "-"))
                self.assertExit(self.train(self.config(**changes)), 0)
                losses = [record["loss"] for record in self.log("step")]
                self.assertLess(losses[-1], losses[0])

    def test_a_run_starts_from_the_weights_of_another(self):
        self.assertExit(self.train(), 0)
        first, last_loss = self.run_dir, self.log("step")[-1]["loss"]
        self.run_dir = os.path.join(self.folder, "fine-tune")
        process = self.train(self.config(init__from=first, sparsity__anneal_shape="constant"))
        self.assertExit(process, 0)
        self.assertSays(process, "starts from the weights of")
        self.assertLess(self.log("step")[0]["loss"], last_loss + 0.5)


if __name__ == "__main__":
    program.main()
