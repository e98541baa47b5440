"""Input that cannot be used: a message that names it, an exit code for scripts, and nothing lost."""
import os
import shutil
import signal
import subprocess

import program
from program import ProgramTest, run


class BadSettings(ProgramTest):
    def refused(self, *parts, **changes):
        process = self.train(self.config(**changes))
        self.assertExit(process, 2)
        self.assertSays(process, *parts)
        self.assertFalse(os.path.exists(self.run_dir))

    def test_unknown_keys_are_refused_with_the_nearest_name(self):
        self.refused("model.d_modle", "model.d_model", **{"model__d_modle": 64})

    def test_unknown_overrides_are_refused_with_the_nearest_name(self):
        process = self.train(self.config(), "--run.stepz=3")
        self.assertExit(process, 2)
        self.assertSays(process, "run.stepz", "run.steps")

    def test_wrong_types_are_named(self):
        self.refused("run.steps", run__steps="many")

    def test_densities_outside_0_to_1(self):
        for density in (0, -0.5, 1.5):
            self.refused("sparsity.density", sparsity__density=density)

    def test_a_width_that_heads_do_not_divide(self):
        self.refused("model.d_model", "32", "48", model__d_model=40)

    def test_more_shards_than_sequences(self):
        self.refused("train.shards", train__shards=7)

    def test_broken_toml(self):
        path = os.path.join(self.folder, "broken.toml")
        with open(path, "w", encoding="utf-8") as out:
            out.write("[run\nsteps = 3\n")
        process = self.train(path)
        self.assertExit(process, 2)
        self.assertSays(process, "broken.toml:1")

    def test_a_config_that_is_not_there(self):
        process = self.train(os.path.join(self.folder, "none.toml"))
        self.assertExit(process, 3)
        self.assertSays(process, "none.toml")

    def test_an_unknown_subcommand(self):
        unknown = run("trian", "none.toml")
        self.assertExit(unknown, 2)
        self.assertSays(unknown, "'trian' is no command; the nearest is train")

    def test_an_unknown_benchmark(self):
        for words, part in ((["stpe"], "'stpe' is none of them, the nearest is step"), ([], "bench what?")):
            process = run("bench", *words)
            self.assertExit(process, 2)
            self.assertSays(process, part, "step, linear, candidates, attention")
        self.assertExit(run("bench", "--help"), 0)

    def test_a_terminal_is_shown_what_was_typed_and_does_not_obey_it(self):
        typed = "a\x1b[31m\x9b\rb"
        for words in (["train", typed + ".toml"], ["train", self.config(), "--run." + typed + "=3"], ["eval", typed],
                      ["jobs", "--" + typed], ["jobs", "--coordinator", typed], [typed], ["bench", typed],
                      ["certs", "/dev/null/" + typed, "--host", "h"]):
            process = run(*words)
            self.assertNotEqual(process.returncode, 0, words)
            self.assertSays(process, "[31m")
            self.assertNotRegex(process.stderr + process.stdout, "[\x00-\x08\x0b-\x1f\x7f-\x9f]", words)
        self.assertSays(run("train", typed), "a\\x1b[31m\\xc2\\x9b\\x0db")


class BadFolders(ProgramTest):
    def test_a_folder_that_is_no_run(self):
        process = self.train(self.folder)
        self.assertExit(process, 3)
        self.assertSays(process, "config.toml")

    def test_a_corpus_that_was_never_prepared(self):
        process = self.train(self.config(data__dir=os.path.join(self.folder, "nowhere")))
        self.assertExit(process, 3)
        self.assertSays(process, "nowhere", "filigree prepare")

    def test_a_cut_off_shard(self):
        data = os.path.join(self.folder, "data")
        shutil.copytree(self.data, data)
        shard = next(os.path.join(data, name) for name in sorted(os.listdir(data)) if name.startswith("train"))
        with open(shard, "r+b") as out:
            out.truncate(os.path.getsize(shard) // 2)
        process = self.train(self.config(data__dir=data))
        self.assertExit(process, 3)
        self.assertSays(process, os.path.basename(shard))

    def test_a_shard_with_other_tokens_than_were_prepared(self):
        self.assertExit(self.train(), 0)
        data = os.path.join(self.folder, "data")
        shutil.copytree(self.data, data)
        shard = next(os.path.join(data, name) for name in sorted(os.listdir(data)) if name.startswith("train"))
        with open(shard, "r+b") as out:
            out.seek(2000)  # the low byte of a token: any value is one that the vocabulary has
            byte = out.read(1)[0]
            out.seek(2000)
            out.write(bytes([byte ^ 1]))
        new = self.config("new.toml", run__dir=os.path.join(self.folder, "new"), data__dir=data)
        for process in (self.train(new), run("eval", self.run_dir, "--data", data)):
            self.assertExit(process, 3)
            self.assertSays(process, os.path.basename(shard), "SHA-256", "filigree prepare")

    def test_a_run_folder_that_cannot_be_written(self):
        locked = os.path.join(self.folder, "locked")
        os.mkdir(locked, 0o555)
        os.chmod(self.folder, 0o755)
        os.chmod(self.shared, 0o755)
        user = 65534 if os.geteuid() == 0 else None  # root may write anywhere
        process = self.train(self.config(run__dir=os.path.join(locked, "run")), user=user)
        self.assertExit(process, 1)
        self.assertSays(process, "locked")

    def test_a_run_folder_with_a_file_in_its_way(self):
        path = self.config()
        for run_dir in (path, os.path.join(path, "run")):
            process = self.train(self.config("other.toml", run__dir=run_dir))
            self.assertExit(process, 3)
            self.assertSays(process, f"cannot create the run folder {run_dir}", "--run.dir")

    def test_another_corpus_than_the_checkpoints(self):
        self.assertExit(self.train(), 0)
        text, data = os.path.join(self.folder, "text"), os.path.join(self.folder, "data")
        program.write_corpus_text(text, seed=program.SEED + 1)
        self.assertExit(run("prepare", "--input", text, "--vocab", 300, "--out", data, "--val-fraction", 0.2), 0)
        before = self.state()
        process = self.train(self.config(data__dir=data))
        self.assertExit(process, 3)
        self.assertSays(process, "digest")
        self.assertEqual(self.state(), before)

    def test_a_changed_setting_that_alters_the_run(self):
        self.assertExit(self.train(), 0)
        before = self.state()
        process = self.train(self.config(optim__lr=0.01))
        self.assertExit(process, 3)
        self.assertSays(process, "optim.lr", "0.01")
        self.assertEqual(self.state(), before)

    def test_a_changed_setting_of_a_run_that_has_lost_its_config(self):
        config = self.config(run__steps=12, checkpoint__every=4)
        self.assertExit(self.train(config, env={"FILIGREE_FAULT": "kill:data:6"}), -9)
        os.unlink(os.path.join(self.run_dir, "config.toml"))
        process = self.train(self.config("other.toml", run__steps=12, checkpoint__every=4, optim__lr=0.01))
        self.assertExit(process, 3)
        self.assertSays(process, "optim.lr", "0.01")
        self.assertEqual(self.state()[0], 4)
        self.assertExit(self.train(config), 0)

    def test_a_run_folder_in_use_by_a_live_process(self):
        config = self.config(run__steps=100000)
        first = subprocess.Popen([program.PROGRAM, "train", config], stdout=subprocess.PIPE, text=True)
        try:
            for line in first.stdout:
                if line.startswith("step 0 "):
                    break
            second = self.train(config)
            self.assertExit(second, 3)
            self.assertSays(second, first.pid)
        finally:
            first.send_signal(signal.SIGTERM)
            first.stdout.read()
            self.assertEqual(first.wait(timeout=120), 75)


class BadCheckpoints(ProgramTest):
    def newest(self):
        folder = os.path.join(self.run_dir, "checkpoints")
        return os.path.join(folder, sorted(os.listdir(folder))[-1])

    def test_a_damaged_checkpoint_is_passed_over_for_the_older_one(self):
        self.assertExit(self.train(), 0)
        undisturbed = self.state()
        path = os.path.join(self.newest(), "weights.safetensors")
        with open(path, "r+b") as out:
            out.seek(os.path.getsize(path) // 2)
            byte = out.read(1)
            out.seek(-1, os.SEEK_CUR)
            out.write(bytes([byte[0] ^ 4]))
        process = run("train", self.run_dir)
        self.assertExit(process, 0)
        self.assertSays(process, "step-0000000012", "at step 8")
        self.assertEqual(self.state(), undisturbed)

    def test_a_checkpoint_of_another_model(self):
        self.assertExit(self.train(self.config(model__d_model=48, run__steps=4)), 0)
        other = self.run_dir
        self.run_dir = os.path.join(self.folder, "mine")
        process = self.train(self.config(init__from=other))
        self.assertExit(process, 3)
        self.assertSays(process, "transformer.", "48", "32")

    def test_no_good_checkpoint_left_is_an_error_and_not_a_new_start(self):
        self.assertExit(self.train(), 0)
        folder = os.path.join(self.run_dir, "checkpoints")
        for name in os.listdir(folder):
            with open(os.path.join(folder, name, "manifest.json"), "w", encoding="utf-8") as out:
                out.write("{}")
        self.assertExit(run("train", self.run_dir), 3)

    def test_checkpoints_without_their_manifests_are_an_error_and_not_a_new_start(self):
        # A copy of a run that left some files out: its next save would remove the others.
        self.assertExit(self.train(), 0)
        folder = os.path.join(self.run_dir, "checkpoints")
        log = self.log("step")
        for name in os.listdir(folder):
            os.unlink(os.path.join(folder, name, "manifest.json"))
        process = run("train", self.run_dir)
        self.assertExit(process, 3)
        self.assertSays(process, "2 checkpoints, and none of them has its manifest.json", "Copy the run again")
        self.assertEqual(self.log("step"), log)
        self.assertEqual(len(os.listdir(folder)), 2)

    def test_a_manifest_that_cannot_be_looked_at_is_an_error_and_not_a_new_start(self):
        self.assertExit(self.train(), 0)
        log, manifest = self.log("step"), os.path.join(self.newest(), "manifest.json")
        os.rename(manifest, manifest + ".aside")
        os.symlink("manifest.json", manifest)  # a loop: an error for root, too
        process = run("train", self.run_dir)
        self.assertNotEqual(process.returncode, 0)
        self.assertSays(process, "manifest.json")
        self.assertEqual(self.log("step"), log)
        os.rename(manifest + ".aside", manifest)
        self.assertSays(run("train", self.run_dir), "complete")

    def test_a_run_does_not_go_on_in_another_folder(self):
        self.assertExit(self.train(), 0)
        before, other = self.state(), os.path.join(self.folder, "fork")
        process = run("train", self.run_dir, f"--run.dir={other}", "--run.threads=1")
        self.assertExit(process, 2)
        self.assertSays(process, "is a run, which goes on where it is", "init.from")
        self.assertEqual(self.state(), before)
        self.assertFalse(os.path.exists(other))
        self.assertExit(run("train", self.run_dir, f"--run.dir={self.run_dir}/"), 0)
        shutil.copytree(self.run_dir, other)  # whose settings still name the first one
        self.assertExit(run("train", other, f"--run.dir={self.run_dir}"), 2)
        self.assertExit(run("train", other), 0)

    def test_a_run_before_its_first_checkpoint_is_said_to_be_one(self):
        os.makedirs(self.run_dir)
        shutil.copy(self.config(), os.path.join(self.run_dir, "config.toml"))
        for command in ("eval", "generate", "inspect"):
            process = run(command, self.run_dir)
            self.assertExit(process, 3)
            self.assertSays(process, "has no checkpoint yet")


if __name__ == "__main__":
    program.main()
